"""A picture of CPU time over density, from what ``engine.py --json FILE`` wrote.

    python tests/bench/engine_plot.py FILE [-o docs/images/engine-density.svg]

Milliseconds of CPU time a sample, of the engine's builds and of every peer, one panel a network. It
needs matplotlib (the extra ``plot``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

TARGET = Path(__file__).parents[2] / "docs/images/engine-density.svg"
COLOURS = {
    "engine avx512": "#08519c",
    "engine avx2": "#3182bd",
    "engine baseline": "#9ecae1",
    "torch": "#d95f02",
    "spikingjelly": "#7570b3",
    "snntorch": "#1b9e77",
}
"""Of those that are drawn; the reference and Lava are far slower."""


def density(record: Mapping[str, Any]) -> float | None:
    """The density that a network was made for; None of compiled models."""
    activity = record["activity"]
    return float(activity[:-1]) / 100 if activity.endswith("%") else None


def curves(records: list[Mapping[str, Any]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Of each network, each contestant's (density, ms), in the order of the densities."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        at = density(record)
        if at is None:
            continue
        lines = found.setdefault(record["network"], {})
        for name, entry in record["cpu_ms"].items():
            if name in COLOURS:
                lines.setdefault(name, []).append((at, entry["median"]))
    return {n: {k: sorted(v) for k, v in lines.items()} for n, lines in found.items()}


def draw(records: list[Mapping[str, Any]], target: Path) -> None:
    """Write the picture."""
    found = curves(records)
    # Names in an SVG are drawn at random unless told not to be.
    plt.rcParams |= {"svg.hashsalt": "engine", "font.size": 9}
    figure, panels = plt.subplots(1, len(found), figsize=(3.2 * len(found), 3.2), squeeze=False)
    for panel, (network, lines) in zip(panels[0], found.items(), strict=True):
        for name, points in lines.items():
            panel.plot(*zip(*points, strict=True), "o-", ms=3, label=name, color=COLOURS[name])
        panel.set(xscale="log", yscale="log", title=network, xlabel="density")
        ticks = sorted({at for points in lines.values() for at, _ in points})
        panel.set_xticks(ticks, [f"{at:g}" for at in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("CPU ms a sample, one core")
    panels[0][-1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    asked = parser.parse_args()
    records = [r for file in asked.files for r in json.loads(file.read_text())["workloads"]]
    draw(records, asked.output)


if __name__ == "__main__":
    main()
