"""``snn-compile inspect --against``: the network and the user's file, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile.cli.console import results, show_json, show_table
from snn_compile.cli.settings import read_options
from snn_compile.errors import Origin, UsageError
from snn_compile.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from snn_compile.against import FixedLayer, FloatLayer, LayerReport

SOURCES = ("model", "calibrate", "evaluate")
OPTIONS = ("input_shape", "mean_values", "scale_values", "layout")
"""Options of a compilation that concern the reading of a model and its data."""


def compare(
    path: Path, data: Path | None, n_samples: int, given: Mapping[str, Any], *, as_json: bool
) -> None:
    """Compare, and show every layer.

    Raises:
        CompileError: the files cannot be used; ``layer-differs`` if a layer exceeds its bound.
    """
    from snn_compile.against import inspect_against

    sources = {name: given[name] for name in SOURCES if given[name] is not None}
    stated = {name: given[name] for name in OPTIONS if given[name] not in (None, ())}
    _refuse(path, stated if path.is_dir() else sources)
    options = None if path.is_dir() else read_options(None, stated)
    report = inspect_against(path, data, options=options, sources=sources, n_samples=n_samples)
    if as_json:
        show_json(report.as_dict())
    else:
        _show(report)
    report.require_within()


def _refuse(path: Path, needless: Mapping[str, Any]) -> None:
    if needless:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in needless)
        what = "a folder records its options" if path.is_dir() else "for compiled folders"
        raise UsageError(
            f"{words} has no meaning here: {what}",
            code="bad-argument",
            origin=Origin(str(path)),
            hint="omit it",
        )


def _show(report: LayerReport) -> None:
    console = results()
    samples = f"{report.samples} sample" + "s" * (report.samples != 1)
    console.print(
        f"{printable(Path(report.file).name)}   against {report.runtime} · {samples}"
        f" ({printable(Path(report.source).name)})\n"
    )
    show_table(console, _float_table(report.layers))
    if report.fixed:
        console.print("\nin integers, given those nearest to these values\n")
        show_table(console, _fixed_table(report.fixed))
    kept = [layer.within for layer in report.layers] + [layer.within for layer in report.fixed]
    console.print(f"\n{sum(kept)} of {len(kept)} layers keep to their bounds")


def _float_table(layers: tuple[FloatLayer, ...]) -> Table:
    table = _table("layer", "operator", "from", "error", "bound", "ours", "theirs", "")
    for layer in layers:
        values = (layer.error, layer.bound, layer.ours, layer.theirs)
        numbers = (_number(value) for value in values)
        table.add_row(layer.name, layer.op, _origin(layer), *numbers, _verdict(layer))
    return table


def _fixed_table(layers: tuple[FixedLayer, ...]) -> Table:
    from snn_compile.report.figures import percent

    table = _table("layer", "from", "of bound", "SQNR dB", "cut off", "ours", "theirs", "")
    for layer in layers:
        sqnr = "exact" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}"
        shares = percent(layer.share), sqnr, percent(layer.saturated)
        ends = _number(layer.ours), _number(layer.theirs)
        table.add_row(layer.name, _origin(layer), *shares, *ends, _verdict(layer))
    return table


def _number(value: float) -> str:
    return f"{value:.4g}"


def _origin(layer: FloatLayer | FixedLayer) -> str:
    origin = layer.origin
    return f"{origin.node} ({origin.op})" if origin.op else origin.node


def _verdict(layer: FloatLayer | FixedLayer) -> str:
    return "" if layer.within else "differs"


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    texts = ("layer", "operator", "from", "")
    for name in columns:
        table.add_column(name, justify="left" if name in texts else "right", overflow="fold")
    return table
