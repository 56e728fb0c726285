"""What goes into a trace comes out of it, whatever the pieces on either side."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import About, Series, TraceWriter

TYPES = (np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64)


@st.composite
def runs(draw):
    """Layers with random messages, cut into random pieces, and a range to read back."""
    n_stimuli, n_steps = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    layers = []
    for index in range(draw(st.integers(1, 3))):
        shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=3))
        dtype = np.dtype(draw(st.sampled_from(TYPES)))
        low, high = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        elements = st.sampled_from([0, 0, max(low, -(2**31)), min(high, 2**31 - 1), 1])
        messages = draw(hnp.arrays(dtype, (n_stimuli, n_steps, *shape), elements=elements))
        layers.append((Series(f"layer/{index}", shape, index + 1), messages))
    cuts = sorted(draw(st.sets(st.integers(1, n_stimuli - 1))) if n_stimuli > 1 else [])
    first = draw(st.integers(0, n_stimuli))
    return n_steps, layers, [0, *cuts, n_stimuli], (first, draw(st.integers(first, n_stimuli)))


@given(runs())
def test_round_trip(run):
    n_steps, layers, cuts, (first, stop) = run
    about = About("seal", "rate", n_steps, "device")
    frames = np.zeros((cuts[-1], 2), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        series = [series for series, _ in layers]
        with TraceWriter(Path(folder) / "t.npz", about, series, frames) as writer:
            for start, end in pairwise(cuts):
                writer.add({series.name: messages[start:end] for series, messages in layers})
            path = writer.close()
        with Recording.open(path) as recording:
            assert recording.header.complete
            for series, messages in layers:
                found = recording.messages(series.name, first, stop)
                np.testing.assert_array_equal(found, messages[first:stop])
                assert found.shape == (stop - first, n_steps, *series.shape)
