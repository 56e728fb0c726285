"""Answers of the float network, and mixtures that it is asked."""

from __future__ import annotations

import numpy as np
import pytest

from anns import INPUT, Net
from quantized_cases import SAME
from snn_compile.quantize.reconstruction.teacher import Teacher, mirrored, mixed
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.sim import ann


@pytest.mark.parametrize("shape", [(4, 2, 6, 5), (4, 7)])
def test_mixtures_are_between_two_samples(shape):
    """Samples and their codes alike; rectangles, where samples are maps."""
    draw = np.random.default_rng(1)
    x, other = draw.integers(-100, 100, (2, *shape)).astype(np.int16)
    frames, others = (one.reshape(4, 7, 1, 1) if len(shape) == 2 else one for one in (x, other))
    seen = set()
    for seed in range(20):
        real, encoded = mixed(np.random.default_rng(seed), x, frames, other, others)
        assert (np.rint(real) == encoded.reshape(shape)).all()
        assert encoded.dtype == frames.dtype
        assert (real >= np.minimum(x, other) - 1e-4).all()
        assert (real <= np.maximum(x, other) + 1e-4).all()
        for one, first, second in zip(encoded, frames, others, strict=True):
            pasted = ((one == first) | (one == second)).all()
            seen.add(bool(pasted))
            if pasted:
                rows, columns = np.nonzero((one != first).any(axis=0))
                patch = np.s_[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
                assert (one[patch] == second[patch]).all()
    assert seen == ({False} if len(shape) == 2 else {False, True})


def test_mirrored_samples_are_turned_with_their_codes():
    draw = np.random.default_rng(1)
    x = draw.integers(-100, 100, (32, 2, 3, 4))
    real, encoded = mirrored(draw, x, x.astype(np.int16))
    assert (real == encoded).all()
    turned = (real == x[..., ::-1]).all(axis=(1, 2, 3))
    assert (real[~turned] == x[~turned]).all()
    assert 0 < turned.sum() < len(x)


def test_samples_are_mirrored_if_answers_stay():
    net = Net((2, 4, 5))
    net.dense(net.flatten(INPUT), 3)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(8, 2, 4, 5))
    (output,) = rectifiers_and_outputs(folded)
    shapes = {output: (3, 1, 1)}
    assert Teacher(folded, x + x[..., ::-1], shapes, 1).answers_mirrored([output])
    assert not Teacher(folded, x, shapes, 1).answers_mirrored([output])


def test_the_teacher_is_the_float_network():
    net = Net((2, 6, 6))
    at = net.relu(net.conv(INPUT, 3, geometry=SAME), cap=0.5)
    net.dense(net.flatten(at), 4)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(5, 2, 6, 6))
    rectifier, output = rectifiers_and_outputs(folded)
    teacher = Teacher(folded, x, {rectifier: (3, 6, 6), output: (4, 1, 1)}, 4)
    drives = teacher.drives(x)
    assert drives[output].shape == (4, 1, 1, 5)
    right = ann.evaluate(folded, x)
    assert drives[output].reshape(4, 5).T == pytest.approx(right, rel=1e-4, abs=1e-5)
    assert (drives[rectifier] < 0).any()
    assert (drives[rectifier] > 0.5).any()
    assert (teacher.most[rectifier] == 0.5).all()


@pytest.mark.parametrize("levels", [1, 1 << 20])
def test_rough_answers_are_as_exact_as_levels_ask(levels):
    net = Net((2, 6, 6))
    at = net.relu(net.conv(INPUT, 3, geometry=SAME))
    net.dense(net.flatten(at), 4)
    folded = net.build()
    x = np.random.default_rng(2).normal(size=(5, 2, 6, 6))
    _, output = rectifiers_and_outputs(folded)
    teacher = Teacher(folded, x, {output: (4, 1, 1)}, levels)
    exact, rough = teacher.drives(x)[output], teacher.drives(x, rough=True)[output]
    assert (exact == rough).all() == (levels > 1)
    assert rough == pytest.approx(exact, abs=1e-2 * float(np.abs(exact).max()))
