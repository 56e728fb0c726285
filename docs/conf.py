"""How the pages become a site.

From the root of the repository:

    python -m sphinx -W --keep-going -q -c docs . build/site

The root is the source folder: pages refer to each other and to files as they do on GitHub. The
navigation is made from ``docs/README.md``, so that a page which is not listed there is an error.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

project = "snn-compile"
author = "the authors of snn-compile"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]

root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "examples/README.md"]
exclude_patterns = [".*", "backends", "build", "frontends", "tests", "toolchain"]
suppress_warnings = ["misc.highlighting_failure"]  # of commands with names to be filled in

myst_heading_anchors = 4  # as GitHub makes them

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name
    for name in ("ArraysLike", "FileOrArrays", "Given", "Int", "Labels", "Messages", "Retrain")
}
autodoc_mock_imports = ["torch"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 90

html_theme = "furo"
html_title = "snn-compile"
html_copy_source = False
html_show_copyright = False

copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"
copybutton_here_doc_delimiter = "END"

INDICES = {"README": "docs/README.md", "docs/decisions/README": "docs/decisions/README.md"}
"""The pages that other pages stand below, and the files which list those."""
OVERVIEW = "```{toctree}\n:hidden:\n:titlesonly:\n/docs/README\n```\n\n"
SHAPE = re.compile(r"(?<=[( ])\*(?=[a-z])")
ALIAS = re.compile(r"TypeAliasForwardRef\('(\w+)'\)")
LINK = re.compile(r"\]\(([^):#]+\.md)\)")


def tree_of(index: Path, root: Path) -> str:
    """Hidden tables of contents: one for each section of an index, with the pages it links to."""
    listed, trees = {index.relative_to(root).as_posix()}, list[str]()
    heading, *sections = index.read_text(encoding="utf-8").split("\n## ")
    for section in sections or [heading]:
        caption = f":caption: {section.partition(chr(10))[0]}\n" if sections else ""
        pages = []
        for link in LINK.findall(section):
            page = (index.parent / link).resolve().relative_to(root).as_posix()
            if page not in listed and page != "README.md":
                listed.add(page)
                pages.append("/" + page.removesuffix(".md"))
        trees.append(
            "```{toctree}\n:hidden:\n:titlesonly:\n" + caption + "\n".join([*pages, "```"])
        )
    return "\n\n".join(trees)


def add_tree(app: Sphinx, docname: str, content: list[str]) -> None:
    """Put the pages that an index lists below it."""
    if docname in INDICES:
        root = Path(app.srcdir).resolve()
        index = root / INDICES[docname]
        app.env.note_dependency(index)
        itself = "" if index.samefile(root / f"{docname}.md") else OVERVIEW
        content[0] += f"\n\n{itself}{tree_of(index, root)}\n"


def drop_comments(_: Sphinx, document: nodes.document) -> None:
    """Leave out what pages say to ``tests/documented.py``."""
    for raw in list(document.findall(nodes.raw)):
        if raw.astext().lstrip().startswith("<!--"):
            raw.parent.remove(raw)


def escape_stars(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """``(N, *input shape)`` in a docstring is a shape, and no emphasis."""
    lines[:] = [SHAPE.sub(r"\\*", line) for line in lines]


def name_aliases(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Show the name of a type alias where autodoc has a reference to it."""
    return (signature and ALIAS.sub(r"\1", signature), returned and ALIAS.sub(r"\1", returned))


def add_start(app: Sphinx, failure: Exception | None) -> None:
    """Servers look for ``index.html``."""
    if failure is None and app.builder.format == "html":
        folder = Path(app.outdir)
        shutil.copyfile(folder / "README.html", folder / "index.html")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_tree)
    app.connect("doctree-read", drop_comments)
    app.connect("autodoc-process-docstring", escape_stars)
    app.connect("autodoc-process-signature", name_aliases)
    app.connect("build-finished", add_start)
