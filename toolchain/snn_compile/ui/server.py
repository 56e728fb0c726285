"""The server of the page: one process, on the loopback interface of this machine only."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from snn_compile.errors import Origin, UsageError
from snn_compile.ui.app import application

HOST = "127.0.0.1"
AT_ONCE = 64
"""Requests that are answered at the same time."""
_POLL = 0.2


@dataclass(eq=False)
class Server:
    """A bound address, and the application behind it.

    Args:
        folder: that is shown.
        port: of the address; 0 for any that is free.
        idle: seconds without a request after which the server ends; None: it does not.

    Raises:
        UsageError: the port cannot be had.
    """

    folder: Path
    port: int = 0
    idle: float | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    _last: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._socket = _bound(self.port)
        self.port = self._socket.getsockname()[1]
        app = application(self.folder, self.token, f"snn-compile-{self.port}", self._asked)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            http="h11",
            loop="asyncio",
            limit_concurrency=AT_ONCE,
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        """Of the first page, with the token."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until the process is interrupted, or nobody has asked for long enough.

        Args:
            ready: called once requests are answered.
        """
        try:
            asyncio.run(self._serve(ready))
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End ``run``; from any thread."""
        self._server.should_exit = True

    async def _serve(self, ready: Callable[[], None]) -> None:
        watch = asyncio.create_task(self._watch(ready))
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            watch.cancel()

    async def _watch(self, ready: Callable[[], None]) -> None:
        while not self._server.started:
            await asyncio.sleep(0.01)
        ready()
        self._asked()
        while self.idle is None or time.monotonic() - self._last < self.idle:
            await asyncio.sleep(_POLL)
        self.stop()

    def _asked(self) -> None:
        self._last = time.monotonic()


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise UsageError(
            f"port {port} cannot be had: {error.strerror}",
            code="port-in-use",
            origin=Origin(f"{HOST}:{port}"),
            hint="leave out --port to take any that is free",
        ) from error
    return bound
