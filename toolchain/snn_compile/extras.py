"""Packages that only some parts need: what is said where one is not there."""

from __future__ import annotations

from importlib import import_module

from snn_compile.errors import Origin, UsageError


def missing(
    package: str, extra: str, what: str, *, origin: Origin | None = None, more: str = ""
) -> list[UsageError]:
    """The complaint that a package cannot be imported; none where it can.

    Args:
        package: as it is imported.
        extra: of snn-compile, that installs it.
        what: cannot be done without it: "NIR files are written by".
        origin: the file that asks for it, if there is one.
        more: to say after the command that installs it.
    """
    try:
        import_module(package)
    except ImportError as error:
        return [
            UsageError(
                f"{what} the package '{package}', which cannot be imported: {error}",
                code="missing-package",
                origin=origin,
                hint=f"pip install 'snn-compile[{extra}]'{more}",
            )
        ]
    return []
