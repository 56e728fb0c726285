"""Output of a comparison with a device, for users and for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from snn_compile.cli.console import results, show_json, show_table
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import Console

    from snn_compile.bundle import CompiledModel
    from snn_compile.hil.comparison import Comparison
    from snn_compile.hil.diagnosis import Diagnosis
    from snn_compile.hil.session import Session
    from snn_compile.hil.surroundings import Surroundings
    from snn_compile.hil.undecided import Ambiguity
    from snn_compile.hil.verification import Verification

MAX_CAUSES = 3


def accuracy(
    compiled: CompiledModel, session: Session, labels: npt.NDArray[np.int64] | None
) -> dict[str, float | None]:
    """Accuracy of the device's own outputs.

    Returns:
        ``top1`` of the device and ``reference`` in percent, None without labels; and the share of
        stimuli, ``agreement``, where both name the same class. Empty if it records no output, or
        one without classes.
    """
    name, decoding = next(iter(compiled.decodings.items()))
    kinds = {one["layer"]: one["kind"] for one in compiled.report.get("outputs") or ()}
    if name not in session.outputs or kinds.get(name, "classes") != "classes":
        return {}
    import numpy as np

    from snn_compile.report import metrics
    from snn_compile.samples.rows import blocks

    expected = metrics.classes_of(compiled.report, decoding.shape)
    ours, theirs = (
        np.concatenate([metrics.answers(expected, decoding(some)) for some in blocks(values[name])])
        for values in (session.expected, session.outputs)
    )
    truth = None if labels is None else labels[: session.done]
    return {
        "top1": None if truth is None else 100 * float((theirs == truth).mean()),
        "reference": None if truth is None else 100 * float((ours == truth).mean()),
        "agreement": 100 * float((ours == theirs).mean()),
    }


def show(
    outcome: Verification,
    comparison: Comparison,
    diagnoses: list[Diagnosis],
    rates: Mapping[str, float | None],
    around: Surroundings | None,
    *,
    as_json: bool,
    complete: bool,
) -> None:
    """Write the result to standard output; ``complete``: whether all stimuli were compared."""
    if as_json:
        content: dict[str, Any] = {
            **outcome.as_dict(),
            **parts(comparison, diagnoses, around),
            "accuracy": dict(rates),
        }
        show_json(content)
        return
    from snn_compile.report.terminal import row

    console = results()
    console.print(row("device", f"{outcome.against}: {outcome.mode}"))
    numbers = pluralize(outcome.stimuli, "stimulus"), pluralize(outcome.compared, "message")
    console.print(row("compared", ", ".join(numbers)))
    if rates.get("top1") is not None:
        ours = f"{rates['top1']:.2f} % on the device, {rates['reference']:.2f} % in the reference"
        console.print(row("accuracy", ours))
    elif comparison.divergence and rates:
        console.print(row("agreement", f"{rates['agreement']:.2f} % of the classes are the same"))
    verdict(console, comparison, diagnoses, complete=complete)


def parts(
    comparison: Comparison, diagnoses: list[Diagnosis], around: Surroundings | None
) -> dict[str, Any]:
    """The result of a comparison, for scripts."""
    return {
        "layers": [layer.as_dict() for layer in comparison.layers.values()],
        "diagnoses": [one.as_dict() for one in diagnoses],
        "around": None if around is None else around.as_dict(),
    }


def verdict(
    console: Console,
    comparison: Comparison,
    diagnoses: list[Diagnosis],
    *,
    complete: bool = True,
) -> None:
    """Print the verdict and the diagnosis.

    Args:
        console: destination.
        comparison: the comparison.
        diagnoses: of the layers at fault.
        complete: whether all requested stimuli were compared.
    """
    from rich.text import Text

    from snn_compile.report.terminal import row

    if comparison.divergence is None:
        text = Text("equal, bit for bit", "green")
        if not complete:
            text = Text("equal as far as it went" if comparison.compared else "none", "yellow")
        console.print(row("result", "") + text)
        return
    console.print(row("result", "") + Text(f"differs: {comparison.divergence}", "bold red"))
    _layers(console, comparison)
    for one in diagnoses:
        _diagnosis(console, one)


def _layers(console: Console, comparison: Comparison) -> None:
    from rich import box
    from rich.table import Table

    console.print()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("layer")
    columns = ["messages", "differ"]
    measured = any(layer.trains for layer in comparison.layers.values())
    columns += ["Victor-Purpura", "van Rossum"] if measured else []
    for name in columns:
        table.add_column(name, justify="right")
    for layer in comparison.layers.values():
        cells = [f"{layer.compared:,}", f"{layer.differing:,}"]
        if measured:
            n = max(1, layer.trains)
            cells += [f"{layer.victor_purpura / n:.4f}", f"{layer.van_rossum / n:.4f}"]
        table.add_row(layer.layer, *cells)
    show_table(console, table)


def tie(one: Ambiguity, n_shown: int) -> str:
    """The stimulus that distinguishes equal causes; the first ``n_shown`` were shown."""
    apart = "tell them apart" if one.decides else "tell some of them apart"
    equally = f"the first {one.causes} explain it equally well;"
    if one.stimulus is None:
        none = f"{equally} none of the {one.searched:,} stimuli at hand would tell them apart"
        if one.constant is None:
            return none
        return f"{none}; one that is {one.constant} everywhere (encoded) would {apart}"
    again = " again" if one.stimulus < n_shown else ""
    return f"{equally} stimulus {one.stimulus}, shown{again} in a run from 0 on, would {apart}"


def _diagnosis(console: Console, one: Diagnosis) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from snn_compile.report.terminal import row

    console.print()
    console.print(row("at fault", f"'{one.layer}': its own inputs do not explain what it sent"))
    if one.assumed:
        names = ", ".join(f"'{name}'" for name in one.assumed)
        console.print(row("", f"(if {names}, which the device does not record, are right)"))
    console.print(row("first", str(one.divergence)))
    if one.causes:
        first, *others = one.causes
        console.print(row("cause", "") + Text(str(first), "bold"))
        for other in others[: MAX_CAUSES - 1]:
            console.print(row("", f"or {other}"))
        if len(others) >= MAX_CAUSES:
            equal = one.undecided is not None and one.undecided.causes > MAX_CAUSES
            less = "" if equal else ", each less likely"
            console.print(row("", f"or {len(others) - MAX_CAUSES + 1} more{less}"))
        first_stimulus, stop = one.stimuli
        explains = f"explains all {one.examined:,} messages of stimuli"
        console.print(row("", f"{explains} {first_stimulus} to {stop - 1}"))
        if one.undecided is not None:
            console.print(row("undecided", tie(one.undecided, stop)))
    else:
        console.print(row("cause", "unknown: no single fault explains what it sent"))
    console.print(row("neurons", f"{one.differing[0]:,} of {one.differing[1]:,} answer wrongly"))
    shown = len(one.synapses)
    console.print(row("fed by", f"{one.n_synapses:,} synapses; the {shown} that carried most:"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("source")
    table.add_column("neuron")
    table.add_column("weight", justify="right")
    table.add_column("message", justify="right")
    for synapse in one.synapses:
        place = ", ".join(str(i) for i in synapse.neuron)
        table.add_row(synapse.source, f"[{place}]", str(synapse.weight), str(synapse.message))
    show_table(console, table)
