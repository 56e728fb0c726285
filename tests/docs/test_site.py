"""What ``docs/conf.py`` makes of the pages; ``python3 tests`` builds the site itself."""

from __future__ import annotations

import runpy
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.utils import new_document

from documented import ROOT

CONF = runpy.run_path(str(ROOT / "docs" / "conf.py"))


def trees(index):
    return [
        line.removeprefix("/")
        for line in CONF["tree_of"](ROOT / index, ROOT).splitlines()
        if line.startswith("/")
    ]


def test_every_page_is_below_an_index_once():
    listed = trees("docs/README.md") + trees("docs/decisions/README.md")
    pages = {p.relative_to(ROOT).as_posix()[:-3] for p in (ROOT / "docs").rglob("*.md")}
    assert len(set(listed)) == len(listed)
    assert pages - set(listed) == {"docs/README"}


def test_an_index_becomes_a_tree_for_each_section(tmp_path):
    (tmp_path / "docs").mkdir()
    index = tmp_path / "docs" / "README.md"
    index.write_text(
        "# All\n[out](../README.md)\n\n## Learn\n* [a](a.md) [again](a.md#b)\n"
        "* [c](../c.md), [far](https://example.org/x.md)\n\n## Do\n* [a](a.md)\n* [d](e/d.md)\n"
    )
    text = CONF["tree_of"](index, tmp_path.resolve())
    assert text == (
        "```{toctree}\n:hidden:\n:titlesonly:\n:caption: Learn\n/docs/a\n/c\n```\n\n"
        "```{toctree}\n:hidden:\n:titlesonly:\n:caption: Do\n/docs/e/d\n```"
    )


@pytest.mark.parametrize(("text", "n"), [("<!-- needs: lava -->", 0), ("<b>kept</b>", 1)])
def test_comments_are_left_out(text, n):
    document = new_document("page")
    document += nodes.raw("", text, format="html")
    CONF["drop_comments"](SimpleNamespace(), document)
    assert len(list(document.findall(nodes.raw))) == n


def test_a_shape_in_a_docstring_is_no_emphasis():
    lines = ["x: (N, *input shape), and (*shape, B)", "**changes: options, 2 * 3"]
    CONF["escape_stars"](None, "", "", None, None, lines)
    assert lines == [r"x: (N, \*input shape), and (\*shape, B)", "**changes: options, 2 * 3"]


def test_type_aliases_are_shown_by_name():
    signature = "(x: TypeAliasForwardRef('ArraysLike') | str, n: int = 1)"
    shown = CONF["name_aliases"](None, "", "", None, None, signature, None)
    assert shown == ("(x: ArraysLike | str, n: int = 1)", None)
