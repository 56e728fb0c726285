"""Operators that only wire: each value of a result is one of the first input's, unchanged."""

WIRED = frozenset("Flatten Gather Identity Reshape Slice Squeeze Transpose Unsqueeze".split())
