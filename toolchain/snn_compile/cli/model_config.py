"""The implicit configuration beside a model.

It is read without a request and may be untrusted: it may set numbers, and name files of its own
folder only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile.cli.settings import read_options
from snn_compile.errors import CompileError, Origin, UsageError, raise_all

if TYPE_CHECKING:
    from snn_compile.options import CompileOptions


def config_beside(model: Path) -> Path | None:
    """The configuration beside a model, by its name; None without one."""
    config = model.with_suffix(".toml")
    return config if config.is_file() else None


def options_for(model: Path, config: Path | None, given: Mapping[str, Any]) -> CompileOptions:
    """The options for a model: the command line's over those of a configuration.

    Args:
        model: the file.
        config: the configuration that the user has named, or None for the one beside the model.
        given: what the command line gave.

    Raises:
        UsageError: the options are invalid, or an implicit configuration refers to files elsewhere.
    """
    if config is not None or (found := config_beside(model)) is None:
        return read_options(config, given)
    raise_all(_leaving(found, {"": found}))
    options = read_options(found, given)
    raise_all(_leaving(found, _named(options, found)))
    return options


def _named(options: CompileOptions, config: Path) -> dict[str, Path]:
    """The files that a configuration names, by option."""
    from snn_compile.options.config_file import read_toml
    from snn_compile.targets.load import available

    wanted: dict[str, Any] = {name: getattr(options, name) for name in ("calibrate", "evaluate")}
    if options.target not in available():
        wanted["target"] = Path(options.target)
    own = {name for name in wanted if options.origins.get(name) == f"{config}:{name}"}
    named = {name: path for name, path in wanted.items() if name in own and path is not None}
    if (target := named.get("target")) is not None and target.is_file() and _is_in(config, target):
        parent = read_toml(target).get("inherits")
        if isinstance(parent, str) and parent not in available():
            named["target: inherits"] = Path(parent)
    return named


def _is_in(config: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(config.parent.resolve())


def _leaving(config: Path, named: Mapping[str, Path]) -> list[CompileError]:
    """Errors for files outside the folder of a configuration."""
    return [
        UsageError(
            (f"{name} names '{path}', which" if name else "it")
            + " is outside the folder of the model, and this configuration was not requested",
            code="foreign-path",
            origin=Origin(str(config)),
            hint=f"if you trust it: --config {config}",
        )
        for name, path in named.items()
        if not _is_in(config, path)
    ]
