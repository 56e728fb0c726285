"""``--cluster``: where large data sets are evaluated, and the points of a sweep compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snn_compile.errors import UsageError

if TYPE_CHECKING:
    from snn_compile.workers import Workers

F = TypeVar("F", bound=Callable[..., Any])


def option(function: F) -> F:
    """The option of a command that spreads samples."""
    return spreading("the samples")(function)


def spreading(what: str) -> Callable[[F], F]:
    """The option of a command that spreads something else."""
    return click.option(
        "--cluster",
        "address",
        metavar="ADDRESS",
        help=f"Spread {what} over a Dask cluster: its scheduler's tcp:// or tls:// address or"
        " file, or local[:N] for N processes here. The result is the same.",
    )


def refuse_idle(address: str | None, data: Path | None) -> None:
    """Refuse a cluster without samples to spread over it, and an address that cannot be one.

    Raises:
        UsageError: there are no samples; or as ``check_address``.
    """
    if address is None:
        return
    if data is None:
        raise UsageError(
            "--cluster spreads evaluation data, and there are none",
            code="missing-data",
            hint="add --evaluate",
        )
    check(address)


def check(address: str) -> None:
    """Refuse an address that cannot be one, before anything is done.

    Raises:
        UsageError: as ``check_address``.
    """
    from snn_compile.workers import check_address

    check_address(address)


@contextmanager
def workers_at(address: str | None) -> Iterator[Workers | None]:
    """The workers of a cluster; None without an address.

    Raises:
        CompileError: as ``workers.dask``.
    """
    if address is None:
        yield None
        return
    from snn_compile.workers import dask

    with dask(address) as workers:
        yield workers
