"""The page of ``snn-compile ui`` over a folder, in a thread of the test, and a client to ask it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path

from snn_compile.ui.server import HOST, Server


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    text: str


@dataclass(frozen=True)
class Page:
    """A running server."""

    server: Server

    @property
    def address(self) -> str:
        return self.server.address

    @property
    def host(self) -> str:
        return f"{HOST}:{self.server.port}"

    @property
    def cookie(self) -> str:
        return f"snn-compile-{self.server.port}={self.server.token}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        body: bytes | Iterator[bytes] | None = None,
        known: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask for a path, with exactly these headers and, if ``known``, the cookie.

        What changes anything is sent as our own page sends it, unless ``Origin`` is given.
        """
        given = {"Host": self.host} | ({"Cookie": self.cookie} if known else {})
        if method not in ("GET", "HEAD"):
            given["Origin"] = f"http://{self.host}"
        given |= headers or {}
        connection = HTTPConnection(HOST, self.server.port, timeout=300)
        try:
            connection.request(method, path, body, {k: v for k, v in given.items() if v})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode())
        finally:
            connection.close()


@contextmanager
def served(folder: Path) -> Iterator[Page]:
    """Serve a folder until the block ends."""
    server, ready = Server(folder), threading.Event()
    thread = threading.Thread(target=server.run, args=(ready.set,), daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        yield Page(server)
    finally:
        server.stop()
        thread.join(60)
    assert not thread.is_alive()
