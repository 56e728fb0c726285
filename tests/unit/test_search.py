"""Looking for the smallest number that keeps a promise."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snn_compile.search import smallest


@given(st.integers(1, 300), st.integers(0, 320))
def test_the_smallest_is_found_and_nothing_is_tried_twice(n, least):
    tried = []

    def keeps(candidate):
        tried.append(candidate)
        return candidate >= least

    found = smallest(range(1, n + 1), keeps)
    assert found == (max(least, 1) if least <= n else None)
    assert len(tried) == len(set(tried)) <= 2 * n.bit_length() + 1


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_what_is_returned_has_kept_the_promise(kept):
    tried = {}

    def keeps(candidate):
        assert candidate not in tried
        tried[candidate] = kept[candidate]
        return kept[candidate]

    found = smallest(range(len(kept)), keeps)
    if found is None:
        assert not any(tried.values())
        assert len(kept) - 1 in tried
    else:
        assert tried[found]
        assert not any(ok for candidate, ok in tried.items() if candidate < found)
