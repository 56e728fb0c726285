"""Templates of pages: self-contained HTML whose content is escaped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

NONE: Mapping[str, Callable[..., Any]] = MappingProxyType({})


def page_template(
    name: str, package: str = "", filters: Mapping[str, Callable[..., Any]] = NONE
) -> Template:
    """A template of the report, or of another package, which may include the report's style.

    Args:
        name: of its file.
        package: whose folder ``templates`` has it, if not the report's.
        filters: functions for it by their names.
    """
    return _compiled(name, package, tuple(filters.items()))


def page_script(name: str) -> str:
    """A script of the report's page; it is the same for every report."""
    return files("snn_compile.report").joinpath("templates", name).read_text(encoding="utf-8")


def policy(script: str = "") -> str:
    """The content security policy of a page: nothing is loaded, and no other script runs.

    So even a text that escaped its escaping could neither run nor send anything.
    """
    allowed = ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'"]
    if script:
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
        allowed.append(f"script-src 'sha256-{digest}'")
    return "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])


@cache
def _compiled(
    name: str, package: str, filters: tuple[tuple[str, Callable[..., Any]], ...]
) -> Template:
    """Compilation takes longer than rendering: once."""
    import jinja2

    from snn_compile.files.templates import Bytecode

    packages = [package] if package else []
    loaders = [jinja2.PackageLoader(one, "templates") for one in (*packages, "snn_compile.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        bytecode_cache=Bytecode(package or "snn_compile.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment.get_template(name)
