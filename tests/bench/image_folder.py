"""What a folder of images costs beside the same pixels in an npz file.

    python tests/bench/image_folder.py [--images 10000] [--folder DIR]

CIFAR-10 as PNG files, a folder for each class, and as arrays in the order in which the files are
read; ResNet-20 is compiled with either, each in a process of its own. What is printed is
processor time, the largest resident set, and whether both networks have the same accuracy at every
stage and the same layers. Needs Pillow and the shared data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from snn_compile.samples.readers.drawing import drawn

SHARED = Path(os.environ.get("SNN_COMPILE_DATA") or Path(__file__).parents[3] / "shared")
COMMAND = Path(sys.executable).with_name("snn-compile")
N_CALIBRATE = 1024
NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def written(folder: Path, x: np.ndarray, y: np.ndarray, n: int) -> None:
    """Images as files in folders, and ``n`` of them as arrays in the order of reading."""
    files = [f"{NAMES[label]}/{k:05d}.png" for k, label in enumerate(y)]
    for name in NAMES:
        (folder / name).mkdir(parents=True)
    for image, file in zip(x, files, strict=True):
        Image.fromarray(image).save(folder / file, compress_level=1)
    order = sorted(range(len(y)), key=lambda k: files[k])
    read = drawn([files[k] for k in order], [int(y[k]) for k in order], n, 0)
    taken = [order[k] for k in read]
    np.savez(folder.with_suffix(".npz"), x=x[taken], y=y[taken].astype(np.int64))


def compiled(folder: Path, suffix: str) -> tuple[float, int]:
    """Processor seconds and largest resident set in MiB of a compilation."""
    data = [f"--{name}={folder / name}{suffix}" for name in ("calibrate", "evaluate")]
    model = SHARED / "models" / "cifar10_resnet20.onnx"
    recipe = ["--preprocess", "imagenet-colours layout=nhwc", "--samples", str(N_CALIBRATE)]
    output = folder / f"net{suffix}.snn"
    command = [str(COMMAND), str(model), *data, *recipe, "-o", str(output)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--no-emit", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    return seconds, round(max(stage["peak_mb"] or 0 for stage in report["timing"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10000)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as temporary,
        np.load(SHARED / "data" / "cifar10.npz") as data,
    ):
        folder = arguments.folder or Path(temporary)
        written(folder / "calibrate", data["x_calib"], data["y_calib"], N_CALIBRATE)
        n = arguments.images
        written(folder / "evaluate", data["x_test"][:n], data["y_test"][:n], n)
        print("| data | processor s | peak, MiB |\n|---|--:|--:|")
        for name, suffix in ((f"{n:,} PNG files", ""), ("npz", ".npz")):
            seconds, peak = compiled(folder, suffix)
            print(f"| {name} | {seconds:.0f} | {peak} |", flush=True)
        one, other = (
            json.loads((folder / f"net{suffix}.snn" / "report.json").read_text(encoding="utf-8"))
            for suffix in ("", ".npz")
        )
        same = all(one[key] == other[key] for key in ("ladder", "layers"))
        print(f"\nladder and layers: {'equal' if same else 'DIFFERENT'}")
        sys.exit(not same)


if __name__ == "__main__":
    main()
