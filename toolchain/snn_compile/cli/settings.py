"""The options of a compilation, as ``compile`` and ``check`` take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from snn_compile.coding_registry import coding_names
from snn_compile.options import (
    AUTO,
    EQUALIZE,
    INPUTS,
    LAYOUTS,
    NEURONS,
    PRODUCERS,
    RESETS,
    ROUNDINGS,
    CompileOptions,
)

F = TypeVar("F", bound=Callable[..., Any])


class _WholeOrAuto(click.ParamType[int | str]):
    """A whole number, or ``auto``."""

    name = "whole number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number, or the word."""
        if value == AUTO:
            return AUTO
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor {AUTO}.", param, ctx)


def _number(*names: str, text: str) -> Callable[[F], F]:
    return click.option(*names, type=_WholeOrAuto(), metavar="N|auto", help=text)


def _choice(name: str, allowed: tuple[str, ...], text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", metavar="|".join(allowed), help=text)


_DATA = (
    click.option(
        "--calibrate",
        type=click.Path(path_type=Path),
        metavar="NPZ",
        help="Data for thresholds: x, (N, *input shape).",
    ),
    click.option(
        "--evaluate",
        type=click.Path(path_type=Path),
        metavar="NPZ",
        help="Data for the accuracy ladder: x and, for accuracies, labels y.",
    ),
    click.option(
        "--mean-values", metavar="M[,M]", help="Subtracted from the raw input, per channel."
    ),
    click.option("--scale-values", metavar="S[,S]", help="Divides it then, per channel."),
    _choice("layout", LAYOUTS, "Layout of x in the data files."),
    click.option("--seed", type=int, metavar="N", help="Of everything random."),
)
_NETWORK = (
    click.option("--target", metavar="NAME|FILE", help="See: snn-compile targets."),
    _choice("coding", coding_names(), "What a message means (default: what the target does best)."),
    _number("-T", "--timesteps", text="Steps per layer window (sync, signed, rate)."),
    _number("--payload-bits", text="Width of a payload (graded, sigma-delta)."),
    _choice("input", INPUTS, "How the input arrives."),
    click.option("--input-bits", type=int, metavar="N", help="The input has 2**N levels."),
    click.option("--burst", type=int, metavar="N", help="Most spikes of one step (rate)."),
    _choice("reset", RESETS, "What a spike does to the potential (rate)."),
    click.option(
        "--initial-potential",
        type=float,
        metavar="V",
        help="In units of the threshold (rate, signed).",
    ),
)
_NUMBERS = (
    _number("--weight-bits", text="2 to 8."),
    click.option("--state-bits", type=int, metavar="N", help="12 to 24, of a potential."),
    _choice("neurons", NEURONS, "stock: only those that Lava has on the chip, too."),
    click.option(
        "--thresholds", metavar="METHOD", help="mmse, percentile:P, max, lbs or spike-norm."
    ),
    click.option(
        "--per-layer/--per-channel",
        "per_layer",
        default=None,
        help="One threshold a layer, or one a channel.",
    ),
    _choice("equalize", EQUALIZE, "Cross-layer weight adjustment."),
    _choice("rounding", ROUNDINGS, "Of weights: each by itself, or errors cancelling on the data."),
    _choice("bias-correction", ("on", "off"), "Whether biases absorb the mean error."),
    _choice(
        "potential-calibration", ("on", "off"), "Whether neurons start as their counts need (rate)."
    ),
    _choice(
        "reset-calibration",
        ("on", "off"),
        "Whether thresholds make up for what a reset to zero throws away (rate).",
    ),
    click.option(
        "--max-accuracy-drop",
        type=float,
        metavar="POINTS",
        help="A larger loss than this ends with exit code 6.",
    ),
    click.option("--emit", multiple=True, metavar="B[,B]", help="Backends to write."),
)
_NIR = (
    click.option(
        "--event-step", type=float, metavar="US", help="Microseconds in a step (recorded events)."
    ),
    click.option("--nir-dt", type=float, metavar="S", help="Seconds in a time step (NIR files)."),
    _choice("nir-reset", RESETS, "What a spike does to the potential (NIR files)."),
    _choice("nir-reset-delay", ("on", "off"), "Whether snnTorch resets one step late."),
    _choice("nir-producer", PRODUCERS, "Who wrote a NIR file."),
)
_CONFIG = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="TOML",
    help="Options from a file; the command line wins.",
)


def settings(command: F) -> F:
    """Add every option of a compilation."""
    for option in reversed((*_DATA, *_NETWORK, *_NUMBERS, *_NIR, _CONFIG)):
        command = option(command)
    return command


def chosen(config: Path | None, given: Mapping[str, Any]) -> CompileOptions:
    """The options in effect: the command line's, over the file's, over the defaults."""
    cli = {name: value for name, value in given.items() if value is not None and value != ()}
    return CompileOptions.from_sources(config, cli)
