"""The pages, by their addresses."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from snn_compile import sealed
from snn_compile.errors import CompileError
from snn_compile.files.documents import read_bytes
from snn_compile.report.schema import REPORT, REPORT_PAGE
from snn_compile.sweep.schema import SWEEP, SWEEP_PAGE
from snn_compile.ui import pages
from snn_compile.ui.guard import FOREIGN_PAGES, Guard
from snn_compile.ui.jobs import Job, Jobs, Limits
from snn_compile.ui.library import Library
from snn_compile.ui.places import OutsideError, Places
from snn_compile.ui.uploads import UploadError, Uploads

MOST_COMPARED = 12
MOST_BYTES = 64 << 20
"""Of a file that is handed out."""
MOST_FORM = 8 << 10
POLICY = "content-security-policy"
RENDERED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of our own pages that carry their style; no script runs in them."""
ASSETS = {"ui.js": "text/javascript", "ui.css": "text/css"}
Handler = Callable[[Request], Awaitable[Response]]


def application(folder: Path, token: str, cookie: str, asked: Callable[[], None]) -> Guard:
    """The ASGI application over a folder.

    Args:
        folder: that is shown.
        token: that whoever asks must have.
        cookie: name of the cookie that keeps it.
        asked: called at every request that is let through.
    """
    site = Site(Places(folder.resolve()))
    routes = [
        Route("/", _shown(site.overview)),
        Route("/network", _shown(site.network)),
        Route("/compare", _shown(site.compare)),
        Route("/session", _shown(site.session), methods=["GET", "POST"]),
        Route("/check", _shown(site.check), methods=["PUT"]),
        Route("/files/{name:path}", _shown(site.file)),
        *(Route(f"/{name}", partial(_asset, name)) for name in ASSETS),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        yield
        await site.jobs.close()

    return Guard(Starlette(routes=routes, lifespan=lifespan), token, cookie, asked)


def _shown(handler: Handler) -> Handler:
    """What a page cannot show is said on a page."""

    @wraps(handler)
    async def shown(request: Request) -> Response:
        try:
            return await handler(request)
        except OutsideError:
            text = "There is nothing of this name in the folder."
            return HTMLResponse(pages.message(text), 404)
        except UploadError as error:
            return HTMLResponse(pages.message(str(error)), error.status)
        except CompileError as error:
            return HTMLResponse(pages.message(str(error)), 422)

    return shown


class Site:
    """The handlers of requests.

    Args:
        places: the folder that is shown.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.library = Library(places)
        self.jobs = Jobs()
        self.uploads = Uploads()

    async def overview(self, request: Request) -> Response:
        """Everything that is in the folder."""
        query = request.query_params
        found = await run_in_threadpool(self.library.overview)
        chosen = frozenset(query.getlist("network"))
        return HTMLResponse(pages.overview(found, self.places.root, query.get("sort", ""), chosen))

    async def network(self, request: Request) -> Response:
        """One compiled network."""
        name = request.query_params.get("name", "")
        report = await run_in_threadpool(self.library.report, name)
        found = await run_in_threadpool(self.library.overview)
        traces = [trace for trace in found.traces if trace["network"] == name]
        return HTMLResponse(pages.network(name, report, traces))

    async def compare(self, request: Request) -> Response:
        """Two or more networks side by side."""
        names = list(dict.fromkeys(request.query_params.getlist("network")))
        if not 2 <= len(names) <= MOST_COMPARED:
            text = f"Choose two networks to compare, or up to {MOST_COMPARED}."
            return HTMLResponse(pages.message(text), 422)
        folders = [self.library.folder(name) for name in names]
        job = await self._result(("compare", *map(str, folders), "--json"), folders)
        return HTMLResponse(pages.compare(job, names))

    async def session(self, request: Request) -> Response:
        """A device, or a recording of one, beside the reference."""
        if request.method == "POST":
            return await self._start(request)
        query = request.query_params
        if "run" in query:
            job = self.jobs.find(query["run"])
            if job is None:
                raise OutsideError(query["run"])
            job = await self.jobs.ask(query["run"], job.words, Limits())
            _, where, device = job.words[:3]
            return HTMLResponse(pages.session(job, self.places.name(Path(where)), device))
        folder = self.library.folder(query.get("network", ""))
        trace = self.library.trace(query.get("trace", ""))
        words = ("diff", str(folder), str(trace), "--json", "--no-progress")
        job = await self._result(words, [folder, trace])
        return HTMLResponse(pages.session(job, query["network"], query["trace"]))

    async def _start(self, request: Request) -> Response:
        """Run a network's stimuli on a device."""
        form = await _form(request)
        folder = self.library.folder(form.get("network", ""))
        device, stimuli = form.get("device", ""), form.get("stimuli", "")
        if device not in pages.devices() or not (stimuli.isascii() and stimuli.isdigit()):
            return HTMLResponse(pages.message("Name a device, and a number of stimuli."), 422)
        words = ("hil", str(folder), f"--device={device}", f"--stimuli={stimuli}", "--json")
        key = secrets.token_hex(8)
        await self.jobs.ask(key, words, Limits())
        return RedirectResponse(pages.link("session", run=key), 303)

    async def check(self, request: Request) -> Response:
        """Check a model that was dropped."""
        name = request.query_params.get("name", "")
        checked = await self.uploads.check(name, request.stream())
        return HTMLResponse(pages.checked(*checked))

    async def file(self, request: Request) -> Response:
        """A report or the figures of a sweep, and no other file."""
        folder, _, file = request.path_params["name"].rpartition("/")
        place = self.places.find(folder or ".")
        if file == SWEEP_PAGE:
            sweep = await run_in_threadpool(self.library.sweep, folder or ".")
            text = await run_in_threadpool(pages.sweep, sweep)
            return HTMLResponse(text, headers={POLICY: RENDERED})
        owner = {REPORT: sealed.MODEL, REPORT_PAGE: sealed.MODEL, SWEEP: SWEEP}.get(file)
        if owner is None or not (place / owner).is_file():
            raise OutsideError(file)
        path = place / file
        if path.is_symlink():
            raise OutsideError(file)
        try:
            content = await run_in_threadpool(read_bytes, path, MOST_BYTES)
        except (OSError, ValueError) as error:
            raise OutsideError(file) from error
        kind = "text/html" if file == REPORT_PAGE else "application/json"
        return Response(content, media_type=kind, headers={POLICY: FOREIGN_PAGES})

    async def _result(self, words: tuple[str, ...], used: list[Path]) -> Job:
        """What a command says of files; asked again once they have changed."""
        state = await run_in_threadpool(_state, used)
        return await self.jobs.ask((words, state), words, Limits())


def _state(paths: list[Path]) -> tuple[Any, ...]:
    """Changes whenever one of the files, or the network in one of the folders, does."""
    states: list[Any] = []
    for path in paths:
        for one in (path, path / sealed.MODEL, path / REPORT):
            try:
                status = os.stat(one)
            except OSError:
                states.append(None)
            else:
                states.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(states)


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        UploadError: it is none of ours.
    """
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MOST_FORM:
            raise UploadError("There is too much in this form.", 413)
    try:
        return dict(parse_qsl(content.decode("utf-8", "replace"), max_num_fields=8))
    except ValueError as error:
        raise UploadError("There is too much in this form.", 413) from error


async def _asset(name: str, request: Request) -> Response:
    del request
    if name == "ui.css":
        return Response(pages.style(), media_type=ASSETS[name])
    text = files("snn_compile.ui").joinpath("templates", name).read_bytes()
    return Response(text, media_type=ASSETS[name])
