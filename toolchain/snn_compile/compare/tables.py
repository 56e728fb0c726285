"""A comparison as tables of text, for the terminal, the page and the summary alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snn_compile.compare.schema import ComparedOutput, Comparison, Figure, Pair
from snn_compile.pluralize import pluralize
from snn_compile.report import cost_figures, figures, output_figures
from snn_compile.report.tables import Row, Table

FEW = 10
"""Samples with different answers that are shown."""


def tables(comparison: Comparison, few: int = FEW) -> list[Table]:
    """Everything that was compared; tables without rows are left out."""
    names = tuple(one["name"] for one in comparison["networks"])
    found = [
        _figures(comparison, names),
        _ladder(comparison, names),
        _options(comparison, names),
        _layers(comparison, names),
        *_answers(comparison, names, few),
    ]
    return [table for table in found if table.rows]


def conclusions(comparison: Comparison) -> list[str]:
    """Which network is better than which, in sentences."""
    answers = comparison["answers"]
    if answers is None:
        return []
    several = len(answers["outputs"]) > 1
    return [
        sentence(pair, answers["n"], output["name"] if several else "")
        for output in answers["outputs"]
        for pair in output["pairs"]
    ]


def sentence(pair: Pair, n: int, output: str = "") -> str:
    """What is known of a pair."""
    of_output = f" in '{output}'" if output else ""
    if not pair["differ"] and not pair.get("a_better") and not pair.get("b_better"):
        every = f"every one of {pluralize(n, 'sample')}"
        return f"{pair['a']} and {pair['b']} give the same answer{of_output} to {every}"
    differ = f"{pair['differ']:,} of {pluralize(n, 'answer')}"
    if "p" not in pair:
        return f"{pair['a']} and {pair['b']} differ{of_output} in {differ}"
    split = (pair["a_better"], pair["b_better"])
    shown = "is right alone" if pair["test"] == "McNemar" else "is closer to the target"
    if pair["better"] is None:
        verdict = f"neither of {pair['a']} and {pair['b']} is shown to be better"
        by = f"the one {shown} on {pluralize(split[0], 'sample')}, the other on {split[1]:,}"
    else:
        worse = pair["b"] if pair["better"] == pair["a"] else pair["a"]
        verdict = f"{pair['better']} is better than {worse}"
        by = f"it {shown} on {pluralize(max(split), 'sample')}, the other on {min(split):,}"
    p = _probability(pair["p_holm"])
    p = f"p {p}" if p.startswith("<") else f"p = {p}"
    return f"{verdict}{of_output}: {by} ({p}); they differ in {differ}"


def _figures(comparison: Comparison, names: tuple[str, ...]) -> Table:
    rows = tuple(_figure(figure) for figure in comparison["figures"])
    ranges = any(figure.get("low") for figure in comparison["figures"])
    note = "In parentheses the range of cited constants." if ranges else ""
    return Table("figures", ("", *names), rows, note)


def _figure(figure: Figure) -> Row:
    if figure.get("low"):
        triples = zip(figure["values"], figure["low"], figure["high"], strict=True)
        cells = [_estimate(figure["unit"], *triple) for triple in triples]
    else:
        cells = [_value(value, figure["unit"]) for value in figure["values"]]
    return Row((figure["name"], *cells), _best(figure))


def _estimate(unit: str, value: float | None, low: float | None, high: float | None) -> str:
    base, factor = {"uJ": ("J", 1e-6), "us": ("us", 1.0)}[unit]
    ends = {"value": value, "low": low, "high": high}
    scaled = {key: None if end is None else factor * end for key, end in ends.items()}
    return cost_figures.estimate({**scaled, "unit": base}) or "–"


def _value(value: float | None, unit: str) -> str:
    return f"{value:.2f} %" if unit == "%" and value is not None else figures.short(value)


def _best(figure: Figure) -> frozenset[int]:
    values = figure["values"]
    known = [value for value in values if value is not None]
    if not figure["better"] or len(set(known)) < 2:
        return frozenset()
    best = max(known) if figure["better"] == "high" else min(known)
    return frozenset(k + 1 for k, value in enumerate(values) if value == best)


def _ladder(comparison: Comparison, names: tuple[str, ...]) -> Table:
    several = len({stage["output"] for stage in comparison["ladder"]}) > 1
    rows = []
    for stage in comparison["ladder"]:
        label = f"{stage['output']}: {stage['stage']}" if several else stage["stage"]
        partial = _fewer(stage["n"], comparison, stage["output"])
        cells = [
            _share(value, stage["measure"]) + (f" ({figures.first(n or 0)})" if few else "")
            for value, n, few in zip(stage["values"], stage["n"], partial, strict=True)
        ]
        rows.append(Row((label, *cells)))
    measures = {stage["measure"] for stage in comparison["ladder"]}
    words = sorted(figures.WORDS[measure].format("the first stage") for measure in measures)
    return Table("ladder", ("stage", *names), tuple(rows), ", ".join(words).capitalize() + ".")


def _share(value: float | None, measure: str) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if measure.startswith("r2") else f"{value:.2f} %"


def _fewer(n: Sequence[int | None], comparison: Comparison, output: str) -> list[bool]:
    """Of which networks a stage was evaluated on fewer samples than others."""
    stages = [stage["n"] for stage in comparison["ladder"] if stage["output"] == output]
    most = [max((of_stage[k] or 0) for of_stage in stages) for k in range(len(n))]
    return [one is not None and one < all_of for one, all_of in zip(n, most, strict=True)]


def _options(comparison: Comparison, names: tuple[str, ...]) -> Table:
    rows = [
        Row((f"--{one['name'].replace('_', '-')}", *(_option(value) for value in one["values"])))
        for one in comparison["options"]
    ]
    return Table("options that differ", ("option", *names), tuple(rows), numeric=False)


def _option(value: Any) -> str:
    if value is None or value in ("", []):
        return "–"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, str | int | float) else json.dumps(value)


def _layers(comparison: Comparison, names: tuple[str, ...]) -> Table:
    rows = [
        Row((one["name"], *(_layer(layer) for layer in one["networks"])))
        for one in comparison["layers"]
    ]
    note = "Bits of the weights · signal to noise of the layer · spikes per inference."
    return Table("layers", ("layer", *names), tuple(rows), note)


def _layer(layer: Mapping[str, Any] | None) -> str:
    if layer is None:
        return "–"
    parts = []
    if layer.get("weight_bits") is not None:
        parts.append(f"{layer['weight_bits']} bit")
    if layer.get("sqnr_db") is not None:
        parts.append(f"{layer['sqnr_db']:.1f} dB")
    if layer.get("spikes_per_inference") is not None:
        parts.append(figures.short(layer["spikes_per_inference"]))
    return " · ".join(parts) or "there"


def _answers(comparison: Comparison, names: tuple[str, ...], few: int) -> Iterator[Table]:
    answers = comparison["answers"]
    if answers is None:
        return
    several = len(answers["outputs"]) > 1
    n_tests = sum("p" in pair for output in answers["outputs"] for pair in output["pairs"])
    for output in answers["outputs"]:
        of_output = f" of {output['name']}" if several else ""
        yield _against_labels(output, names, of_output, answers["n"])
        yield _pairs(output, of_output, n_tests)
        yield _different(output, names, of_output, few, answers["n"])


def _different(
    output: ComparedOutput, names: tuple[str, ...], of_output: str, few: int, n: int
) -> Table:
    """The first samples that are not classified alike."""
    samples = output.get("samples") or []
    labelled = bool(samples) and samples[0]["label"] is not None
    rows = []
    for one in samples[:few]:
        classes = [one["label"], *one["answers"]] if labelled else one["answers"]
        rows.append(Row((f"{one['sample']:,}", *map(str, classes))))
    title = f"inputs with different answers{of_output}: {output['differ']:,} of {n:,}"
    columns = ("sample", *(("label",) if labelled else ()), *names)
    return Table(title, columns, tuple(rows), f"The first {few}." if len(samples) > few else "")


def _against_labels(
    output: ComparedOutput, names: tuple[str, ...], of_output: str, n: int
) -> Table:
    known = output["networks"]
    title = f"on {pluralize(n, 'sample')}{of_output}"
    if not all(known):
        return Table(title, (), ())
    label = "error" if output["kind"] == "regression" else "accuracy"
    rows = [Row((label, *(output_figures.against_labels(one) for one in known)))]
    if known[0].get("top5") is not None:
        rows.append(Row(("top-5", *(f"{one['top5']:.2f} %" for one in known))))
    return Table(title, ("", *names), tuple(rows))


def _pairs(output: ComparedOutput, of_output: str, n_tests: int) -> Table:
    pairs = output["pairs"]
    if not pairs or "p" not in pairs[0]:
        rows = [Row((f"{one['a']} and {one['b']}", f"{one['differ']:,}")) for one in pairs]
        return Table(f"pairs{of_output}", ("pair", "different answers"), tuple(rows))
    rows = [
        Row(
            (
                f"{one['a']} and {one['b']}",
                f"{one['differ']:,}",
                f"{one['a_better']:,}",
                f"{one['b_better']:,}",
                "–" if one["points"] is None else figures.points(one["points"]),
                _probability(one["p"]),
                _probability(one["p_holm"]),
                one["better"] or "not shown",
            )
        )
        for one in pairs
    ]
    columns = ("pair", "differ", "first better", "second better", "points", "p", "p (Holm)")
    test = {"McNemar": "McNemar's exact test", "sign": "Exact sign test"}[pairs[0]["test"]]
    note = f"{test} on paired samples" + (
        f", corrected for {n_tests} comparisons." if n_tests > 1 else "."
    )
    return Table(f"which is better{of_output}", (*columns, "better"), tuple(rows), note)


def _probability(p: float) -> str:
    if p >= 0.001:
        return f"{p:.3f}"
    return "< 0.001" if p >= 1e-6 else "< 1e-6"
