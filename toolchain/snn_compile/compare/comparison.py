"""What two or more compiled networks have in common, and in what they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snn_compile import sealed
from snn_compile.bundle import CompiledModel
from snn_compile.compare.answers import compare_answers
from snn_compile.compare.schema import (
    SCHEMA,
    ComparedLayer,
    Comparison,
    DifferentOption,
    Figure,
    Network,
    Stage,
)
from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.report import figures, metrics
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.sealed.provenance import FILES
from snn_compile.version import __version__

_LAYER_KEYS = (
    *("op", "shape", "neurons", "synapses", "weight_bits", "sqnr_db", "rate", "dead"),
    *("spikes_per_inference", "saturated", "output_share"),
)
"""What is compared of a layer."""


@dataclass(frozen=True, eq=False)
class Compared:
    """One of the networks.

    Attributes:
        name: that it is shown by.
        folder: that it is in.
        compiled: the network.
        seal: of the folder.
    """

    name: str
    folder: Path
    compiled: CompiledModel
    seal: str

    @property
    def report(self) -> Mapping[str, Any]:
        """Its ``report.json``."""
        return self.compiled.report


def named(folders: Sequence[Path], load: Callable[[Path], CompiledModel]) -> list[Compared]:
    """The networks in some folders, by names that tell them apart.

    Raises:
        UsageError: fewer than two folders, or the same one twice.
        CompileError: a folder cannot be loaded; all complaints at once.
    """
    places = [folder.resolve() for folder in folders]
    if len(places) < 2:
        raise UsageError("one folder is nothing to compare", code="usage", hint="name two or more")
    complaints: list[CompileError] = []
    found: list[tuple[Path, CompiledModel]] = []
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            message, origin = "it is named twice", Origin(str(folder))
            raise UsageError(message, code="usage", origin=origin, hint="name each folder once")
        try:
            found.append((folder, load(folder)))
        except CompileError as error:
            complaints.append(error)
    raise_all(complaints)
    names = _shortest(places)
    return [
        Compared(name, folder, compiled, sealed.read_seal(folder))
        for name, (folder, compiled) in zip(names, found, strict=True)
    ]


def _shortest(places: Sequence[Path]) -> list[str]:
    """The last parts of paths, as few as tell them apart."""
    for n in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-n:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def compare(
    networks: Sequence[Compared], data: Path | None = None, observer: Observer | None = None
) -> Comparison:
    """Compare networks, and their answers to some samples.

    Args:
        networks: two or more.
        data: samples that every network answers; without them, answers are not compared.
        observer: of the simulation.

    Raises:
        UsageError: the networks cannot answer the same samples.
    """
    reports = [one.report for one in networks]
    answers = None
    if data is not None:
        compiled = [(one.name, one.folder, one.compiled) for one in networks]
        answers = compare_answers(compiled, data, observer or SilentObserver())
    return {
        "schema": SCHEMA,
        "tool": {"name": "snn-compile", "version": __version__},
        "networks": [_network(one) for one in networks],
        "notes": [*_notes(networks)],
        "figures": [*_figures(reports)],
        "ladder": _ladder(reports),
        "options": [*_options(networks)],
        "layers": _layers(reports),
        "answers": answers,
    }


def _network(one: Compared) -> Network:
    model, tool = one.report.get("model") or {}, one.report.get("tool") or {}
    return {
        "name": one.name,
        "folder": str(one.folder),
        "seal": one.seal,
        "model": Path(str(model.get("path", ""))).name,
        "model_sha256": str(model.get("sha256", "")),
        "tool": str(tool.get("version", "")),
    }


def _notes(networks: Sequence[Compared]) -> Iterator[str]:
    """What keeps figures from being comparable, and networks that are the same."""
    first = networks[0]
    for other in networks[1:]:
        pair = f"{first.name} and {other.name}"
        if first.seal == other.seal:
            yield f"{pair} are the same network"
            continue
        models = [(one.report.get("model") or {}).get("sha256") for one in (first, other)]
        if models[0] != models[1]:
            yield f"{pair} were compiled from different model files"
        evaluated = [one.compiled.provenance.get("evaluate") for one in (first, other)]
        if evaluated[0] != evaluated[1] and None not in evaluated:
            yield f"{pair} were evaluated on different data: their ladders are not comparable"
        shapes = [list(one.compiled.input_shapes.values()) for one in (first, other)]
        if shapes[0] != shapes[1]:
            words = [", ".join(map(figures.times, of_one)) for of_one in shapes]
            yield f"{pair} take different inputs: {words[0]} and {words[1]}"
        if first.report.get("target") != other.report.get("target"):
            yield f"{pair} are for different targets: their costs are by different constants"


def _figures(reports: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """Accuracy and cost, as far as any network has them."""
    found = [
        _figure("accuracy", "%", "high", [_accuracy(report, "top1") for report in reports]),
        _figure("agreement", "%", "high", [_accuracy(report, "agreement") for report in reports]),
        _estimates(reports, "energy", "uJ", 1e6),
        _estimates(reports, "latency", "us", 1.0),
    ]
    for name, better, place in (
        ("cores", "low", ("resources", "cores")),
        ("chips", "low", ("resources", "chips")),
        ("steps", "", ("total_steps",)),
        ("spikes", "low", ("cost", "spikes_per_inference")),
        ("synaptic operations", "low", ("cost", "synops_per_inference")),
    ):
        found.append(_figure(name, "", better, [_at(report, place) for report in reports]))
    for figure in found:
        if any(value is not None for value in figure["values"]):
            yield figure


def _figure(name: str, unit: str, better: str, values: list[float | None]) -> Figure:
    return {"name": name, "unit": unit, "better": better, "values": values}


def _estimates(reports: Sequence[Mapping[str, Any]], name: str, unit: str, factor: float) -> Figure:
    known = [(report.get("cost") or {}).get(name) or {} for report in reports]
    columns = {
        key: [None if one.get(of) is None else factor * one[of] for one in known]
        for key, of in (("values", "value"), ("low", "low"), ("high", "high"))
    }
    figure = _figure(name, unit, "low", columns["values"])
    return {**figure, "low": columns["low"], "high": columns["high"]}


def _accuracy(report: Mapping[str, Any], key: str) -> float | None:
    rung = figures.rung(report, figures.HOST) or figures.rung(report, figures.ANSWER)
    value: float | None = rung.get(key)
    return value


def _at(report: Mapping[str, Any], place: Sequence[str]) -> float | None:
    value: Any = report
    for key in place:
        value = (value or {}).get(key)
    return value if isinstance(value, int | float) else None


def _ladder(reports: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """Every stage of every output, in the order of the first network that has it."""
    found: dict[tuple[str, str, str], Stage] = {}
    for k, report in enumerate(reports):
        for rung in report.get("ladder") or ():
            for output in metrics.of_rung(rung):
                measure = metrics.measure(output)
                key = rung["stage"], output["name"], measure
                nothing: list[Any] = [None] * len(reports)
                stage: Stage = {
                    "stage": rung["stage"],
                    "output": output["name"],
                    "measure": measure,
                    "values": [*nothing],
                    "n": [*nothing],
                }
                stage = found.setdefault(key, stage)
                stage["values"][k] = output.get(measure)
                stage["n"][k] = rung["n"]
    return list(found.values())


def _options(networks: Sequence[Compared]) -> Iterator[DifferentOption]:
    """Options that are stated differently; files by name and hash."""
    stated = [one.report.get("options") or {} for one in networks]
    names = dict.fromkeys(name for options in stated for name in options)
    for name in names:
        if name in FILES:
            files = [_file(one.compiled.provenance, name) for one in networks]
            if len({file.rpartition(" ")[2] for file in files}) > 1:
                yield {"name": name, "values": files}
        elif all(name in options for options in stated):
            values = [options[name]["value"] for options in stated]
            if any(value != values[0] for value in values):
                yield {"name": name, "values": values}


def _file(provenance: Mapping[str, str], name: str) -> str:
    """The name of a file and the beginning of its hash; empty without one."""
    digest = provenance.get(name, "")[:12]
    return " ".join(part for part in (provenance.get(f"{name}.name", ""), digest) if part)


def _layers(reports: Sequence[Mapping[str, Any]]) -> list[ComparedLayer]:
    """Every layer by its name, in the order of the first network that has it."""
    found: dict[str, ComparedLayer] = {}
    for k, report in enumerate(reports):
        for layer in report.get("layers") or ():
            nothing: list[Any] = [None] * len(reports)
            compared = found.setdefault(layer["name"], {"name": layer["name"], "networks": nothing})
            compared["networks"][k] = {key: layer[key] for key in _LAYER_KEYS if key in layer}
    return list(found.values())
