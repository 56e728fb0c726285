"""Options of backends: those that nobody knows are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from snn_compile.errors import UsageError


def require_known(
    backend: str, options: Mapping[str, Any] | None, known: Collection[str] = ()
) -> None:
    """Refuse options that a backend does not have, all at once.

    Args:
        backend: its name, for people.
        options: what it was given.
        known: the names of those that it has.

    Raises:
        UsageError: there are others.
    """
    if unknown := sorted(set(options or ()) - set(known)):
        raise UsageError(
            f"the {backend} backend has no options: {', '.join(unknown)}",
            hint=f"it has {', '.join(sorted(known))}" if known else "",
        )
