"""What the L4 norm does in conversion: ten networks, three windows, six arms, three controls.

    python tests/bench/l4.py [NETWORK ...] [--steps 8 32 128] [--seeds 5] [--scale 1.0]
                             [--folder l4_results] [--show]

Rate coding, Poisson input, one threshold a layer, weights rounded to nearest, nothing else
corrected. Each cell is one network, window and arm. Its right answers for each seed of the spikes
go into ``FOLDER/cells.jsonl`` as soon as it is done, and a cell that is there is not computed
again. The tables go into ``FOLDER/tables.md``, the numbers behind them into ``FOLDER/tables.json``.

Fixed before the first run: the arms, the numbers of images, the bound of equivalence (``paired``),
and the families of tests, one for each table. Small networks are trained first
(``small_networks``, with torch). ``--scale`` takes a share of the images, for a try. All of it
takes about half an hour of one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import small_networks
from paired import Difference, difference, verdicts

from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.sim import engine

PLAIN: dict[str, Any] = {
    "coding": "rate",
    "input": "poisson",
    "thresholds": "max",
    "per_layer": True,
    "rounding": "nearest",
    "bias_correction": False,
    "potential_calibration": False,
    "target": "unlimited",
    "emit": (),
}
ARMS: dict[str, dict[str, Any]] = {
    "none": {},
    "equalize l4": {"equalize": "l4"},
    "thresholds l4": {"thresholds": "l4"},
    "equalize range": {"equalize": "range"},
    "equalize l2": {"equalize": "l2"},
    "per channel": {"per_layer": False},
    "constant, none": {"input": "current"},
    "constant, equalize l4": {"input": "current", "equalize": "l4"},
    "equalize data": {"equalize": "data"},
}
AGAINST_NONE = ("equalize l4", "thresholds l4", "equalize l2", "equalize range", "equalize data")
L4_AGAINST = ("equalize l2", "equalize data", "equalize range", "per channel")
IMAGES = {
    "fashion_vggbn": (1000, 1000, 250),
    "cifar10_resnet20": (200, 200, 50),
    "fashion_cnn_no_bias": (1000, 1000, 250),
    "mnist_cnn": (1000, 1000, 250),
    "cnn": (2000, 2000, 500),
    "mlp": (2000, 2000, 1000),
}
"""For 8, 32 and 128 steps; the first name that is part of a network's counts."""
STEPS = (8, 32, 128)
DRAWS = 1_000_000
"""Stimuli are numbered from here for each further seed: the number decides a stimulus' spikes."""


class Cell(NamedTuple):
    """One compilation and its answers."""

    network: str
    n_steps: int
    arm: str


Rights = Mapping[Cell, np.ndarray]
"""Whether each answer is right, (seeds, images)."""


def n_images(cell: Cell, scale: float) -> int:
    """Test images of a cell: the same for all arms."""
    kind = next(kind for kind in IMAGES if kind in cell.network)
    return max(2, round(scale * IMAGES[kind][STEPS.index(cell.n_steps)]))


def cells(networks: Sequence[str], steps: Sequence[int]) -> Iterator[Cell]:
    """All cells, those that tell most first; the windows in an order that tells early, too."""
    order = sorted(steps, key=lambda n: abs(n - 32))
    for arms in (list(ARMS)[:-1], list(ARMS)[-1:]):
        for network, n_steps, arm in itertools.product(networks, order, arms):
            yield Cell(network, n_steps, arm)


def answers(compiled: CompiledModel, x: np.ndarray, seed: int) -> np.ndarray:
    """Class of each image, with spikes drawn anew for each seed."""
    run = engine.run(compiled.program, compiled.encoding(x), first=seed * DRAWS)
    ((name, decode),) = compiled.decodings.items()
    return decode(run.outputs[name]).reshape(len(x), -1).argmax(axis=1)


def measure(cell: Cell, network: small_networks.Labelled, images: int, seeds: int) -> np.ndarray:
    """Right answers of a cell, (seeds, images)."""
    options = PLAIN | ARMS[cell.arm]
    compiled = compile_model(
        network.path, calibrate=network.calibrate, timesteps=cell.n_steps, **options
    )
    x, y = network.x[:images], network.y[:images]
    draws = seeds if options["input"] == "poisson" else 1
    return np.array([answers(compiled, x, seed) == y for seed in range(draws)])


def read(path: Path) -> dict[Cell, np.ndarray]:
    """Cells that are done; a last line that was cut short is not."""
    found: dict[Cell, np.ndarray] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        bits = [np.frombuffer(bytes.fromhex(row), np.uint8) for row in entry["right"]]
        rows = [np.unpackbits(row, count=entry["images"]).astype(bool) for row in bits]
        found[Cell(*entry["cell"])] = np.array(rows)
    return found


def write(path: Path, cell: Cell, right: np.ndarray, seconds: float) -> None:
    """Add a cell to the file."""
    rows = [np.packbits(row).tobytes().hex() for row in right]
    entry = {"cell": cell, "images": right.shape[1], "seconds": round(seconds, 1), "right": rows}
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def accuracies(found: Rights, networks: Sequence[str]) -> list[list[str]]:
    """Mean over seeds and its standard deviation, per arm."""
    rows = [["network", "T", "images", *ARMS], ["---", *["---:"] * (len(ARMS) + 2)]]
    for network, n_steps in itertools.product(networks, STEPS):
        runs = {arm: found.get(Cell(network, n_steps, arm)) for arm in ARMS}
        known = [run for run in runs.values() if run is not None]
        if known:
            shown = ["" if run is None else spread(run) for run in runs.values()]
            rows.append([network, str(n_steps), str(known[0].shape[1]), *shown])
    return rows


def spread(right: np.ndarray) -> str:
    """Accuracy, and its deviation over seeds."""
    each = 100 * right.mean(axis=1)
    return f"{each.mean():.1f}" + (f" ± {each.std(ddof=1):.1f}" if len(each) > 1 else "")


class Comparison(NamedTuple):
    """Two arms of one network and window."""

    network: str
    n_steps: int
    ours: str
    theirs: str
    found: Difference
    verdict: str


def compare(
    found: Rights, networks: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[Comparison]:
    """A family: each pair of arms on each network in each window, where both are known."""
    known = [
        (network, n_steps, ours, theirs)
        for network, n_steps, (ours, theirs) in itertools.product(networks, STEPS, pairs)
        if {Cell(network, n_steps, arm) for arm in (ours, theirs)} <= set(found)
    ]
    differences = [
        difference(found[Cell(name, n, ours)], found[Cell(name, n, theirs)])
        for name, n, ours, theirs in known
    ]
    both = zip(known, differences, verdicts(differences), strict=True)
    return [Comparison(*key, one, verdict) for key, one, verdict in both]


def table(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Differences with intervals and verdicts: a row for each network and window."""
    pairs = list(dict.fromkeys((one.ours, one.theirs) for one in comparisons))
    rows = [["network", "T", *(f"{ours} − {theirs}" for ours, theirs in pairs)]]
    rows += [["---", *["---:"] * (len(pairs) + 1)]]
    keys = dict.fromkeys((one.network, one.n_steps) for one in comparisons)
    for network, n_steps in keys:
        cells = {
            (one.ours, one.theirs): f"{one.found.mean:+.1f} [{one.found.low:+.1f},"
            f" {one.found.high:+.1f}] {one.verdict}"
            for one in comparisons
            if (one.network, one.n_steps) == (network, n_steps)
        }
        rows.append([network, str(n_steps), *(cells.get(pair, "") for pair in pairs)])
    return rows


def tally(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """How often each verdict was given, for each pair of arms."""
    names = ("better", "worse", "equal", "open")
    rows = [["compared", *names], ["---", *["---:"] * len(names)]]
    for pair in dict.fromkeys((one.ours, one.theirs) for one in comparisons):
        given = [one.verdict for one in comparisons if (one.ours, one.theirs) == pair]
        rows.append([" − ".join(pair), *(str(given.count(name)) for name in names)])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def show(found: Rights, networks: Sequence[str], folder: Path) -> None:
    """Print the tables and write them down."""
    constant = [("constant, equalize l4", "constant, none")]
    families = {
        "Against no adjustment": [(arm, "none") for arm in AGAINST_NONE],
        "L4 against others": [("equalize l4", arm) for arm in L4_AGAINST],
        "Constant input": constant,
    }
    parts = ["Accuracy\n\n" + markdown(accuracies(found, networks))]
    numbers: list[dict[str, Any]] = []
    for title, pairs in families.items():
        family = compare(found, networks, pairs)
        if family:
            parts += [f"{title}\n\n" + markdown(tally(family)), markdown(table(family))]
        numbers += [one._asdict() | {"found": asdict(one.found)} for one in family]
    text = "\n\n".join(parts)
    print(text)
    (folder / "tables.md").write_text(text + "\n")
    (folder / "tables.json").write_text(json.dumps(numbers, indent=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, then show all that is known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=small_networks.NAMES)
    parser.add_argument("--steps", type=int, nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images")
    parser.add_argument("--folder", type=Path, default=Path("l4_results"))
    parser.add_argument("--show", action="store_true", help="only the tables of what is known")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    path = asked.folder / "cells.jsonl"
    found = read(path)
    networks: dict[str, small_networks.Labelled] = {}
    for cell in cells(asked.networks, asked.steps) if not asked.show else ():
        if cell in found:
            continue
        if cell.network not in networks:
            most = max(max(counts) for counts in IMAGES.values())
            trained = asked.folder / "networks"
            networks = {cell.network: small_networks.load(cell.network, trained, most)}
        begin = time.process_time()
        images = n_images(cell, asked.scale)
        found[cell] = measure(cell, networks[cell.network], images, asked.seeds)
        write(path, cell, found[cell], time.process_time() - begin)
        print(*cell, spread(found[cell]), flush=True)
    show(found, asked.networks, asked.folder)


if __name__ == "__main__":
    main()
