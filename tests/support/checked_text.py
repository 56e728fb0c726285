"""Small texts with the passes to run on them and what has to come out, after LLVM's FileCheck.

``# RUN: pass{option=value}, pass`` names the passes in order. Of what they make, line by line:
``# CHECK: text`` is in some line after the last one that was found, ``# CHECK-NEXT: text`` in the
very next one, and ``# CHECK-NOT: text`` in none between its neighbours. ``{{...}}`` is a regular
expression. A directive that nobody knows is an error, and so is a file without one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from snn_compile.codings.rate import Rate
from snn_compile.convert.align_paths import AlignPaths
from snn_compile.convert.fold_batch_norm import FoldBatchNorm
from snn_compile.convert.fold_padding import FoldPadding
from snn_compile.convert.insert_rectifiers import InsertRectifiers
from snn_compile.convert.join_convolutions import JoinConvolutions
from snn_compile.convert.lower_max_pool import LowerMaxPool
from snn_compile.convert.preprocess import FoldPreprocessing
from snn_compile.convert.set_payloads import SetPayloads
from snn_compile.convert.sink_wiring import SinkWiring
from snn_compile.convert.to_spiking import ToSpiking
from snn_compile.files.typed import fields_of
from snn_compile.ir import ann
from snn_compile.ir.encoding import InputEncoding
from snn_compile.ir.reading import load_text
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spelled import Scanner
from snn_compile.ir.spiking import Window
from snn_compile.ir.text import dump_text
from snn_compile.passes import PassResult
from snn_compile.quantize.quantize import quantize

DIRECTIVE = re.compile(r"# *([A-Z][A-Z-]+):(.*)")
PASS = re.compile(r"([a-z-]+)(?:\{([^}]*)\})?(?:, *|$)")


@dataclass(frozen=True)
class Quantize:
    """The same number of bits for all layers."""

    name: ClassVar[str] = "quantize"
    bits: int

    def __call__(self, network):
        return PassResult(quantize(network, lambda layer: self.bits).program)


@dataclass(frozen=True)
class Schedule:
    """An integer network, spread over time."""

    name: ClassVar[str] = "schedule"
    coding: str
    n_steps: int

    def __call__(self, program):
        return PassResult(schedule(program, Window(self.coding, self.n_steps)))


@dataclass(frozen=True)
class Spiking:
    """Rate coding with a full scale of 1 for every rectifier, and an input from 0 to 1."""

    name: ClassVar[str] = "to-spiking"
    n_steps: int

    def __call__(self, network):
        shape = network.input.shape
        maps = (shape[0], *shape[1:], 1, 1)[:3]
        scales = {n.id: np.ones(n.shape[0]) for n in network.graph if isinstance(n, ann.Relu)}
        encoding = InputEncoding(np.ones(shape[0]), 0, 1, shape, maps)
        return ToSpiking(Rate(self.n_steps), scales, encoding, None, 0)(network)


KINDS: tuple[Any, ...] = (FoldPreprocessing, SinkWiring, FoldBatchNorm, FoldPadding, LowerMaxPool)
KINDS += (JoinConvolutions, InsertRectifiers, SetPayloads, Spiking, AlignPaths, Quantize, Schedule)
PASSES = {kind.name: kind for kind in KINDS}


def run(spec: str, stage: Any) -> Any:
    """The stage after the passes of a ``RUN`` line."""
    position = 0
    while position < len(spec):
        found = PASS.match(spec, position)
        assert found, f"no pass: {spec[position:]}"
        stage = _made(PASSES[found[1]], found[2] or "")(stage).graph
        position = found.end()
    return stage


def _made(kind: Any, options: str) -> Any:
    """A pass from its options, which are spelled as parameters of nodes are."""
    given, hints, text = {}, fields_of(kind), Scanner(options, {})
    while not text.at_end:
        name = text.need(re.compile(r" *(\w+)="), "an option")[1]
        given[name] = text.value(hints[name])
    return kind(**given)


def directives(text: str) -> list[tuple[str, str]]:
    """The directives of a file, in order."""
    found = [DIRECTIVE.match(line.strip()) for line in text.splitlines()]
    listed = [(match[1], match[2].strip()) for match in found if match]
    unknown = {name for name, _ in listed} - {"RUN", "CHECK", "CHECK-NEXT", "CHECK-NOT"}
    assert not unknown, f"no directives: {unknown}"
    assert [name for name, _ in listed].count("RUN") == 1
    assert any(name != "RUN" for name, _ in listed), "nothing is checked"
    return listed


def failure(path: Path) -> str:
    """What of a file's expectations does not come true; empty if all of them do."""
    text = path.read_text(encoding="utf-8")
    (_, spec), *expected = sorted(directives(text), key=lambda d: d[0] != "RUN")
    made = dump_text(run(spec, load_text(text, path.name)))
    wrong = mismatch(expected, made.splitlines())
    return f"{wrong}\nin\n{made}" if wrong else ""


def mismatch(expected: list[tuple[str, str]], lines: list[str]) -> str:
    """The first expectation that does not come true; empty if all of them do."""
    last, forbidden = -1, []
    for name, text in [*expected, ("END", "")]:
        if name == "CHECK-NOT":
            forbidden.append(text)
            continue
        if name == "END":
            place = len(lines)
        elif name == "CHECK-NEXT":
            place = last + 1
            if place >= len(lines) or not _matches(text, lines[place]):
                return f"not the next line: {text}"
        else:
            places = [k for k in range(last + 1, len(lines)) if _matches(text, lines[k])]
            if not places:
                return f"not found: {text}"
            place = places[0]
        for line in lines[last + 1 : place]:
            for absent in forbidden:
                if _matches(absent, line):
                    return f"found, and should not be: {absent}"
        last, forbidden = place, []
    return ""


def _matches(text: str, line: str) -> bool:
    parts = re.split(r"\{\{(.*?)\}\}", text)
    pattern = "".join(p if k % 2 else re.escape(p) for k, p in enumerate(parts))
    return re.search(pattern, line) is not None
