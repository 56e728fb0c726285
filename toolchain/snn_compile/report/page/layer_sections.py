"""A section for each layer: its figures, and histograms of its integers on their levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snn_compile.report import cost_figures, figures
from snn_compile.report.page.network import section_of

WIDTH, HEIGHT = 232, 64
MOST_DECIBELS = 60.0
"""Of a full bar of the signal-to-noise ratio."""
_LONE = 16
"""Bins for a lone one, which would be as wide as all of the drawing."""
_FEWEST_PIXELS = 1.5
"""Height of a bar for a single value, so that it shows."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values as bars.

    Attributes:
        title: what is counted.
        path: of the bars.
        low: text below the left end; high likewise, below the right end.
        high: see low.
        words: the drawing in words.
        note: what no bar shows.
    """

    title: str
    path: str
    low: str
    high: str
    words: str
    note: str


@dataclass(frozen=True)
class LayerSection:
    """A layer.

    Attributes:
        id: of the section.
        name: of the layer.
        origin: the operator of the user's file.
        figures: names and texts.
        sqnr: share of a full bar, and text; None without a ratio.
        histograms: of weights, thresholds and activations, as far as known.
    """

    id: str
    name: str
    origin: str
    figures: tuple[tuple[str, str], ...]
    sqnr: tuple[float, str] | None
    histograms: tuple[Histogram, ...]


def layer_sections(report: Mapping[str, Any]) -> tuple[LayerSection, ...]:
    """The sections of all layers, in the order of the network."""
    activations = {one["layer"]: one for one in report.get("activations") or []}
    return tuple(
        LayerSection(
            section_of(index),
            layer["name"],
            str(layer.get("origin") or ""),
            tuple(_figures(layer)),
            sqnr(layer),
            tuple(_histograms(layer, activations.get(layer["name"]))),
        )
        for index, layer in enumerate(report.get("layers") or [])
    )


def sqnr(layer: Mapping[str, Any]) -> tuple[float, str] | None:
    """The signal-to-noise ratio as a share of a full bar, and in words."""
    decibels = layer.get("sqnr_db")
    if decibels is None:
        return None
    return round(min(max(decibels / MOST_DECIBELS, 0.0), 1.0), 3), f"{decibels:.1f} dB"


def _figures(layer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    def known(key: str) -> Any:
        return layer.get(key)

    if known("op"):
        yield "operator", str(layer["op"])
    if known("shape"):
        yield "shape", figures.times(layer["shape"])
    if known("sources"):
        yield "reads", ", ".join(layer["sources"])
    if known("neurons") is not None:
        yield "neurons", f"{layer['neurons']:,}"
    if known("synapses") is not None:
        yield "synapses", f"{layer['synapses']:,}"
    if known("fan_in") is not None:
        yield "largest fan-in", f"{layer['fan_in']:,}"
    if known("weight_bits"):
        yield "weights", f"{layer['weight_bits']} bits"
    if known("payload_bits"):
        bits = layer["payload_bits"]
        yield "messages", f"{bits} bits" if bits else "spikes"
    if known("largest_potential"):
        yield "potential, proven", f"at most {layer['largest_potential']:,}"
    if known("rate") is not None:
        yield "rate", figures.percent(layer["rate"])
    if known("dead") is not None:
        dead, neurons = layer["dead"], known("neurons")
        share = figures.percent(dead)
        yield "silent neurons", f"{round(dead * neurons):,} ({share})" if neurons else share
    if known("spikes_per_inference") is not None:
        yield "spikes per inference", figures.short(layer["spikes_per_inference"])
    if known("output_share") is not None:
        yield "share of the output's error", figures.percent(layer["output_share"])
    if error := figures.drive_error(layer):
        yield "error of its drive", error
    for name in ("energy", "time"):
        if text := cost_figures.estimate(known(name)):
            yield {"energy": "energy", "time": "time of a step"}[name], text


def _histograms(
    layer: Mapping[str, Any], activations: Mapping[str, Any] | None
) -> Iterator[Histogram]:
    if found := layer.get("weights_histogram"):
        yield histogram("weights", found, "levels")
    if found := layer.get("thresholds_histogram"):
        yield histogram("thresholds", found, "steps of the potential", whole=False)
    if activations is not None:
        found = activations["histogram"]
        yield histogram("activations", found, f"levels, {activations['samples']} samples")


def histogram(title: str, found: Mapping[str, Any], unit: str, *, whole: bool = True) -> Histogram:
    """The drawing of an entry of ``report.json``.

    Args:
        title: what is counted.
        found: low end, width of a bin, counts.
        unit: of the values.
        whole: whether values are levels, of which a bin includes its first and its last.
    """
    counts: Sequence[int] = found["counts"]
    total, most = sum(counts), max(counts)
    low, width = found["low"], found["width"]
    high = found.get("high", low + width * len(counts) - (1 if whole else 0))
    if len(counts) == 1 and not whole:
        high = low
    if found.get("log2"):
        unit = f"{unit}, logarithmic scale"
    ends = tuple(_number(end, found) for end in (low, high))
    words = f"{title}: {total:,} from {ends[0]} to {ends[1]}, in {unit}"
    if total:
        peak = low + width * counts.index(most)
        words += f"; most of them at {_number(peak, found)}"
        if whole and width > 1:
            words += f" to {figures.number(min(peak + width - 1, high))}"
    note = unit
    if zeros := found.get("zeros"):
        share = figures.percent(zeros / (zeros + total))
        note = f"{unit}; {share} are 0"
        words += f"; {share} are 0 and not among them"
    return Histogram(title, _bars(counts), ends[0], ends[1], words, note)


def _number(value: float, found: Mapping[str, Any]) -> str:
    """A place on the scale of a histogram."""
    return figures.number(2.0**value if found.get("log2") else value)


def _bars(counts: Sequence[int]) -> str:
    """The path of the bars; of a single one, in the middle."""
    if len(counts) == 1:
        counts = [0] * (_LONE // 2) + [*counts] + [0] * (_LONE // 2)
    step, most = WIDTH / len(counts), max(counts)
    gap = 1.0 if step > 4 else 0.0
    bars = []
    for index, count in enumerate(counts):
        if count:
            tall = round(max(HEIGHT * count / most, _FEWEST_PIXELS), 1)
            x, wide = round(index * step, 1), round(step - gap, 1)
            bars.append(f"M{x},{HEIGHT}v-{tall}h{wide}v{tall}z")
    return "".join(bars)
