"""Compiled templates that are kept: read again, made again where they are stale or damaged."""

from __future__ import annotations

import sys

import jinja2
import pytest

from snn_compile.files.templates import Bytecode


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a template, and the folder of what is kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.syspath_prepend(tmp_path)
    templates = tmp_path / "paper" / "templates"
    templates.mkdir(parents=True)
    (tmp_path / "paper" / "__init__.py").touch()
    (templates / "page.txt").write_text("{% if a %}\n{{ a }}{% endif %}")
    yield templates
    sys.modules.pop("paper", None)


def rendered(templates, **options):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates), bytecode_cache=Bytecode("paper"), **options
    )
    return environment.get_template("page.txt").render(a="<")


def kept(templates):
    return sorted((templates / "__pycache__").glob("*"))


def compilations(monkeypatch):
    """What is compiled from here on."""
    seen, compile_ = [], jinja2.Environment.compile
    monkeypatch.setattr(
        jinja2.Environment,
        "compile",
        lambda *args, **more: seen.append(1) or compile_(*args, **more),
    )
    return seen


def test_what_is_kept_is_not_compiled_again(package, monkeypatch):
    assert rendered(package) == "\n<"
    (path,) = kept(package)
    seen = compilations(monkeypatch)
    assert rendered(package) == "\n<"
    assert not seen
    for damage in (b"", path.read_bytes()[:40], b"other bytes"):
        path.write_bytes(damage)
        assert rendered(package) == "\n<"
    assert len(seen) == 3
    (package / "page.txt").write_text("{{ a }}!")
    assert rendered(package) == "<!"


def test_environments_that_compile_otherwise_keep_their_own(package):
    assert rendered(package) == "\n<"
    assert rendered(package, trim_blocks=True) == "<"
    assert rendered(package, autoescape=True) == "\n&lt;"
    assert len(kept(package)) == 3


def test_nothing_is_written_where_that_is_not_wanted_or_not_possible(package, monkeypatch):
    (package / "__pycache__").touch()  # no folder, whoever the user is
    assert rendered(package) == "\n<"
    (package / "__pycache__").unlink()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(package) == "\n<"
    assert not kept(package)
