"""What was sent around the first message that differs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hil_networks import CODINGS, network
from snn_compile.hil.difference import from_reference
from snn_compile.hil.recording import Recording
from snn_compile.hil.surroundings import EXTENT, NEURONS, STEPS, surroundings
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.sim import reference


@pytest.mark.parametrize("coding", CODINGS)
def test_it_has_both_sides_around_a_message_that_was_changed(coding, tmp_path):
    program, frames = network(coding, n_stimuli=5)
    right = {
        k: np.array(v) for k, v in reference.run(program, frames, record=True).messages.items()
    }
    draw = np.random.default_rng(7)
    for population in program.populations:
        sent = {name: values.copy() for name, values in right.items()}
        place = tuple(int(draw.integers(size)) for size in sent[population.id].shape)
        sent[population.id][place] += 3
        about = About("seal", program.window.coding, program.window.n_steps, "board")
        path = tmp_path / f"{population.id}.npz"
        with TraceWriter(path, about, series_of(program), frames) as writer:
            writer.add(sent)
            writer.close()
        with Recording.open(path) as recording:
            first = from_reference(program, frames, recording).divergence
            found = surroundings(program, frames, recording, first)
        stimulus, step, *neuron = place
        assert (first.layer, first.stimulus, first.step) == (population.id, stimulus, step)
        expected, actual = (one[population.id][stimulus] for one in (right, sent))
        steps = slice(max(0, step - STEPS), step + STEPS + 1)
        assert found.first_step == steps.start
        for k, one in enumerate(found.neurons):
            assert np.array_equal(found.expected[k], expected[steps][:, *one])
            assert np.array_equal(found.actual[k], actual[steps][:, *one])
        middle = found.neurons.index(tuple(neuron))
        assert found.actual[middle, step - steps.start] == found.expected[
            middle, step - steps.start
        ] + 3  # fmt: skip
        assert np.count_nonzero(found.actual != found.expected) == 1
        assert len(found.neurons) <= 2 * NEURONS + 1
        rows, columns = found.corner
        height, width = found.expected_map.shape
        *channel, row, column = neuron if len(neuron) > 1 else (0, *neuron)
        if len(neuron) == 1:
            expected, actual = expected[:, None], actual[:, None]
        there = (step, *channel, slice(rows, rows + height), slice(columns, columns + width))
        assert np.array_equal(found.expected_map, expected[there])
        assert np.array_equal(found.actual_map, actual[there])
        assert found.actual_map[row - rows, column - columns] == sent[population.id][place]
        assert max(height, width) <= 2 * EXTENT + 1
        said = json.loads(json.dumps(found.as_dict()))
        assert said["actual"] == said["actual_messages"][middle][step - said["steps"][0]]
