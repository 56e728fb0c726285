"""A picture of points lost by setting: arms beside goals, from what ``accuracy.py --goals`` wrote.

    python tests/bench/accuracy_goals_plot.py FILE ... [--models MODEL ...] [--arms ARM ...]
                                              [-o docs/images/accuracy-goals.svg]

A panel for each model, 95 % intervals over the test images. It needs matplotlib (the extra
``plot``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from accuracy_goals_cells import KIND, SETTINGS, known_of
from accuracy_goals_tables import Lost, losses

matplotlib.use("agg")
import matplotlib.pyplot as plt

TARGET = Path(__file__).parents[2] / "docs/images/accuracy-goals.svg"
DRAWN = {
    "default": ("o", "#7f7f7f", "default"),
    "reconstructed": ("s", "#08519c", "--rounding reconstructed"),
}
"""Marker, colour and name of an arm."""
TICKS = (0, 0.5, 1, 2, 5, 10, 20)
LINEAR_UP_TO = 1.0
"""Points; the scale is logarithmic above."""
HEIGHT, APART = 0.36, 0.24
"""Of a setting in inches, and between arms as a share of it."""


def drawn(arm: str) -> tuple[str, str, str]:
    """Marker, colour and name, of a number of steps too."""
    return DRAWN.get(arm, ("^", "#41b6c4", f"--rounding {arm}"))


def panel(axes: plt.Axes, found: dict[tuple[str, str, str], Lost], arms: list[str]) -> None:
    """Points lost by one model."""
    settings = [s for s in SETTINGS if any(key[1] == s for key in found)]
    for k, setting in enumerate(settings):
        of = {arm: one for (_, at, arm), one in found.items() if at == setting}
        goal = next((one.cells[0].goal for one in of.values()), None)
        axes.plot([goal, goal], [k - 0.42, k + 0.42], color="black", lw=1.2)
        there = [arm for arm in arms if arm in of]
        for place, arm in zip(np.arange(len(there)) - (len(there) - 1) / 2, there, strict=True):
            one = of[arm]
            ends = [[one.mean - one.low], [one.high - one.mean]]
            marker, colour, _ = drawn(arm)
            height = k + APART * place
            axes.errorbar(one.mean, height, xerr=ends, fmt=marker, ms=4, lw=1.2, color=colour)
    (model,) = {key[0] for key in found}
    exact = next(iter(found.values())).exact
    axes.set_title(f"{model}, {exact:.2f} % in floating point", fontsize=9)
    axes.set_yticks(range(len(settings)), settings)
    axes.set_ylim(len(settings) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=LINEAR_UP_TO)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.set_xlim(-0.6, 25)
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("points of accuracy lost")


def draw(found: dict[str, dict[tuple[str, str, str], Lost]], arms: list[str], target: Path) -> None:
    """Write the picture."""
    # Names in an SVG are drawn at random unless told not to be.
    plt.rcParams |= {"svg.hashsalt": "goals", "font.size": 9}
    rows = max(len({key[1] for key in one}) for one in found.values())
    size = (4.6 * len(found), HEIGHT * rows + 1.4)
    figure, panels = plt.subplots(1, len(found), figsize=size, squeeze=False)
    for axes, one in zip(panels[0], found.values(), strict=True):
        panel(axes, one, arms)
    seen = {key[2] for one in found.values() for key in one}
    shapes = [
        plt.Line2D([], [], marker=marker, ls="", color=colour, label=label)
        for marker, colour, label in (drawn(arm) for arm in arms if arm in seen)
    ]
    goal = plt.Line2D([], [], color="black", lw=1.2, label="goal")
    figure.legend(handles=[*shapes, goal], loc="lower center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0.3 / size[1], 1, 1))
    figure.savefig(target, metadata={"Date": None})


def main() -> None:
    """Read and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--models", nargs="+", default=list(KIND), choices=list(KIND))
    parser.add_argument("--arms", nargs="+", default=list(DRAWN))
    parser.add_argument("-o", "--output", type=Path, default=TARGET)
    asked = parser.parse_args()
    known = known_of(asked.files)
    found = {model: losses(known, [model]) for model in asked.models}
    found = {model: one for model, one in found.items() if one}
    if not found:
        parser.error("nothing is known of these models")
    draw(found, asked.arms, asked.output)


if __name__ == "__main__":
    main()
