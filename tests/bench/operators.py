"""How the operator tests that onnx ships are imported: equal, refused or wrong.

    python tests/bench/operators.py            prints the table
    python tests/bench/operators.py --each     one line for each test

The first floating-point input of a test is the network's; what else it has is constant, with the
test's own values. The float network is evaluated and compared with the outputs that onnx states.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from snn_compile.errors import CompileError, CompileErrors
from snn_compile.ir.stages import ANNGraph
from snn_compile.sim import ann
from snn_frontends.onnx.frontend import OnnxFrontend

EQUAL, REFUSED, WRONG = "equal", "refused", "wrong"
LONGEST = 100
"""Characters of a reason."""
LEFT_OFF = frozenset({"softmax-dropped", "argmax-dropped"})
FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16})


@dataclass(frozen=True)
class Verdict:
    """What became of one test.

    Attributes:
        test: its name.
        operator: the operator that it tests.
        outcome: equal, refused or wrong.
        reason: why it is not equal.
    """

    test: str
    operator: str
    outcome: str
    reason: str = ""


def cases() -> list[Any]:
    """The tests of single operators that onnx ships."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the generators
        from onnx.backend.test.case.node import collect_testcases

        return sorted(collect_testcases(None), key=lambda case: str(case.name))


def verdicts() -> Iterator[Verdict]:
    """All tests that have an activation, one after the other."""
    with TemporaryDirectory() as folder:
        for case in cases():
            operator = case.model.graph.node[0].op_type if case.model.graph.node else ""
            inputs = case.model.graph.input
            if any(i.type.tensor_type.elem_type in FLOATS for i in inputs):
                yield _verdict(case, operator, Path(folder) / "model.onnx")


def _verdict(case: Any, operator: str, path: Path) -> Verdict:
    inputs, outputs = case.data_sets[0]
    try:
        model, x = _constant_but_one(case.model, inputs)
        onnx.save(model, path)
        imported = OnnxFrontend().read(path)
    except CompileErrors as errors:
        return Verdict(case.name, operator, REFUSED, _words(errors.errors[0]))
    except CompileError as error:
        return Verdict(case.name, operator, REFUSED, _words(error))
    except (TypeError, ValueError) as error:
        return Verdict(case.name, operator, REFUSED, f"not written: {error}")
    left = [f for f in imported.findings if f.code in LEFT_OFF]
    if left:
        return Verdict(case.name, operator, REFUSED, "left off at the end of a network")
    if x.size % prod(imported.ann.input.shape):
        return Verdict(case.name, operator, REFUSED, "its data have another shape than its input")
    with np.errstate(all="ignore"):
        found = evaluated(imported.ann, x)
    for y, wanted in zip(found, outputs, strict=False):
        wanted = np.asarray(wanted)
        if y.size != wanted.size:
            return Verdict(case.name, operator, WRONG, f"{y.shape} instead of {wanted.shape}")
        reason = _difference(y.reshape(wanted.shape), wanted, case)
        if reason:
            return Verdict(case.name, operator, WRONG, reason)
    return Verdict(case.name, operator, EQUAL)


def evaluated(network: ANNGraph, x: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """All outputs for one input as the file has it, whose samples are rows or all of it."""
    shape = network.input.shape
    samples = x.reshape(-1, *shape)
    values = ann.forward(network, ann.batch_last(samples, np.float64))
    return [np.moveaxis(values[output.id], -1, 0) for output in network.outputs]


def _difference(y: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], case: Any) -> str:
    """By how much values differ where that is more than the test allows."""
    wanted = wanted.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.abs(y - wanted)
    allowed = max(case.atol, 1e-6) + case.rtol * np.abs(wanted)
    return "" if (error <= allowed).all() else f"off by {float(np.nanmax(error)):.3g}"


def _constant_but_one(model: onnx.ModelProto, inputs: Any) -> tuple[onnx.ModelProto, Any]:
    """A model of which the first floating-point input alone is left."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.ir_version = min(model.ir_version, 10)
    graph = model.graph
    chosen = next(k for k, i in enumerate(graph.input) if i.type.tensor_type.elem_type in FLOATS)
    for k, value in enumerate(inputs):
        if k != chosen and k < len(graph.input):
            if not isinstance(value, np.ndarray | np.generic):
                raise TypeError(f"input {k} is no tensor")
            graph.initializer.append(
                numpy_helper.from_array(np.asarray(value), graph.input[k].name)
            )
    return model, np.asarray(inputs[chosen])


def _words(error: CompileError) -> str:
    return error.message.splitlines()[0]


def table(found: list[Verdict]) -> str:
    """The page's table: a row for each operator, with the reasons of what is refused."""
    by_operator: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in found:
        by_operator[verdict.operator].append(verdict)
    counts = Counter(verdict.outcome for verdict in found)
    lines = [
        f"{len(found)} tests: {counts[EQUAL]} equal, {counts[REFUSED]} refused, "
        f"{counts[WRONG]} wrong.",
        "",
        "| operator | equal | refused | wrong | refused because |",
        "|---|---|---|---|---|",
    ]
    for operator, ones in sorted(by_operator.items()):
        outcome = Counter(verdict.outcome for verdict in ones)
        reasons = sorted({_generic(v.reason) for v in ones if v.outcome == REFUSED})
        shown = "; ".join(reasons[:2]).replace("|", "\\|")
        lines.append(
            f"| `{operator}` | {outcome[EQUAL] or ''} | {outcome[REFUSED] or ''} "
            f"| {outcome[WRONG] or ''} | {shown} |"
        )
    return "\n".join(lines)


def _generic(reason: str) -> str:
    """A reason without names and shapes, so that those of one kind are one."""
    short = re.sub(r"\[[\d, ]*\]", "[...]", re.sub(r"'[^']*'", "'...'", reason))
    return short if len(short) <= LONGEST else short[: LONGEST - 3] + "..."


def main(arguments: list[str] | None = None) -> int:
    """Run from a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", action="store_true", help="one line for each test")
    options = parser.parse_args(arguments)
    found = list(verdicts())
    if options.each:
        for verdict in found:
            print(verdict.outcome, verdict.test, verdict.reason, sep="\t")
        return 0
    print(table(found))
    return 1 if any(verdict.outcome == WRONG for verdict in found) else 0


if __name__ == "__main__":
    sys.exit(main())
