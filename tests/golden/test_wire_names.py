"""Words that stand in files keep their spelling, whatever becomes of the identifiers in the code.

``wire_names.tsv`` is the one table of them: of every class that is written, its name and its
fields; of every enumeration, its values; of every JSON object, its keys. A renamed word would make
old files unreadable. A change that adds words adds them to the table:
``python tests/golden/test_wire_names.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, is_typeddict

from snn_compile import sealed
from snn_compile.cli.group import COMMANDS
from snn_compile.coding_registry import coding_names
from snn_compile.compare import schema as compare_schema
from snn_compile.hil import header
from snn_compile.ir import serialize
from snn_compile.ir.models import registry
from snn_compile.options import CompileOptions
from snn_compile.options.declared import options_of
from snn_compile.pipeline import replay, values
from snn_compile.report import (
    budget_schema,
    cost_schema,
    observed_schema,
    output_schema,
    resource_schema,
    schema,
    tail_schema,
    tune_schema,
)
from snn_compile.sweep import schema as sweep_schema

TABLE = Path(__file__).with_name("wire_names.tsv")


def words_of(kind: Any) -> str:
    """Fields or values of a class, in alphabetical order."""
    if is_dataclass(kind):
        words = [field.name for field in fields(kind)]
    else:
        assert issubclass(kind, enum.Enum)
        words = [str(member.value) for member in kind]
    return " ".join(sorted(words))


def table() -> Iterator[str]:
    """The words that the program writes and reads, a class in each line."""
    yield f"codings: {' '.join(sorted(coding_names()))}"
    yield f"commands: {' '.join(sorted(COMMANDS))}"
    yield f"options: {' '.join(sorted(options_of(CompileOptions)))}"
    for name, kind in sorted(serialize.CLASSES.items()):
        yield f"$type {name}: {words_of(kind)}"
    for model in sorted(registry.BUILT_IN, key=lambda model: model.__name__):
        yield f"$type {model.__name__}, in vectors {model.conformance}: {words_of(model)}"
    for kind in sorted(values.PASSES, key=lambda kind: kind.__name__):
        yield f"pass {kind.name}, $type {kind.__name__}: {words_of(kind)}"
    documents = (
        (
            schema,
            budget_schema,
            cost_schema,
            observed_schema,
            output_schema,
            resource_schema,
            tail_schema,
            tune_schema,
        ),
        (header,),
        (sealed,),
        (replay,),
        (sweep_schema,),
    )
    for module, *parts in (*documents, (compare_schema,)):
        names = [kind for part in (module, *parts) for kind in vars(part).values()]
        objects = [kind for kind in names if is_typeddict(kind)]
        keys = {key for kind in objects for key in kind.__annotations__}
        yield f"keys of {module.__name__}: {' '.join(sorted(keys))}"


def test_no_word_of_a_file_is_renamed():
    written = {}
    for line in table():
        name, _, words = line.partition(": ")
        written[name] = set(words.split())
    for line in TABLE.read_text().splitlines():
        name, _, words = line.partition(": ")
        assert name in written, f"'{name}' is gone"
        assert set(words.split()) <= written[name], name


if __name__ == "__main__":
    TABLE.write_text("\n".join(table()) + "\n")
