"""The declared options on the command line, in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from snn_compile.options import CompileOptions
from snn_compile.options.declared import Option, options_of
from snn_compile.options.kinds import AUTO

F = TypeVar("F", bound=Callable[..., Any])


class _WholeOrAuto(click.ParamType[int | str]):
    """A whole number, or ``auto``."""

    name = "whole number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """The number, or the word."""
        if value == AUTO:
            return AUTO
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither a whole number nor {AUTO}.", param, ctx)


_TYPES: dict[str, Any] = {
    "a file name": click.Path(path_type=Path),
    "a whole number": int,
    "a whole number or auto": _WholeOrAuto(),
    "a number": float,
}
"""The click type of a kind of values; other kinds stay text and are parsed later."""


class Setting(click.Option):
    """A declared option; None if omitted."""

    def __init__(self, item: Option) -> None:
        kind = item.kind
        is_flag = bool(kind.flags)
        super().__init__(
            [*([item.letter] if item.letter else []), kind.flags or f"--{item.words}", item.name],
            type=None if is_flag else _TYPES.get(kind.expected, str),
            is_flag=is_flag,
            default=None,
            multiple=kind.repeats,
            metavar=None if is_flag else kind.metavar,
            help=f"{item.help}  [{'; '.join(limits(item))}]",
        )
        self.group = item.group

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The words among the values, as the help lists them."""
        words = [word for word in (self.metavar or "").split("|") if word.islower()]
        if len(words) == 0:
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class GroupedCommand(click.Command):
    """A command whose help shows declared options under the headings of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of the command itself first."""
        groups: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def limits(item: Option) -> list[str]:
    """Applicability, range and default of an option, in words."""
    words = [", ".join(map(str, values)) for fact, values in item.only.items() if fact == "coding"]
    if item.kind.expected.startswith("a whole number"):
        words.append(item.kind.allowed)
    return [*words, f"default: {item.shown_default}"]


def declared_options(owner: type) -> Callable[[F], F]:
    """Add every option that a dataclass declares for the command line."""
    items = [item for item in options_of(owner).values() if item.group]
    groups = list(dict.fromkeys(item.group for item in items))

    def add(command: F) -> F:
        settings = [Setting(item) for group in groups for item in items if item.group == group]
        known = getattr(command, "__click_params__", [])
        command.__click_params__ = [*known, *reversed(settings)]  # type: ignore[attr-defined]
        return command

    return add


def options_named(*names: str) -> Callable[[F], F]:
    """Add some options of a compilation."""

    def add(command: F) -> F:
        settings = [Setting(options_of(CompileOptions)[name]) for name in names]
        known = getattr(command, "__click_params__", [])
        command.__click_params__ = [*known, *reversed(settings)]  # type: ignore[attr-defined]
        return command

    return add


def settings(command: F) -> F:
    """Add every option of a compilation."""
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="TOML",
        help="Options from a file; the command line wins.",
    )
    return config(declared_options(CompileOptions)(command))


def read_options(config: Path | None, given: Mapping[str, Any]) -> CompileOptions:
    """The options in effect: the command line's, over the file's, over the defaults."""
    cli = {name: value for name, value in given.items() if value is not None and value != ()}
    return CompileOptions.from_sources(config, cli)
