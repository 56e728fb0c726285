"""The answers of several networks to the same samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.bundle import CompiledModel
from snn_compile.compare.judged import Judged
from snn_compile.compare.schema import RISK, Answers, ComparedOutput, DifferentSample, Pair
from snn_compile.errors import Origin, UsageError
from snn_compile.pluralize import pluralize
from snn_compile.predictions.tally import Tally, errors_by_sample, tally_of
from snn_compile.report import figures, metrics
from snn_compile.report.observer import Observer
from snn_compile.samples.outputs import Expected, OutputKind
from snn_compile.significance import holm, sign_test

Array = npt.NDArray[Any]
Network = tuple[str, Path, CompiledModel]
"""Its name, its folder, and what is in it."""

MAX_LISTED = 10_000
"""Most samples with different answers that are listed."""
BREAKDOWN = ("classes", "confusions")
"""Figures of single classes, which a comparison leaves to ``run``."""


@dataclass(eq=False)
class OutputAnswers:
    """What a network answers with one output.

    Attributes:
        expected: of the output.
        answers: (N,) classes, or hashes of other answers.
        errors: (N,) how wrong each answer is; None without labels or targets.
        figures: against labels or targets.
    """

    expected: Expected
    answers: Array
    errors: Array | None
    figures: dict[str, Any] = field(default_factory=dict)


def compare_answers(networks: Sequence[Network], data: Path, observer: Observer) -> Answers:
    """Run every network on the samples of a file, and compare what they answer.

    Raises:
        UsageError: they take different inputs, or have no output in common.
    """
    _check_inputs(networks)
    found = [_answers_of(network, data, observer) for network in networks]
    names = [name for name, *_ in networks]
    outputs = [_compared(names, [*matched]) for matched in _matched(networks, found)]
    tested = [pair for output in outputs for pair in output["pairs"] if "p" in pair]
    for pair, corrected in zip(tested, holm([pair["p"] for pair in tested]), strict=True):
        pair["p_holm"] = corrected
        winner = pair["a"] if pair["a_better"] > pair["b_better"] else pair["b"]
        pair["better"] = winner if corrected < RISK else None
    n = len(next(iter(found[0].values())).answers)
    return {"data": str(data), "n": n, "risk": RISK, "outputs": outputs}


def _check_inputs(networks: Sequence[Network]) -> None:
    name, _, first = networks[0]
    for other, folder, compiled in networks[1:]:
        shapes = [list(one.input_shapes.values()) for one in (first, compiled)]
        if shapes[0] != shapes[1]:
            words = [", ".join(figures.times(shape) for shape in of_one) for of_one in shapes]
            raise UsageError(
                f"{other} takes {words[1]} and {name} {words[0]}: they cannot answer the same"
                " samples",
                code="not-comparable",
                origin=Origin(str(folder)),
                hint="leave out --data to compare their ladders and costs",
            )


@dataclass(eq=False)
class _Collected:
    """The answers of an output, a few samples at a time."""

    expected: Expected
    tally: Tally | None
    answers: list[Array] = field(default_factory=list)
    errors: list[Array] = field(default_factory=list)

    def add(self, first: int, values: Array) -> None:
        """The values for the samples from ``first`` on."""
        answers = metrics.answers(self.expected, values)
        errors = errors_by_sample(self.expected, first, answers)
        if self.tally is not None and errors is not None:
            self.tally.add(values, answers)
            self.errors.append(errors)
        is_class = self.expected.kind is OutputKind.CLASSES
        self.answers.append(answers if is_class else _hashes(answers))

    def found(self) -> OutputAnswers:
        """All of them."""
        known = {} if self.tally is None else self.tally.figures()
        return OutputAnswers(
            self.expected,
            np.concatenate(self.answers),
            np.concatenate(self.errors) if self.errors else None,
            {key: value for key, value in known.items() if key not in BREAKDOWN},
        )


def _answers_of(network: Network, data: Path, observer: Observer) -> dict[str, OutputAnswers]:
    """The answers of a network by the name of the output."""
    name, _, compiled = network
    judged = Judged.of(compiled, data)
    x, done = judged.samples.x, 0
    collected = [_Collected(one, tally_of(one)) for one in judged.expected]
    text = f"{name}, {pluralize(len(x), 'sample')}"
    with observer.progress("simulate", text, len(x)) as advance:
        for run in compiled.simulate_in_pieces(x, advance=advance):
            values = judged.values(run, x[done : done + run.n_stimuli])
            for one, of_output in zip(collected, values, strict=True):
                one.add(done, of_output)
            done += run.n_stimuli
    return {one.expected.name: one.found() for one in collected}


def _hashes(answers: Array) -> Array:
    """A number for each answer that is a map or a vector, equal for equal answers."""
    rows = np.ascontiguousarray(answers + 0)  # without negative zeros
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), np.int64)


def _matched(
    networks: Sequence[Network], found: Sequence[dict[str, OutputAnswers]]
) -> list[list[OutputAnswers]]:
    """Outputs that all networks have, by name; a single output is matched under any name.

    Raises:
        UsageError: there are none.
    """
    if all(len(answers) == 1 for answers in found):
        candidates = [[next(iter(answers.values())) for answers in found]]
    else:
        shared = [name for name in found[0] if all(name in answers for answers in found)]
        candidates = [[answers[name] for answers in found] for name in shared]
    alike = [
        outputs
        for outputs in candidates
        if len({(one.expected.kind, one.expected.shape) for one in outputs}) == 1
    ]
    if not alike:
        words = [
            f"{name} has {', '.join(_described(one.expected) for one in answers.values())}"
            for (name, *_), answers in zip(networks, found, strict=True)
        ]
        raise UsageError(
            f"they have no output in common: {'; '.join(words)}",
            code="not-comparable",
            hint="leave out --data to compare their ladders and costs",
        )
    return alike


def _described(expected: Expected) -> str:
    return f"{expected.name} {figures.times(expected.shape)} ({expected.kind.value})"


def _compared(names: Sequence[str], outputs: Sequence[OutputAnswers]) -> ComparedOutput:
    expected = outputs[0].expected
    differ = np.zeros(len(outputs[0].answers), bool)
    for one in outputs[1:]:
        differ |= one.answers != outputs[0].answers
    found: ComparedOutput = {
        "name": expected.name,
        "kind": expected.kind.value,
        "networks": [one.figures for one in outputs],
        "pairs": [
            _pair((names[i], names[j]), outputs[i], outputs[j])
            for i, j in combinations(range(len(outputs)), 2)
        ],
        "differ": int(differ.sum()),
    }
    if expected.kind is OutputKind.CLASSES:
        found["samples"] = [*_different(outputs, np.flatnonzero(differ)[:MAX_LISTED])]
    return found


def _pair(names: tuple[str, str], one: OutputAnswers, other: OutputAnswers) -> Pair:
    pair: Pair = {"a": names[0], "b": names[1], "differ": int((one.answers != other.answers).sum())}
    if one.errors is None or other.errors is None:
        return pair
    wins, losses = int((one.errors < other.errors).sum()), int((other.errors < one.errors).sum())
    is_class = one.expected.kind is OutputKind.CLASSES
    return {
        **pair,
        "a_better": wins,
        "b_better": losses,
        "points": round(100 * (losses - wins) / len(one.errors), 4) if is_class else None,
        "test": "McNemar" if is_class else "sign",
        "p": sign_test(wins, losses),
    }


def _different(outputs: Sequence[OutputAnswers], where: Array) -> Iterator[DifferentSample]:
    y = outputs[0].expected.y
    for sample in where.tolist():
        label = None if y is None else int(y[sample])
        answers = [int(one.answers[sample]) for one in outputs]
        yield {"sample": sample, "label": label, "answers": answers}
