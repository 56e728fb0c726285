"""Formatting of figures for the terminal and for HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.options import AUTO
from snn_compile.pluralize import pluralize

if TYPE_CHECKING:
    from snn_compile.codings import Coding

ANSWER = "fixed"
"""The stage whose accuracy is the answer."""
UNTUNED = "untuned"
"""The stage of the network in fixed point before it was tuned."""
HOST = "host"
"""The rung of the file's own outputs, where a tail is left to the host."""

MODELS = "Lava, nengo-loihi, brian2-loihi"

WORDS = {
    "top1": "top-1 accuracy",
    "agreement": "agreement with {}",
    "pixel_accuracy": "pixel accuracy",
    "r2": "100 R²",
    "r2_onnx": "100 R² against {}",
}
"""The main figures in words."""

_NOTES = {
    "onnx": "as the file states it",
    "folded": "after graph passes",
    "activations": "functions as lines",
    "rate": "activations on {levels} levels",
    "spiking": "spiking network in float, {window}",
    "fixed": "fixed point, {weight_bits}-bit weights{tuned}",
    UNTUNED: "fixed point, before tuning",
    "trained": "trained in float, activations on {levels} levels",
    "host": "outputs of the file, its tail on the host",
    "mapped": "placed on {target}",
}


@dataclass(frozen=True)
class Step:
    """A stage of the accuracy ladder, for display.

    Attributes:
        stage: its name.
        percent: top-1 accuracy, or agreement without labels; None without either.
        change: from the latest earlier stage with all samples, in points, on the samples that both
            were evaluated on.
        note: the transformation of this stage.
        answer: whether it is the network that the hardware runs.
        first: number of samples evaluated, if not all; else 0.
    """

    stage: str
    percent: float | None
    change: float | None
    note: str
    answer: bool
    first: int = 0


def measure(report: Mapping[str, Any]) -> str:
    """The measure of the ladder: accuracy with labels, else agreement."""
    rungs = report.get("ladder") or []
    return "top1" if any(rung.get("top1") is not None for rung in rungs) else "agreement"


def ladder(report: Mapping[str, Any]) -> list[Step]:
    """The stages with their changes."""
    key, facts = measure(report), _facts(report)
    steps: list[Step] = []
    whole: Mapping[str, Any] = {}  # the latest rung with all samples
    for rung in report.get("ladder") or []:
        partial = "before" in rung and rung["stage"] != HOST
        against = rung.get("before", whole)
        percent, before = rung.get(key), against.get(key)
        change = None if before is None or percent is None else percent - before
        note = rung.get("note") or _NOTES.get(rung["stage"], "").format_map(facts)
        if partial:
            note += f" · {first(rung['n'])}"
            note += "" if before is None else f" ({against['stage']} {before:.2f})"
        elif change is not None and steps[-1].first:
            note += f" · change from {against['stage']}"
        n = rung["n"] if partial else 0
        steps.append(Step(rung["stage"], percent, change, note, rung["stage"] == ANSWER, n))
        whole = rung if not partial and percent is not None else whole
    return steps


def restriction(report: Mapping[str, Any]) -> str:
    """The cost of a restriction to some neurons; empty without one."""
    found = report.get("neurons")
    if not found:
        return ""
    key, other = measure(report), found["against"]
    text = f"{points(found['points'])} points against --neurons any"
    if other.get(key) is not None:
        text += f" ({other['network']}: {other[key]:.2f})"
    n = rung(report, ANSWER).get("n")
    return text + (f" · {first(found['n'])}" if n != found["n"] else "")


def portable(report: Mapping[str, Any]) -> str:
    """Whether all models of Loihi's neurons agree on the network, or the layer outside the box."""
    found = report.get("portability")
    if not found:
        return ""
    if not found["expressible"]:
        return f"not expressible in other models of Loihi: {found['obstacle']}"
    n = found["stimuli"]
    how = f"on the first {pluralize(n, 'golden stimulus')}" if n else "for every input"
    if found["portable"]:
        return f"across Loihi models ({MODELS}), {how}"
    leaf, *others = found["leaves"]
    text = f"'{leaf['layer']}' leaves the box in which {MODELS} agree: {leaf['condition']}"
    text += f" {leaf['largest']:,}, at most {leaf['limit']:,}"
    layers = {other["layer"] for other in others} - {leaf["layer"]}
    more = f" · {len(layers)} more layer{'s' if len(layers) > 1 else ''}" if layers else ""
    return text + more


def first(n: int) -> str:
    """The samples of a stage not evaluated on all of them."""
    return f"first {n:,}"


def rung(report: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """The entry of a stage, or an empty one."""
    rungs: Sequence[Mapping[str, Any]] = report.get("ladder") or []
    return next((item for item in rungs if item["stage"] == stage), {})


def reference(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stage that the others are compared with, or an empty entry."""
    return next(iter(report.get("ladder") or []), {})


def origin_of(report: Mapping[str, Any]) -> str:
    """The network before compilation, in words; empty for one that was in integers already."""
    names = {"spiking": "the network as trained", UNTUNED: "the network before tuning", ANSWER: ""}
    return names.get(reference(report).get("stage", ""), "the ONNX model")


def option(report: Mapping[str, Any], name: str) -> Any:
    """The value of an option in effect, or None."""
    return (report.get("options") or {}).get(name, {}).get("value")


def settled(report: Mapping[str, Any]) -> str:
    """The numbers that a search found in place of ``auto``; empty without one."""
    options: Mapping[str, Mapping[str, Any]] = report.get("options") or {}
    return ", ".join(
        f"--{name.replace('_', '-')} {one['value']}"
        for name, one in options.items()
        if isinstance(one, Mapping) and str(one.get("origin", "")).startswith(f"{AUTO},")
    )


def coding_of(report: Mapping[str, Any]) -> type[Coding] | None:
    """The coding; None if the package that adds it is not installed."""
    name = report.get("coding")
    return coding_class(name) if name in coding_names() else None


def _facts(report: Mapping[str, Any]) -> dict[str, Any]:
    timesteps, coding, tune = report.get("timesteps", 1), coding_of(report), report.get("tune")
    size = (option(report, "payload_bits") or 8) if coding and coding.payloads else timesteps
    return {
        "levels": coding.levels_of(size) + 1 if coding else "unknown",
        "window": f"{timesteps} step{'s' if timesteps != 1 else ''} per layer",
        "weight_bits": _span_of_bits(report),
        "target": report.get("target", "the target"),
        "tuned": ", tuned" if tune and tune.get("kept") != UNTUNED else "",
    }


def _span_of_bits(report: Mapping[str, Any]) -> str:
    """The narrowest and the widest weights of all layers."""
    bits = [layer["weight_bits"] for layer in report.get("layers") or [] if "weight_bits" in layer]
    if not bits:
        return str(option(report, "weight_bits") or 8)
    return str(bits[0]) if min(bits) == max(bits) else f"{min(bits)} to {max(bits)}"


def header(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """The file, its content, and the target of the compilation."""
    model = report.get("model") or {}
    about = [f"opset {model['opset']}"] if model.get("opset") else []
    known = model.get("operators")
    if counts := operators(known) if known else _layers(report):
        about.append(counts)
    if model.get("weights"):
        about.append(f"{model['weights']:,} weights")
    if inputs := report.get("inputs"):
        shapes = ", ".join(f"{one['name']} {times(one['shape'])}" for one in inputs)
        about.append(f"inputs {shapes}")
    elif model.get("input_shape"):
        about.append(f"input {times(model['input_shape'])}")
    steps = report.get("total_steps", 0)
    plan = [f"target {report.get('target', '?')}", f"coding {report.get('coding', '?')}"]
    coding, bits = coding_of(report), option(report, "payload_bits")
    if coding and coding.payloads and bits:
        plan[-1] += f", {coding.format_size(bits)}"
    elif report.get("timesteps", 1) > 1:
        plan.append(f"{report['timesteps']} steps per layer")
    plan.append(f"{steps} step{'s' if steps != 1 else ''}")
    name = str(model.get("path", "model")).replace("\\", "/").rpartition("/")[2]
    return name, " · ".join(about), " · ".join(plan)


def operators(counts: Mapping[str, int]) -> str:
    """Counts of operators by kind: 19 conv, 1 dense, 9 residual joins."""
    text = f"{counts['conv']} conv, {counts['dense']} dense"
    return f"{text}, {pluralize(counts['joins'], 'residual join')}" if counts["joins"] else text


def _layers(report: Mapping[str, Any]) -> str:
    """Counts of layers by kind, of a report without counts of operators.

    Several groups of synapses are no residual join: partial sums and concatenations have them, too.
    """
    kinds = Counter(
        layer["op"].removesuffix(" join").partition("+")[0]
        for layer in report.get("layers") or []
        if layer.get("op") and not layer.get("relay")
    )
    return ", ".join(f"{n} {kind}" for kind, n in kinds.items())


def times(shape: Sequence[int]) -> str:
    """A shape in the form 3x32x32."""
    return "x".join(str(size) for size in shape)


def points(change: float | None) -> str:
    """A change in percentage points."""
    if change is None:
        return ""
    return f"{change:+.2f}" if abs(change) >= 0.005 else "±0.00"


def short(number: float | None) -> str:
    """A count in a few characters: 42,118 or 9.6 M."""
    if number is None:
        return "–"
    for limit, letter in ((1e9, "G"), (1e6, "M")):
        if abs(number) >= limit:
            return f"{number / limit:.1f} {letter}"
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.1f}"


def slow_simulator(report: Mapping[str, Any]) -> str:
    """The simulator, if it was not the compiled engine."""
    simulator = str(report.get("simulator") or "")
    return "" if simulator.startswith("engine") else simulator


def tuned(report: Mapping[str, Any]) -> str:
    """The effect of tuning on held-out samples, in a line; empty without tuning."""
    tune = report.get("tune") or {}
    epochs = tune.get("curve") or []
    if not epochs:
        return ""
    best = epochs[tune["best_epoch"]]
    held_out = f"held out ({tune['held_out']:,})"
    return (
        f"{tune['method']}, {pluralize(tune['train'], 'sample')},"
        f" best of {pluralize(len(epochs) - 1, 'epoch')}:"
        f" {best['epoch']} · {tune.get('measure', held_out)}:"
        f" {epochs[0]['held_out_top1']:.2f} -> {best['held_out_top1']:.2f} %"
        f"{_over_seeds(tune.get('seeds') or [])}"
        f"{' · worse on the evaluation data, not kept' if tune.get('kept') == UNTUNED else ''}"
    )


def _over_seeds(seeds: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy on the evaluation data over several trainings, as mean and standard deviation."""
    after = [seed["after"] for seed in seeds if seed["after"] is not None]
    if len(after) < 2:
        return ""
    return f" · over {len(after)} seeds {mean(after):.2f} ± {stdev(after):.2f} %"


def percent(share: float | None) -> str:
    """A share from 0 to 1 in percent."""
    if share is None:
        return "–"
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %" if share and share < 0.995 else f"{100 * share:.0f} %"


def drive_error(layer: Mapping[str, Any]) -> str:
    """Error of a layer's drive before and after reconstruction, in percent of its power."""
    found = layer.get("drive_error")
    if not found:
        return ""
    return f"{100 * found['before']:.3g} %, learned {100 * found['after']:.3g} %"


def where(divergence: Any) -> str:
    """The first difference between two traces, in a line."""
    if not isinstance(divergence, Mapping):
        return str(divergence) if divergence else ""
    known = dict(divergence)
    parts = [
        f"{key} {known.pop(key)}" for key in ("stimulus", "layer", "step", "neuron") if key in known
    ]
    if "expected" in known and "actual" in known:
        parts.append(f"expected {known.pop('expected')}, got {known.pop('actual')}")
    return ", ".join([*parts, *(f"{key} {value}" for key, value in known.items())])


def limit(report: Mapping[str, Any]) -> str:
    """The limit of the target that binds: synapse memory, core 17, 92 %."""
    binding = (report.get("resources") or {}).get("binding_limit")
    if not isinstance(binding, Mapping):
        return str(binding) if binding else ""
    parts = [str(binding.get("limit", ""))]
    if binding.get("core") is not None:
        parts.append(f"core {binding['core']}")
    if binding.get("percent") is not None:
        parts.append(f"{binding['percent']:.0f} %")
    return ", ".join(part for part in parts if part)


def span(value: Any) -> str:
    """A number, or the range of several."""
    if isinstance(value, Mapping):
        value = [item for item in (value.get("min"), value.get("max")) if item is not None]
    if isinstance(value, list | tuple):
        if not value:
            return ""
        low, high = min(value), max(value)
        return number(low) if low == high else f"{number(low)} to {number(high)}"
    return number(value) if isinstance(value, int | float) else str(value or "")


def number(value: float) -> str:
    """A number, to few digits."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def resources(report: Mapping[str, Any]) -> str:
    """The network's use of the target, in a line."""
    known = report.get("resources") or {}
    if known.get("cores") is None:
        return ""
    chips = known.get("chips") or 1
    text = f"{known['cores']:,} core{'s' if known['cores'] != 1 else ''}"
    text += f" on {chips} chip{'s' if chips != 1 else ''}"
    binding = limit(report)
    return text + (f" · tightest: {binding}" if binding else "")


def in_words(measure: str, of: str = "") -> str:
    """The main figure of an output in words; ``of`` is what it has answers for."""
    if measure == "pixel_accuracy" and of not in ("", "pixels"):
        return f"accuracy of {of}"
    return WORDS[measure]
