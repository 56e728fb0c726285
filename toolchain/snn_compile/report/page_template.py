"""Templates of pages: self-contained HTML without scripts, whose content is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
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


@cache
def _compiled(
    name: str, package: str, filters: tuple[tuple[str, Callable[..., Any]], ...]
) -> Template:
    """Compilation takes longer than rendering: once."""
    import jinja2

    packages = [package] if package else []
    loaders = [jinja2.PackageLoader(one, "templates") for one in (*packages, "snn_compile.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment.get_template(name)
