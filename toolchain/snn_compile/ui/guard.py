"""Who may ask: only who has the token, only by this machine's names, and only from our own pages.

A browser carries cookies wherever a page of a stranger sends it. So, beside the token, three things
are looked at: the ``Host`` (a stranger's name that has been made to lead to this machine is
refused), the ``Origin`` of whatever changes anything, and what the browser says of the site that a
request comes from.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import PlainTextResponse

HOSTS = ("127.0.0.1", "localhost")
READS, WRITES = ("GET", "HEAD"), ("PUT", "POST")
TOKEN = "token"
OWN_PAGES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of the pages that are made here."""
FOREIGN_PAGES = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline';"
    " style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'none'"
)
"""Of files that somebody else may have written: their scripts run on an origin of their own, which
no cookie is sent from, and can reach no address."""
HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware that refuses whoever may not ask, and adds the headers of every answer.

    Args:
        app: what is behind it.
        token: that is asked for.
        cookie: name of the cookie that keeps it.
        asked: called at every request that is let through.
    """

    def __init__(self, app: App, token: str, cookie: str, asked: Callable[[], None]) -> None:
        self._app, self._token, self._cookie, self._asked = app, token, cookie, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        status, reason, fresh = self._refusal(scope)
        answer = _with_headers(send, self._set_cookie() if fresh else "")
        if status:
            await PlainTextResponse(f"{reason}\n", status)(scope, receive, answer)
            return
        self._asked()
        await self._app(scope, receive, answer)

    def _refusal(self, scope: Scope) -> tuple[int, str, bool]:
        """The status and the reason of a refusal, or 0; whether the token is in the address."""
        headers = _headers(scope)
        hosts = headers.get("host", [])
        if len(hosts) != 1 or _name(hosts[0]) not in HOSTS:
            return 421, "this page has no such name; use the address that was printed", False
        if scope["method"] not in (*READS, *WRITES):
            return 405, "no such method", False
        site = headers.get("sec-fetch-site", ["none"])[0]
        if scope["method"] in WRITES:
            if headers.get("origin") != [f"http://{hosts[0]}"] or site not in (
                "none",
                "same-origin",
            ):
                return 403, "only the page itself may do this", False
        elif site == "cross-site" and headers.get("sec-fetch-mode") != ["navigate"]:
            return 403, "pages of other sites may not ask", False
        given = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN, [])
        if any(map(self._is_token, given)):
            return 0, "", True
        if any(map(self._is_token, self._kept(headers.get("cookie", [])))):
            return 0, "", False
        return 403, "use the address that snn-compile ui has printed: it has the token", False

    def _kept(self, cookies: list[str]) -> list[str]:
        """The tokens among the cookies of a request."""
        kept = []
        for text in cookies:
            try:
                found = SimpleCookie(text).get(self._cookie)
            except CookieError:
                continue
            if found is not None:
                kept.append(found.value)
        return kept

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _set_cookie(self) -> str:
        return f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _name(host: str) -> str:
    """The name in a ``Host``, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


def _with_headers(send: Send, cookie: str) -> Send:
    async def answer(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message["headers"]}
            added = {**HEADERS, "content-security-policy": OWN_PAGES}
            if cookie:
                added["set-cookie"] = cookie
            message["headers"] = [
                *message["headers"],
                *((n.encode(), v.encode()) for n, v in added.items() if n.encode() not in known),
            ]
        await send(message)

    return answer
