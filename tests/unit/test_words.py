"""Synapse memory in whole words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mapping_networks import UNLIMITED, maps, one_layer
from snn_compile.mapping import map_program
from snn_compile.mapping.counts import all_counts
from snn_compile.mapping.lower_bound import lower_bound
from snn_compile.mapping.words import Words, own_width
from snn_compile.targets.target import Target


def in_words(word: int = 64, **values: int) -> Target:
    """A target without limits: an index of 12 bits, a header of 22."""
    figures = {
        "word_bits": word,
        "index_bits": 12,
        "entry_overhead_bits": 22,
        "synapses_per_entry": 4096,
        **values,
    }
    changed = {k: replace(getattr(UNLIMITED, k), value=v) for k, v in figures.items()}
    return replace(UNLIMITED, **changed)


def memory(program, target):
    """Bits of the first layer, in blocks of any number, and their least."""
    name = program.populations[0].id
    placements = map_program(program, target).graph.placements
    least = lower_bound(program, target, all_counts(program)).layers[name][1]
    used = [p.demand.synapse_memory_bits for p in placements if p.population == name]
    return sum(used), least


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ([-20, 18], 5),  # -10 and 9
        ([-8, 8], 2),  # -1 and 1
        ([-7, 8], 5),
        ([3, 12], 4),  # of one sign
        ([-128, 127], 8),
        ([0, 0], 1),
        ([-4], 1),
    ],
)
def test_a_weight_takes_what_the_layers_integers_need_without_their_common_power(weights, bits):
    assert own_width(np.array(weights)) == bits


def test_a_dense_layer_has_a_list_in_whole_words_for_each_axon():
    weight = np.full((10, 7), -3)
    weight[:, 0] = 5
    program = one_layer(10, 7, weight=weight)
    words = -(-(22 + 10 * (4 + 12)) // 64)
    used, least = memory(program, in_words())
    assert used == 7 * words * 64
    assert least <= used


def test_a_list_has_a_header_for_each_entry():
    program = one_layer(10, 7, weight=np.full((10, 7), -1))
    words = -(-(3 * 22 + 10 * (1 + 12)) // 64)
    assert memory(program, in_words(synapses_per_entry=4))[0] == 7 * words * 64


def test_a_shared_kernel_has_a_list_for_each_input_channel_and_tap():
    program = maps(n_channels=6, size=8)
    (group,) = program.synapses_into(program.populations[0])
    each, (channels, per_channel, *taps) = own_width(group.weight.values), group.weight.values.shape
    lists = per_channel * int(np.prod(taps)) * group.geometry.groups
    words = -(-(22 + channels // group.geometry.groups * each) // 64)
    used, least = memory(program, in_words())
    assert used == lists * words * 64
    assert least <= used


def test_words_lose_less_where_they_are_short():
    program = one_layer(10, 7, weight=np.full((10, 7), -3))
    sizes = [memory(program, in_words(word))[0] for word in (1, 8, 64)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 7 * (22 + 10 * (3 + 12))


def test_layers_of_one_name_have_widths_of_their_own():
    form = Words(in_words(), 64)
    for weight, bits in ((-1, 1), (-3, 3)):
        program = one_layer(10, 7, weight=np.full((10, 7), weight))
        (group,) = program.synapses_into(program.populations[0])
        assert form.each(group) == bits + 12
