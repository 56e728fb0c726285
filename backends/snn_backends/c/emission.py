"""Writing the emitted folder, and what differs from that in a folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from snn_backends.c import golden
from snn_backends.c.arrays import words, wrapped
from snn_backends.c.helpers import helpers_of
from snn_backends.c.integers import literal
from snn_backends.c.layers import harmless
from snn_backends.c.plan import Plan
from snn_backends.c.sizes import sizes_of
from snn_backends.emitted import difference, superfluous
from snn_compile.ir.fixedpoint import Int

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    import jinja2

    from snn_compile.files.templates import Bytecode

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("snn_backends.c", "templates"),
        bytecode_cache=Bytecode("snn_backends.c"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.globals |= {"literal": literal, "harmless": harmless}
    environment.filters["indented"] = _indented
    return environment


def _indented(text: str, spaces: int) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(" " * spaces + line for line in lines)


def rendered(template: str, plan: Plan, **more: object) -> str:
    """A template, filled in."""
    return _environment().get_template(template).render(plan=plan, **more)


def source(plan: Plan) -> str:
    """``network.c``."""
    functions = rendered("functions.c.j2", plan)
    return rendered("network.c.j2", plan, functions=helpers_of(functions) + functions)


def trace_program() -> str:
    """The program that records messages; it is part of the verification, not of the folder."""
    return _environment().get_template("trace.c").render()


def files(plan: Plan) -> dict[str, str]:
    """Every file of the emitted folder, by its name. The same network has the same files."""
    stated = sizes_of(plan)
    right = golden.golden(plan)
    return {
        "network.h": rendered("network.h.j2", plan, sizes=stated),
        "network.c": source(plan),
        "selftest.c": rendered("selftest.c.j2", plan, golden=right, words=_words),
        "Makefile": rendered("Makefile", plan),
        "CMakeLists.txt": rendered("CMakeLists.txt", plan),
        "README.md": rendered("README.md.j2", plan, sizes=stated),
        "sizes.json": json.dumps(vars(stated), indent=1) + "\n",
    }


def _words(values: Int) -> list[str]:
    return wrapped(words(values))


def write(plan: Plan, folder: Path) -> None:
    """Write everything into an existing folder."""
    for name, text in files(plan).items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def differences(plan: Plan, folder: Path) -> list[str]:
    """Everything in a folder that is not what emitting the network again would write."""
    expected = files(plan)
    found = superfluous(folder, expected)
    for name, text in expected.items():
        if said := difference(folder, name, text.encode()):
            found.append(said)
    return found
