"""Messages between chips: the order of the network, its best cut, ours, and METIS where installed.

    python tests/bench/chips.py [--target loihi2] [MODEL ...]

Prints a table in Markdown, for chips of several sizes. ``pip install pymetis`` adds its column; the
product never imports it.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from cores import CHIPS, ROOT, network

from snn_compile.mapping import map_program
from snn_compile.mapping.block import Part
from snn_compile.mapping.chips import Edges, crossing, in_runs, spread, traffic
from snn_compile.mapping.counts import all_counts
from snn_compile.options import CompileOptions
from snn_compile.targets import load_target

SIZES = 16, 32, 64, 128
"""Cores of a chip."""


def by_metis(n_cores: int, n_chips: int, edges: Edges) -> int | None:
    """Messages between METIS's parts; None where it is not installed."""
    try:
        metis: Any = import_module("pymetis")
    except ImportError:
        return None
    near: list[dict[int, int]] = [{} for _ in range(n_cores)]
    for a, b, n in zip(*(each.tolist() for each in edges), strict=True):
        if a != b:
            near[a][b] = near[a].get(b, 0) + n
            near[b][a] = near[b].get(a, 0) + n
    starts = np.cumsum([0, *map(len, near)]).tolist()
    adjacency = metis.CSRAdjacency(adj_starts=starts, adjacent=[b for each in near for b in each])
    weights = [n for each in near for n in each.values()]
    _, chips = metis.part_graph(n_chips, adjacency, eweights=weights)
    return crossing(np.array(chips, dtype=np.int64), edges)


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--target", default="loihi2")
    asked = parser.parse_args(arguments)
    target = load_target(asked.target, CHIPS)
    models = asked.models or sorted((ROOT.parent / "shared" / "models").glob("*.onnx"))
    print("| network | cores a chip | chips | in order | best cut of the order | ours | METIS |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for path in models:
        program = network(path, CompileOptions(coding=target.default_coding.value))
        cores: dict[int, list[Part]] = {}
        for placed in map_program(program, target).graph.placements:
            cores.setdefault(placed.core, []).append(Part(placed.population, placed.block))
        edges = traffic(program, all_counts(program), [cores[core] for core in sorted(cores)])
        for size in SIZES:
            n_chips = -(-len(cores) // size)
            if n_chips < 2:
                continue
            metis = by_metis(len(cores), n_chips, edges)
            found = (
                crossing(np.arange(len(cores)) // size, edges),
                crossing(in_runs(len(cores), size, edges), edges),
                crossing(spread(len(cores), size, edges), edges),
            )
            row = [path.stem, str(size), str(n_chips), *(f"{n:,}" for n in found)]
            print(f"| {' | '.join([*row, '' if metis is None else f'{metis:,}'])} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
