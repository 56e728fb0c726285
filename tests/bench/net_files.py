"""The networks of lava-dl: what they take here, and what Intel has published.

    python tests/bench/net_files.py [--target loihi2]

Cores, step time and energy as ``snn-compile check --evaluate`` has them. Published: lava-dl's
executed notebooks pilotnet_snn and pilotnet_sdnn (2023-01-10); see ``tests/bench/pilotnet.py``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snn_compile.mapping import bill
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import check_model

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("network", "", "here", "range of cited constants", "published")
PUBLISHED: dict[str, dict[str, str]] = {
    "pilotnet_lif/network.net": {
        "cores": "74, 13 of them for the input",
        "time of a step, µs": "152.8",
        "dynamic energy of a frame, µJ": "1,093.5",
    },
    "pilotnet_sdnn/network_tutorial.net": {"cores": "61, without the input"},
}
NAMES = {
    "pilotnet_lif/network.net": "PilotNet, LIF",
    "pilotnet_sdnn/network.net": "PilotNet, SDNN, the smaller",
    "pilotnet_sdnn/network_tutorial.net": "PilotNet, SDNN",
    "mnist/network.net": "MNIST",
    "oxford/network.net": "Oxford",
}


def lava_dl() -> Path:
    """The folder of lava-dl's networks."""
    return Path(os.environ.get("SNN_COMPILE_DATA") or ROOT.parent / "shared") / "lava_dl"


def samples() -> dict[str, np.ndarray[Any, Any]]:
    """The stored input of each network that has one."""
    spikes = np.load(lava_dl() / "pilotnet_lif" / "input.npy").T[None, :16]
    frame = np.load(lava_dl() / "pilotnet_sdnn" / "input.npy").T
    return {
        "pilotnet_lif/network.net": spikes.astype(np.uint8),
        "pilotnet_sdnn/network.net": frame.astype(np.int16),
    }


def rows(target: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """The lines of the table."""
    known = samples()
    for name, title in NAMES.items():
        options = CompileOptions(target=target)
        if name in known:
            file = folder / f"{title}.npz"
            np.savez(file, x=known[name])
            options = CompileOptions(target=target, evaluate=file)
        result = check_model(lava_dl() / name, options)
        published = PUBLISHED.get(name, {})
        yield title, "cores", f"{result.mapped.cores}", "", published.get("cores", "")
        if result.activity is None:
            continue
        found = bill(result.mapped, result.activity.messages, host=False)
        for what, quantity in (
            ("time of a step, µs", found.step),
            ("dynamic energy of a frame, µJ", found.dynamic),
        ):
            if quantity is not None:
                scaled = quantity * 1e6
                interval = f"{scaled.low:,.4g} to {scaled.high:,.4g}"
                yield title, what, f"{scaled.value:,.4g}", interval, published.get(what, "")


def main() -> None:
    from tempfile import TemporaryDirectory

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", default="loihi2")
    print(f"| {' | '.join(COLUMNS)} |\n|---|---|---:|---:|---:|")
    with TemporaryDirectory() as folder:
        for row in rows(parser.parse_args().target, Path(folder)):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
