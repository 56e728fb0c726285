"""The seals of compiled networks: one value each, whatever machine compiles them.

    python tests/seals.py [MODEL ...]            of the examples, and of shared models, as JSON
    python tests/seals.py --matrix [MODEL ...]   over BLAS kernels, threads and engines, as a table
    python tests/seals.py --pythons [MODEL ...]  over Pythons and versions of numpy

A seal is the hash of all that is in ``model.snn``:
weights, thresholds, units, what they were made from. Needs nothing but the installed project.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SAMPLES = 128
"""That calibrate: enough for every adjustment to have something to decide."""

Options = Mapping[str, Any]
CASES: dict[str, tuple[str, Options]] = {
    "graded": ("digits_cnn", {}),
    "graded, 4 bit, equalized by data": ("digits_cnn", {"weight_bits": 4, "equalize": "data"}),
    "sync, 16 steps": ("digits_cnn", {"coding": "sync", "timesteps": 16}),
    "sync, reconstructed": (
        "digits_cnn",
        {"coding": "sync", "timesteps": 3, "rounding": "reconstructed:100"},
    ),
    "radix, 3 bit, reconstructed": (
        "digits_cnn",
        {"coding": "radix", "timesteps": 4, "weight_bits": 3, "rounding": "reconstructed:100"},
    ),
    "rate, 8 steps": ("digits_cnn", {"coding": "rate", "timesteps": 8, "input": "poisson"}),
    "rate, reconstructed": (
        "digits_cnn",
        {"coding": "rate", "timesteps": 8, "rounding": "reconstructed:20"},
    ),
    "rate, spike-norm": ("digits_cnn", {"coding": "rate", "thresholds": "spike-norm"}),
    "rate, reset to zero": ("digits_mlp", {"coding": "rate", "timesteps": 16, "reset": "zero"}),
    "stock, lbs": ("digits_mlp", {"neurons": "stock", "timesteps": 16, "thresholds": "lbs"}),
    "signed, l4": ("digits_mlp", {"coding": "signed", "timesteps": 8, "equalize": "l4"}),
}
"""By name: an example, and options that take every way through calibration together."""
LARGE: dict[str, Options] = {
    "fashion_vggbn": {"coding": "sync", "timesteps": 16},
    "cifar10_resnet20": {"coding": "graded"},
    "mnist_cnn_cntk": {"coding": "rate", "timesteps": 8, "equalize": "data"},
    "mnist_mlp_256x2": {"coding": "radix", "timesteps": 4},
}
"""Shared models, and options for them."""


def main(arguments: Sequence[str]) -> int:
    """Print seals, or a table of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("models", nargs="*", choices=[*LARGE, []], help="shared models")
    parser.add_argument("--workers", type=int, help="processors that there seem to be")
    parser.add_argument("--matrix", action="store_true", help="in every environment")
    parser.add_argument("--pythons", action="store_true", help="with other Pythons and numpys")
    asked = parser.parse_args(arguments)
    if asked.matrix or asked.pythons:
        table = {}
        if asked.matrix:
            table |= {name: run(env, asked.models) for name, env in environments().items()}
        if asked.pythons:
            table |= by_python(asked.models)
        print(as_table(table))
        return 0 if len({json.dumps(seals) for seals in table.values()}) == 1 else 1
    if asked.workers:
        os.cpu_count = lambda: asked.workers  # type: ignore[assignment]
    print(json.dumps(seals(asked.models), indent=1))
    return 0


def seals(models: Iterable[str] = ()) -> dict[str, str]:
    """The seal of each case, compiled in this process."""
    found = {
        name: seal(EXAMPLES / f"{example}.onnx", EXAMPLES / "digits_calibrate.npz", options)
        for name, (example, options) in CASES.items()
    }
    shared = Path(os.environ.get("SNN_COMPILE_DATA") or ROOT.parent / "shared")
    for name in models:
        with tempfile.TemporaryDirectory() as folder:
            counts = ["--calibrate", str(2 * SAMPLES), "--evaluate", "1"]
            script = shared / "prepare_data.py"
            call = [sys.executable, str(script), name, "-o", folder, *counts]
            subprocess.run(call, check=True, stdout=sys.stderr)
            calibrate = Path(folder) / "calibrate.npz"
            found[name] = seal(shared / "models" / f"{name}.onnx", calibrate, LARGE[name])
    return found


def seal(model: Path, calibrate: Path, options: Options) -> str:
    """The seal of one network."""
    import numpy as np

    from snn_compile import compile_model

    x = np.load(calibrate)["x"][: 2 * SAMPLES if "digits" not in model.name else SAMPLES]
    compiled = compile_model(model, calibrate=x, emit=(), **options)
    with zipfile.ZipFile(io.BytesIO(compiled.sealed_bytes())) as archive:
        return archive.read("seal").decode()


NARROW = "OpenBLAS Nehalem, numpy without AVX2, engine off, 1 thread"
WIDE = "OpenBLAS Haswell, numpy without AVX-512, 4 threads"
Environment = tuple[Mapping[str, str], int]
"""Variables, and the processors that there seem to be."""

WITHOUT_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"
WITHOUT_AVX2 = f"{WITHOUT_AVX512} X86_V3 AVX2 FMA3"


def environments() -> dict[str, Environment]:
    """What differs from machine to machine and can be switched on this one.

    Names of numpy's features differ between its versions; unknown ones are ignored.
    """
    from snn_compile.sim import native

    builds = native.builds()  # that run here: kernels with wider instructions do not, either
    found: dict[str, Environment] = {
        "as it comes": ({}, 2),
        NARROW: (_kernels("Nehalem", WITHOUT_AVX2, "1", "off"), 1),
    }
    if "avx2" in builds:
        found[WIDE] = (_kernels("Haswell", WITHOUT_AVX512, "4", "auto"), 4)
        found["OpenBLAS Zen, 1 thread"] = (_kernels("Zen", "", "1", "auto"), 1)
    if "avx512" in builds:
        found["OpenBLAS SkylakeX, 2 threads"] = (_kernels("SkylakeX", "", "2", "auto"), 2)
    for build in builds:
        found[f"engine {build}"] = ({"SNN_COMPILE_ENGINE": build}, 2)
    return found


def _kernels(blas: str, without: str, threads: str, engine: str) -> dict[str, str]:
    return {
        "OPENBLAS_CORETYPE": blas,
        "NPY_DISABLE_CPU_FEATURES": without,
        "OPENBLAS_NUM_THREADS": threads,
        "SNN_COMPILE_ENGINE": engine,
    }


def run(
    environment: Environment, models: Iterable[str] = (), python: str = sys.executable
) -> dict[str, str]:
    """The seals that a process of its own computes."""
    variables, workers = environment
    done = subprocess.run(
        [python, "-W", "ignore", __file__, *models, "--workers", str(workers)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{variables}: {done.stderr}")
    found: dict[str, str] = json.loads(done.stdout)
    return found


NUMPYS = {
    "3.11": ("numpy==1.26.0 scipy==1.12.0", "numpy==2.1.* scipy==1.14.*"),
    "3.12": ("numpy==1.26.0 scipy==1.12.0", "numpy==2.3.* scipy==1.16.*"),
    "3.13": ("numpy==2.1.0 scipy==1.14.1", "numpy scipy"),
}
"""For each Python, what is installed: the oldest that there is for it, and a newer one."""


def by_python(models: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """The seals with every Python that is there, in environments made for the purpose."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder]
        subprocess.run([*wheel, str(ROOT)], check=True)
        (path,) = Path(folder).glob("*.whl")
        for version, choices in NUMPYS.items():
            if not (python := _python(version)):
                print(f"no Python {version} here", file=sys.stderr)
                continue
            for choice in choices:
                venv = Path(folder) / "venv"
                subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
                inside = str(venv / "bin" / "python")
                install = [inside, "-m", "pip", "install", "--quiet"]
                environment = {k: v for k, v in os.environ.items() if k != "PIP_CONSTRAINT"}
                subprocess.run([*install, str(path), *choice.split()], check=True, env=environment)
                code = "import numpy, scipy; print(numpy.__version__, scipy.__version__)"
                called = subprocess.run(
                    [inside, "-c", code], capture_output=True, text=True, check=True
                )
                numpy, scipy = called.stdout.split()
                name = f"Python {version}, numpy {numpy}, scipy {scipy}"
                found[name] = run(({}, 2), models, inside)
    return found


def _python(version: str) -> str | None:
    """An interpreter of this version that runs."""
    path = shutil.which(f"python{version}")
    environment = {**os.environ, "PYENV_VERSION": version}
    code = "import sys; print(sys.executable)"
    if path is None:
        return None
    done = subprocess.run(
        [path, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def as_table(table: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown: a line for each environment, a column for each network."""
    names = list(next(iter(table.values())))
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for environment, seals in table.items():
        lines.append(f"| {environment} | {' | '.join(seals[name][:8] for name in names)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
