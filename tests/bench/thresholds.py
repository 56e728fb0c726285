"""Threshold balancing: five methods on ten networks in three windows, and where each one wins.

    python tests/bench/thresholds.py [NETWORK ...] [--scale 1.0] [--folder l4_results] [--show]

Rate coding with constant input, one threshold a channel, as by default; weights rounded to nearest
and nothing else corrected, so that the thresholds alone differ. Networks and images are those of
``l4.py``, and so are the tests: every method is compared with ``mmse``, the default. What is done
goes into ``FOLDER/thresholds.jsonl``, cell by cell, and is not computed again. About five minutes
of one core.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import l4
import numpy as np
import small_networks
from l4 import STEPS, Cell

from snn_compile import compile_model

METHODS = ("mmse", "max", "percentile:99.9", "spike-norm", "l4")
OPTIONS: dict[str, Any] = l4.PLAIN | {"input": "current", "per_layer": False}


def measure(cell: Cell, network: small_networks.Labelled, images: int) -> np.ndarray:
    """Right answers of a cell, (1, images): nothing is drawn."""
    compiled = compile_model(
        network.path,
        calibrate=network.calibrate,
        timesteps=cell.n_steps,
        **OPTIONS | {"thresholds": cell.arm},
    )
    return np.array([l4.answers(compiled, network.x[:images], 0) == network.y[:images]])


def accuracies(found: l4.Rights, networks: Sequence[str]) -> list[list[str]]:
    """Accuracy per method; the highest of a row in bold."""
    rows = [["network", "T", "images", *METHODS], ["---", *["---:"] * (len(METHODS) + 2)]]
    for network, n_steps in itertools.product(networks, STEPS):
        runs = [found.get(Cell(network, n_steps, method)) for method in METHODS]
        known = [run for run in runs if run is not None]
        if not known:
            continue
        shown = ["" if run is None else l4.spread(run) for run in runs]
        if len(known) == len(METHODS):
            top = max(run.mean() for run in known)
            both = zip(runs, shown, strict=True)
            shown = [f"**{text}**" if run.mean() == top else text for run, text in both]
        rows.append([network, str(n_steps), str(known[0].shape[1]), *shown])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, then show all that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=small_networks.NAMES)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images")
    parser.add_argument("--folder", type=Path, default=Path("l4_results"))
    parser.add_argument("--show", action="store_true", help="only the tables of what is known")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "thresholds.jsonl"
    found = l4.read(path)
    most = max(max(counts) for counts in l4.IMAGES.values())
    for name in asked.networks if not asked.show else ():
        missing = [Cell(name, *rest) for rest in itertools.product(STEPS, METHODS)]
        missing = [cell for cell in missing if cell not in found]
        if not missing:
            continue
        network = small_networks.load(name, asked.folder / "networks", most)
        for cell in missing:
            begin = time.process_time()
            found[cell] = measure(cell, network, l4.n_images(cell, asked.scale))
            l4.write(path, cell, found[cell], time.process_time() - begin)
            print(*cell, l4.spread(found[cell]), flush=True)
    pairs = [(method, "mmse") for method in METHODS[1:]]
    family = l4.compare(found, asked.networks, pairs)
    tables = [accuracies(found, asked.networks), l4.tally(family), l4.table(family)]
    text = "\n\n".join(map(l4.markdown, tables))
    print(text)
    (asked.folder / "thresholds.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
