"""Product neurons: reference, transcription and every engine build give the same integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_equality import assert_equal
from networks import INPUT, Builder
from product_networks import gated
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.quantized import ProductNeurons
from snn_compile.ir.schedule import schedule
from snn_compile.ir.spiking import Window
from snn_compile.sim import reference
from transcription import assert_equal as assert_equal_to_transcription

FEW = settings(max_examples=8, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**32 - 1)
OPERANDS = st.sampled_from((1, 7, 255, 2047))


@FEW
@given(SEEDS, st.integers(1, 5), OPERANDS)
def test_equals_its_transcription(seed, channels, high):
    program, frames = gated(seed, channels, high)
    assert_equal_to_transcription(reference.run(program, frames, record=True), program, frames)


@FEW
@given(SEEDS, OPERANDS)
def test_of_changes_equals_its_transcription(seed, high):
    program, frames = gated(seed, 3, high, whole=True)
    program = schedule(program, Window("sigma-delta", 1))
    assert_equal_to_transcription(reference.run(program, frames, record=True), program, frames)
    assert_equal(program, frames)


@pytest.mark.usefixtures("compiled_engine")
@FEW
@given(SEEDS, st.sampled_from((1, 16, 17, 33, 65)), st.sampled_from((1, 4)), OPERANDS)
def test_every_engine_build_equals_the_reference(seed, channels, width, high):
    assert_equal(*gated(seed, channels, high, width))


def all_products(shift, multiplier, bias=0, wide=False, low=-2047, high=2047):
    """Every kind of sum that may arrive, in one channel, as the encoded input."""
    net = Builder(0, (1, 1, 512), low=-(1 << 24), high=1 << 24)
    identity = net.identity(INPUT)
    net._add_population(
        ProductNeurons,
        (identity, *([net.dense(INPUT, (1, 1, 512), exponent=12)] if wide else ())),
        bias=QTensor.of([bias]),
        multiplier=QTensor(np.array([multiplier]), QFormat(12, signed=False)),
        shift=QTensor.of([shift]),
        low=low,
        high=high,
    )
    net.neurons("readout", net.dense("layer" + str(net._count), 2))
    draw = np.random.default_rng(0)
    ends = np.array([0, 1, -1, 2047, -2047, -2048, 1024])
    edges = (ends[:, None] * 4096 + ends).ravel()
    frames = draw.integers(-(1 << 23), 1 << 23, (4, 1, 1, 512))
    frames[0, 0, 0, : len(edges)] = edges
    return net.build(), frames


@pytest.mark.usefixtures("compiled_engine")
@pytest.mark.parametrize(
    ("shift", "multiplier"), [(0, 1), (0, 4095), (1, 2048), (11, 2049), (23, 4095), (32, 4095)]
)
@pytest.mark.parametrize("form", ["narrow", "wide", "biased", "unsigned", "long"])
def test_every_sum_at_the_edges(shift, multiplier, form):
    given = {
        "wide": {"wide": True},
        "biased": {"bias": 4096 * 3 - 7},
        "unsigned": {"low": 0, "high": 255},
        "long": {"low": -(1 << 20) + 1, "high": (1 << 20) - 1},
    }.get(form, {})
    program, frames = all_products(shift, multiplier, **given)
    assert_equal(program, frames)
    if form != "wide":
        assert_equal_to_transcription(reference.run(program, frames, record=True), program, frames)


def test_a_product_of_payloads_is_their_product():
    program, frames = all_products(0, 1, low=-(1 << 20) + 1, high=(1 << 20) - 1)
    x, y = np.meshgrid([-700, -1, 0, 3, 1000], [-900, 0, 1, 1023], indexing="ij")
    frames[0, 0, 0, : x.size] = (4096 * x + y).ravel()
    product = reference.run(program, frames, record=True).messages[program.populations[0].id]
    np.testing.assert_array_equal(product[0, 0, 0, 0, : x.size], (x * y).ravel())


@pytest.mark.parametrize(
    "wrong", [{"shift": [33]}, {"multiplier": [4096]}, {"low": 1}, {"high": 1 << 20}]
)
def test_what_does_not_fit(wrong):
    program, _ = all_products(3, 7)
    given = {k: QTensor.of(v) if isinstance(v, list) else v for k, v in wrong.items()}
    node = program.populations[0].changed(**given)
    assert "out of range" in " ".join(node.misfits())
