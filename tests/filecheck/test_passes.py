"""Every pass on small texts, by what has to come out of it (``checked_text.py``)."""

from __future__ import annotations

from pathlib import Path

import pytest

from checked_text import failure, mismatch

FILES = sorted(Path(__file__).parent.glob("*.snt"))
LINES = ["a b c", "d e", "f"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pass(path):
    wrong = failure(path)
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        ([("CHECK", "a {{[a-c]}} c"), ("CHECK-NEXT", "d"), ("CHECK", "f")], ""),
        ([("CHECK", "f"), ("CHECK", "d")], "not found: d"),
        ([("CHECK", "a"), ("CHECK-NEXT", "f")], "not the next line: f"),
        ([("CHECK", "f"), ("CHECK-NEXT", "f")], "not the next line: f"),
        ([("CHECK", "a"), ("CHECK-NOT", "d"), ("CHECK", "f")], "found, and should not be: d"),
        ([("CHECK", "d"), ("CHECK-NOT", "f")], "found, and should not be: f"),
        ([("CHECK-NOT", "a"), ("CHECK", "d")], "found, and should not be: a"),
        ([("CHECK-NOT", "d"), ("CHECK", "d")], ""),
        ([("CHECK", "{{^}}b")], "not found: {{^}}b"),
    ],
)
def test_what_does_not_match_is_found(expected, wrong):
    assert mismatch(expected, LINES) == wrong
