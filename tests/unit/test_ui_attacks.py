"""What a stranger cannot do to the page of ``snn-compile ui``, and what broken folders cannot."""

from __future__ import annotations

import json
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from served import Page, served
from snn_compile.sealed import MODEL
from snn_compile.ui import uploads
from snn_compile.ui.places import OutsideError, Places

SECRET = "nobody outside may read this"
SCRIPT = "<script>document.title = 'owned'</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks that are broken in several ways, beside a file that is not in it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.json").write_text(SECRET)
    (outside / "net").mkdir()
    for name in ("report.html", "report.json", MODEL):
        (outside / "net" / name).write_text(SECRET)
    shown = outside / "shown"
    shown.mkdir()
    for name in ("empty", "linked", "hostile", SCRIPT.replace("/", "∕")):
        (shown / name).mkdir()
        (shown / name / MODEL).write_bytes(b"no archive")
    (shown / "linked" / "report.html").symlink_to(outside / "secret.json")
    (shown / "linked" / "report.json").symlink_to(outside / "secret.json")
    (shown / "hostile" / "report.html").write_text(SCRIPT)
    (shown / "link-to-net").symlink_to(outside / "net")
    (shown / "notes.txt").write_text(SECRET)
    (shown / "broken.sweep").mkdir()
    (shown / "broken.sweep" / "sweep.json").write_text('{"schema": 1, "points": [{}]}')
    (shown / ".odd.snn.work").mkdir()
    record = {
        "schema": 1, "tool": "", "model": SCRIPT, "output": "odd.snn", "pid": 1, "host": "other",
        "started": "never", "updated": "never", "state": "running", "identity": {},
        "stages": [
            {"stage": "s", "state": "done", "done": 0, "total": 0, "seconds": 1e300, "remaining": 0}
        ],
    }  # fmt: skip
    (shown / ".odd.snn.work" / "progress.json").write_text(json.dumps(record))
    (shown / "deep.npz").write_bytes(b"PK\5\6" + bytes(18))
    return shown


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with served(folder) as found:
        yield found


def test_it_listens_on_this_machine_only(page):
    assert page.server._socket.getsockname()[0] == "127.0.0.1"
    with socket.socket(socket.AF_INET6) as other:
        assert other.connect_ex(("::1", page.server.port))


@pytest.mark.parametrize(
    "path", ["/", "/network?name=empty", "/ui.js", "/files/hostile/report.html"]
)
def test_without_the_token_nothing_is_said(page, path):
    for headers in ({}, {"Cookie": f"snn-compile-{page.server.port}=guess"}, {"Cookie": "=;;="}):
        answer = page.ask(path, known=False, headers=headers)
        assert answer.status == 403
        assert "hostile" not in answer.text
    assert page.ask(f"{path}{'&' if '?' in path else '?'}token=guess", known=False).status == 403
    assert page.ask(path + quote("\x00é"), known=False, headers={"Cookie": "é=1"}).status == 403


def test_the_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_get(page):
    answer = page.ask(f"/?token={page.server.token}", known=False)
    assert answer.status == 200
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(page.cookie)
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert page.server.token not in answer.text
    assert page.ask("/").headers["Set-Cookie"] is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:80", "[::1]:80", "0.0.0.0", " "],
)
def test_a_name_that_was_made_to_lead_here_is_refused(page, host):
    answer = page.ask("/", headers={"Host": host})
    assert answer.status in (400, 421)
    assert "empty" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("PUT", "/check?name=a.onnx"), ("POST", "/session")])
def test_pages_of_others_change_nothing(page, method, path, headers):
    answer = page.ask(path, method, body=b"x", headers=headers)
    assert answer.status == 403
    assert "only the page itself" in answer.text


def test_pages_of_others_read_nothing(page):
    cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert page.ask("/", headers=cross).status == 403
    answer = page.ask("/")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("method", ["DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(page, method):
    assert page.ask("/", method).status == 405


OUTSIDE = (
    "../secret.json", "../net/report.html", "..%2fnet%2freport.html", "%2e%2e/net/report.html",
    "link-to-net/report.html", "link-to-net/report.json", "linked/report.html",
    "linked/report.json", "/etc/passwd", "//etc/passwd", "empty/../../net/report.html",
    "..\\net\\report.html", "notes.txt", "empty/model.snn", "hostile/%00/report.html",
    "hostile/report.html%00.json", "", ".", "empty", "empty/report.html", "~/report.html",
    ".odd.snn.work/progress.json", "x" * 5000,
)  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: name[:40])
def test_no_file_but_reports_of_the_folder_is_handed_out(page, name):
    answer = page.ask(f"/files/{name}")
    assert answer.status in (404, 400)
    assert SECRET not in answer.text


@pytest.mark.parametrize("name", OUTSIDE, ids=lambda name: name[:40])
def test_no_page_is_about_anything_outside(page, name):
    raw = quote(name, safe="%")
    for path in (
        f"/network?name={raw}",
        f"/compare?network={raw}&network=empty",
        f"/session?network=empty&trace={raw}",
        f"/session?network={raw}&trace=deep.npz",
    ):
        answer = page.ask(path)
        assert answer.status in (404, 422, 200)
        assert SECRET not in answer.text


@pytest.mark.parametrize(
    "name", ["..", "a/../..", "/", "/etc", "a\0b", "link", "missing", "sub\\x", ""]
)
def test_places_have_no_outside(name, tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(OutsideError):
        Places(root).find(name)
    assert Places(root).find("sub") == root / "sub"
    assert Places(root).find(".") == root


def test_scripts_of_strangers_run_nowhere_near(page):
    answer = page.ask("/files/hostile/report.html")
    assert answer.text == SCRIPT
    policy = answer.headers["Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert "allow-same-origin" not in rules["sandbox"]
    assert rules["default-src"] == "'none'"
    assert not {"connect-src", "frame-src", "worker-src"} & set(rules)
    assert page.ask("/", headers={"Origin": "null", "Sec-Fetch-Site": "cross-site"}).status == 403


def test_what_is_broken_is_said_in_its_row(page):
    answer = page.ask("/")
    assert answer.status == 200
    for name in ("empty", "linked", "hostile", "broken.sweep", ".odd.snn.work"):
        assert name in answer.text
    assert answer.text.count('class="broken"') == 6
    assert "link-to-net" not in answer.text
    assert SCRIPT not in answer.text
    assert SCRIPT.replace("/", "∕") not in answer.text
    assert SECRET not in answer.text
    for path in ("/network?name=empty", "/network?name=linked", "/network?name=hostile"):
        found = page.ask(path)
        assert found.status == 422
        assert "error[" in found.text
    assert page.ask("/files/broken.sweep/sweep.html").status == 422


def test_nothing_is_started_that_the_page_does_not_offer(page):
    for form in (
        "network=empty&device=faulty:lost-message&stimuli=1",
        "network=empty&device=replay:/etc/passwd&stimuli=1",
        "network=empty&device=engine&stimuli=-1",
        "network=empty&device=engine&stimuli=1%20--record%20x",
        "network=..&device=engine&stimuli=1",
        "network=empty&device=engine",
    ):
        answer = page.ask("/session", "POST", body=form.encode())
        assert answer.status in (404, 422)
    for form in ("a=1&" * 20, "a" * 10_000):
        assert page.ask("/session", "POST", body=form.encode()).status == 413
    assert page.ask("/session?run=0").status == 404


def test_a_file_that_is_too_large_is_not_taken(page, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    assert page.ask("/check?name=a.onnx", "PUT", body=bytes(1001)).status == 413
    answer = page.ask("/check?name=a.onnx", "PUT", body=iter([bytes(600), bytes(600)]))
    assert answer.status == 413
    assert "1000 bytes" in answer.text
    assert list(tmp_path.iterdir()) == []


def test_names_of_dropped_files_are_made_harmless():
    for given, kept in (
        ("model.onnx", "model.onnx"),
        ("../../etc/passwd", "passwd"),
        ("C:\\models\\a b.onnx", "a_b.onnx"),
        ("--help", "help"),
        (".bashrc", "bashrc"),
        ("", "model.onnx"),
        ("a\n<b>.onnx", "a_b_.onnx"),
        ("x" * 300 + ".onnx", "x" * 95 + ".onnx"),
    ):
        assert uploads.plain(given) == kept


def test_a_dropped_file_that_is_no_model_is_refused_and_removed(page, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answer = page.ask("/check?name=../evil.onnx", "PUT", body=SCRIPT.encode())
    assert answer.status == 200
    assert "<strong>evil.onnx</strong> cannot be read" in answer.text
    assert re.search(r"evil\.onnx: error\[[a-z-]+\]", answer.text)
    assert SCRIPT not in answer.text
    assert str(tmp_path) not in answer.text
    assert list(tmp_path.iterdir()) == []
