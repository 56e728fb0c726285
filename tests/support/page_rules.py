"""What keeps a page of the documentation from showing an output that nobody checks."""

from __future__ import annotations

import re

from documented import Page, masked

INFOS = ("console", "python", "output", "sh", "toml", "json", "text", "{eval-rst}")
NUMERIC = re.compile(r"(\*\*)?[~±-]*\d[\d.,]*( ?(±|to) ?[\d.,]+)?( ?(%|M|k|x))?(\*\*)?")
NUMBER = re.compile(r"(?<![\w.,^-])(?:\d+\.\d+|\d{1,3}(?:,\d{3})+)(?![\w]|\.\d)")
OUTPUT = r"^\$ |─{5}|\berror\[[a-z]"
LOOKS_LIKE_OUTPUT = {
    "text": re.compile(f"{OUTPUT}|{NUMBER.pattern}", re.MULTILINE),
    "sh": re.compile(rf"{OUTPUT}|^\d|\A +|(?<!\\)\n +\S", re.MULTILINE),
    "toml": re.compile(OUTPUT, re.MULTILINE),
    "json": re.compile(OUTPUT, re.MULTILINE),
}
"""What betrays an output in a fence that is not run."""
CHOSEN = {"1,024"}  # not measured: a number of samples, of neurons a core


def undeclared(page: Page) -> list[str]:
    """Fences and tables that may hold what a command printed, and are not checked."""
    found = []
    for fence in page.fences:
        content = "\n".join(page.lines[fence.first : fence.stop])
        if fence.marks.get("not checked"):
            continue
        if fence.info not in INFOS:
            found.append(f"{page.name}:{fence.first}: a fence is one of {', '.join(INFOS)}")
        elif fence.info in LOOKS_LIKE_OUTPUT and LOOKS_LIKE_OUTPUT[fence.info].search(content):
            found.append(f"{page.name}:{fence.first}: ```{fence.info} holds an output")
    found += [
        f"{page.name}:{k + 1}: a fence begins at the margin"
        for k in page.prose
        if re.match(r"\s+```|~~~|    \$ ", page.lines[k])
    ]
    for rows, marks in page.tables:
        body = [page.lines[k].strip("| ").split("|")[1:] for k in rows[2:]]
        cells = [cell.strip() for row in body for cell in row if cell.strip()]
        n_numeric = sum(bool(NUMERIC.fullmatch(cell)) for cell in cells)
        if 2 * n_numeric >= len(cells) > 0 and not marks.get("not checked"):
            found.append(f"{page.name}:{rows[0] + 1}: a table of numbers that nothing prints")
    return found


def repeated(page: Page) -> list[str]:
    """Sentences that repeat a number of an output: they would still have it when that changes."""
    printed = {number for line in page.shown() for number in NUMBER.findall(line)}
    return [
        f"{page.name}:{k + 1}: {number}, which an output has"
        for k in page.prose
        for number in NUMBER.findall(masked(page.lines[k]))
        if number in printed - CHOSEN
    ]
