"""Columns whose names count the values of a sample."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from snn_compile.samples.readers.content import complaint

COUNTED = re.compile(r"(.*?)[._\[]?(\d+)\]?")


def check_order(path: Path, names: Sequence[str]) -> None:
    """Check that columns lie in the order that their names count, if these do.

    Raises:
        UsageError: values would be taken in another order.
    """
    found = [match for name in names if (match := COUNTED.fullmatch(name))]
    if len(found) < len(names) or len({match[1] for match in found}) > 1:
        return
    for one, other in pairwise(found):
        if int(one[2]) >= int(other[2]):
            raise complaint(
                path,
                f"its columns are out of order: '{one[0]}' stands before '{other[0]}'",
                "unreadable-data",
                "write the columns in the order of their numbers, each once",
            )
