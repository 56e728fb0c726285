"""From the value of ``--cluster`` to workers."""

from __future__ import annotations

import logging
import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from snn_compile import extras, threads
from snn_compile.errors import DeviceError, Origin, UsageError, raise_all
from snn_compile.files.documents import DamagedError, read_json, reading
from snn_compile.workers.own_cluster import own_cluster

if TYPE_CHECKING:
    from snn_compile.workers.dask_cluster import DaskWorkers

CONNECT_SECONDS = 30.0
FORMS = "tcp://HOST:PORT, tls://HOST:PORT, a scheduler's file, or local[:N]"
_LOCAL = re.compile(r"local(?::([1-9]\d{0,3}))?", re.ASCII)
_REMOTE = re.compile(r"(?:tcp|tls|ucx|wss?)://(?:\[[^\s\[\]]+\]|[^\s\[\]:/]+):(\d{1,5})", re.ASCII)
MAX_PORT = 65_535


def check_address(address: str) -> None:
    """Refuse what cannot be the address of a cluster, and a missing package.

    Raises:
        UsageError: the address is in no known form, or Dask is not installed.
    """
    errors = extras.missing("distributed", "cluster", "--cluster needs", origin=_origin(address))
    if os.path.isfile(address):
        try:
            _in_file(address)
        except UsageError as error:
            errors.append(error)
    elif not (_LOCAL.fullmatch(address) or _is_remote(address)):
        errors.append(
            UsageError(
                f"'{address}' is no address of a cluster",
                code="bad-address",
                origin=_origin(address),
                hint=f"give {FORMS}",
            )
        )
    raise_all(errors)


def dask(address: str) -> DaskWorkers:
    """The workers of a Dask scheduler, or of a cluster made here.

    Args:
        address: of the scheduler; the file that it writes about itself; or ``local:N`` for a
            cluster of N processes on this machine, by default one per processor.

    Raises:
        DeviceError: the scheduler does not answer.
        UsageError: the address is wrong, Dask is missing, or workers have another snn-compile.
    """
    check_address(address)
    import distributed

    from snn_compile.workers.dask_cluster import DaskWorkers

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with ExitStack() as started:
        found = _LOCAL.fullmatch(address)
        if found:
            n = int(found[1] or threads.allowed())
            where = started.enter_context(own_cluster(n))
        else:
            where = address if _is_remote(address) else _in_file(address)
        try:
            client = distributed.Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, KeyError) as error:
            raise DeviceError(
                f"no scheduler answers: {error}",
                code="no-scheduler",
                origin=_origin(address),
                hint="start one with: dask scheduler",
            ) from error
        started.callback(client.close)
        workers = DaskWorkers(client, ends := ExitStack())
        ends.push(started.pop_all())
        return workers


def _is_remote(address: str) -> bool:
    """Whether Dask can connect to it: its client does not end in order over any other text."""
    found = _REMOTE.fullmatch(address)
    return found is not None and 0 < int(found[1]) <= MAX_PORT


def _in_file(path: str) -> str:
    """The address in the file that a scheduler writes about itself.

    Raises:
        UsageError: it has none.
    """
    message, hint = "no file of a scheduler", "give the file of: dask scheduler --scheduler-file"
    with reading(path, UsageError, "bad-address", message, hint):
        document = read_json(path)
        address = document.get("address") if isinstance(document, dict) else None
        if not isinstance(address, str) or not _is_remote(address):
            raise DamagedError("it has no address")
        return address


def _origin(address: str) -> Origin:
    return Origin(f"--cluster {address}")
