"""Networks from their exact text. No code is run, and all complaints come at once.

The grammar follows from the dataclasses: the operators of a stage are those of its graph's
annotation and their subclasses, parameters are their fields. Fields with a default are optional,
and so is an origin, which defaults to the line itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from typing import Any, NoReturn, get_args

from snn_compile import memory
from snn_compile.errors import CompileError, ModelError, Origin, UsageError, raise_all
from snn_compile.files.documents import TooLargeError, check_size, too_large
from snn_compile.files.typed import fields_of
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.ir.models import registry
from snn_compile.ir.models.population import Population
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spelled import SHAPE, STRING, MisspelledError, Scanner, shape_of
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.ir.text import MAGIC, PLAIN_ID, STRUCTURE, VERSION

Stage = ANNGraph | SpikingGraph | QuantizedGraph
MAX_TEXT_SIZE = 64 << 20
BYTES_A_CHARACTER = 64
"""Maximal memory per character while reading: the items of an array as texts."""
BYTES_A_NODE = 4096
"""Memory of a node with its edges, without its arrays."""
MAX_COMPLAINTS = 20
MAX_NAME_LENGTH = 40
"""Characters of a name in a complaint."""
_STAGES: dict[str, type[Stage]] = {s.__name__: s for s in (ANNGraph, SpikingGraph, QuantizedGraph)}
_GRAPH = "graph"
_CODE = "bad-text"
_HINT = "docs/reference/text.md has the grammar"
_BLANKS = re.compile(r"[ \t\r]*+")
_NAME = re.compile(r"[A-Za-z_]\w*+", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_TOKEN = re.compile(
    r"(?:"
    + STRING.pattern
    + r'|\[[^\]]*+\]|\((?:[^()"]|'
    + STRING.pattern
    + r')*+\)|[^\s"\[(]++)++'
)
"""Any value, valid or not, so that reading can continue after it."""


@dataclass(frozen=True)
class _Complaint:
    line: int
    column: int
    message: str
    hint: str = _HINT


@dataclass(frozen=True)
class _Read:
    """A node with its positions in the text, for later complaints."""

    node: Node
    line: int
    sources: tuple[int, ...]


def most_text() -> int:
    """Maximal size of a text in bytes."""
    return min(MAX_TEXT_SIZE, memory.budget() // BYTES_A_CHARACTER)


def load_text(text: str, file: str = "", arrays: Mapping[str, Any] | None = None) -> Stage:
    """Read a network from its text, written by ``dump_text`` or by hand.

    Args:
        text: the text.
        file: its file name, for complaints and for nodes without an origin.
        arrays: arrays that the text names by hash.

    Raises:
        CompileError: it describes no network (all that is wrong, at once), or takes more memory
            than it may.
    """
    file = file or "text"
    try:
        check_size("the text", len(text), most_text())
        return _Text(text, file, arrays or {}).stage()
    except TooLargeError as error:
        raise too_large(file, error) from error


def operators(stage: type[Stage]) -> dict[str, type[Node]]:
    """The operators of a stage by name, without broken neuron models."""
    usable = registry.usable_models().values()  # imported, the models of packages are subclasses
    owner: Any = stage
    (union,) = get_args(fields_of(owner)[_GRAPH])
    found: dict[str, type[Node]] = {}
    waiting = list(get_args(union))
    while waiting:
        kind = waiting.pop(0)
        is_broken = issubclass(kind, Population) and kind not in usable
        if "__dataclass_fields__" in vars(kind) and not is_broken:  # others are families
            found.setdefault(kind.__name__, kind)
        waiting += kind.__subclasses__()
    return found


class _Text:
    """State of reading one text."""

    def __init__(self, text: str, file: str, arrays: Mapping[str, Any]) -> None:
        self._lines = text.split("\n")
        self._file, self._arrays = file, arrays
        self._complaints: list[_Complaint] = []
        self._broken: list[CompileError] = []

    def stage(self) -> Stage:
        """The whole network, or an error with all complaints."""
        numbered = [(k, line) for k, line in enumerate(self._lines, 1) if _says_something(line)]
        if not numbered:
            self._complain(1, 0, "it holds no network")
            self._refuse()
        check_size(f"a network of {len(numbered):,} nodes", BYTES_A_NODE * len(numbered))
        (head, first), *rest = numbered
        kind, parameters = self._head(head, Scanner(first, self._arrays))
        known = operators(kind)
        nodes = [node for k, line in rest if (node := self._node(k, line, known)) is not None]
        if not self._complaints:
            self._check_wiring(nodes)
        if self._complaints:
            self._refuse()
        try:
            stage: Stage = kind(Graph(read.node for read in nodes), **parameters)
        except (ValueError, TypeError, IndexError) as error:
            self._complain(_mentioned(str(error), nodes) or head, 0, str(error))
            self._refuse()
        return stage

    def _complain(self, line: int, column: int, message: str, hint: str = _HINT) -> None:
        self._complaints.append(_Complaint(line, column, message, hint))

    def _nearest(self, name: str, known: Iterable[str]) -> str:
        """The hint for an unknown name; only the first of many complaints have one."""
        if len(self._complaints) < MAX_COMPLAINTS and len(name) <= MAX_NAME_LENGTH:
            if close := get_close_matches(name, known, 1):
                return f"did you mean {close[0]}?"
        return _HINT

    def _refuse(self) -> NoReturn:
        """Raise every complaint, in the order of the text."""
        shown = sorted(self._complaints, key=lambda c: (c.line, c.column))[:MAX_COMPLAINTS]
        more = len(self._complaints) - len(shown)
        errors: list[CompileError] = [
            ModelError(
                c.message + (f" (and {more} more errors)" if more and c is shown[-1] else ""),
                code=_CODE,
                origin=Origin(f"{self._file}:{c.line}:{c.column + 1}"),
                hint=c.hint,
            )
            for c in shown
        ]
        raise_all([*errors, *self._broken])
        raise AssertionError("there was a complaint")

    def _head(self, line: int, text: Scanner) -> tuple[Any, dict[str, Any]]:
        """The stage and its own parameters, required for everything else."""
        try:
            text.take(_BLANKS)
            text.need(f"{MAGIC} ", f"'{MAGIC} {VERSION}' and a stage")
            start = text.column
            if (version := int(text.need(_NUMBER, "a version")[0])) != VERSION:
                raise text.error(f"version {version} is not supported, only {VERSION}", start)
            text.need(" ", "a stage")
            start = text.column
            name = text.need(_NAME, "a stage")[0]
            if name not in _STAGES:
                raise text.error(f"unknown stage '{name}', not in {', '.join(_STAGES)}", start)
        except MisspelledError as error:
            self._complain(line, error.column, str(error))
            self._refuse()
        kind: Any = _STAGES[name]
        own = {f.name: f for f in fields(kind) if f.name != _GRAPH}
        return kind, self._parameters(line, text, name, own, fields_of(kind), start)

    def _node(self, line: int, content: str, known: Mapping[str, type[Node]]) -> _Read | None:
        """The node of a line; None if invalid, with its complaints recorded."""
        text, before = Scanner(content, self._arrays), len(self._complaints)
        try:
            text.take(_BLANKS)
            node_id = _id(text)
            text.need(": ", "': ' and an operator")
            start = text.column
            name = text.need(_NAME, "an operator")[0]
            if name not in known:
                self._broken = registry.broken()  # it may be one of theirs
                message = f"unknown operator '{_short(name)}' in this stage"
                self._complain(line, start, message, self._nearest(name, known))
                return None
            text.need(" ", "a shape")
            shape = shape_of(text.need(SHAPE, "a shape")[0])
            inputs, sources = _sources(text)
        except MisspelledError as error:
            self._complain(line, error.column, str(error))
            return None
        kind: Any = known[name]
        own = {f.name: f for f in fields(kind) if f.name not in STRUCTURE}
        parameters = self._parameters(line, text, name, own, fields_of(kind), start)
        if len(self._complaints) > before:
            return None
        parameters.setdefault("origin", Origin(self._file, node_id, name))
        try:
            node = kind(id=NodeId(node_id), inputs=inputs, shape=shape, **parameters)
        except (ValueError, TypeError) as error:
            self._complain(line, start, str(error))
            return None
        return _Read(node, line, sources)

    def _parameters(
        self,
        line: int,
        text: Scanner,
        owner: str,
        own: Mapping[str, Field[Any]],
        hints: Mapping[str, Any],
        start: int,
    ) -> dict[str, Any]:
        """``name=value`` to the end of the line."""
        read: dict[str, Any] = {}
        named: set[str] = set()
        try:
            while not (text.take(_BLANKS) and text.at_end):
                column = text.column
                name = text.need(_NAME, "a parameter")[0]
                text.need("=", "'='")
                value = text.need(_TOKEN, "a value")
                if name not in own or name in named:
                    twice = f"duplicate field '{name}'"
                    wrong = twice if name in named else f"unknown field '{_short(name)}'"
                    hint = f"fields: {', '.join(own)}"
                    self._complain(line, column, f"{owner}: {wrong}", hint)
                    continue
                named.add(name)
                self._value(
                    line, Scanner(value.string, self._arrays, *value.span()), name, hints, read
                )
        except MisspelledError as error:
            self._complain(line, error.column, str(error))
            return read
        for name, field in own.items():
            needed = field.default is MISSING and field.default_factory is MISSING
            if needed and name not in named and name != "origin":
                self._complain(line, start, f"{owner}: missing field '{name}'")
        return read

    def _value(
        self,
        line: int,
        text: Scanner,
        name: str,
        hints: Mapping[str, Any],
        read: dict[str, Any],
    ) -> None:
        try:
            read[name] = text.value(hints[name])
            if not text.at_end:
                raise text.error("this belongs to no value")
        except MisspelledError as error:
            self._complain(line, error.column, f"{name}: {error}")
        except UsageError as error:  # of a coding that is not there
            self._complain(line, text.error("").column, f"{name}: {error.message}", error.hint)

    def _check_wiring(self, nodes: list[_Read]) -> None:
        """Record complaints about duplicate ids and undefined sources."""
        first: dict[str, int] = {}
        for read in nodes:
            if first.setdefault(read.node.id, read.line) != read.line:
                line = first[read.node.id]
                message = f"duplicate id '{_short(read.node.id)}', first in line {line}"
                self._complain(read.line, 0, message)
        for read in nodes:
            for source, column in zip(read.node.inputs, read.sources, strict=True):
                if source not in first:
                    message = f"undefined node '{_short(source)}'"
                    self._complain(read.line, column, message, self._nearest(source, first))


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}..."


def _says_something(line: str) -> bool:
    stripped = line.strip()
    return bool(stripped) and not stripped.startswith("#")


def _id(text: Scanner) -> str:
    if found := text.take(PLAIN_ID):
        return found[0]
    return text.string()


def _sources(text: Scanner) -> tuple[tuple[NodeId, ...], tuple[int, ...]]:
    """The sources of a node, and their positions."""
    if not text.take(" <- "):
        return (), ()
    inputs, columns = [], []
    while True:
        columns.append(text.column)
        inputs.append(NodeId(_id(text)))
        if not text.take(", "):
            return tuple(inputs), tuple(columns)


def _mentioned(message: str, nodes: list[_Read]) -> int:
    """The line of the first node that a message names; 0 if it names none."""
    lines = {read.node.id: read.line for read in nodes}
    quoted = re.findall(r"'([^']+)'", message)
    return next((lines[NodeId(name)] for name in quoted if name in lines), 0)
