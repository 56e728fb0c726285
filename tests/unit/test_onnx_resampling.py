"""Interpolation by whole factors as a convolution to phases, and as a matrix along each axis."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models import assert_same, evaluate_all, imported, model, node, ops
from snn_frontends.onnx.operators import resampling

POSITIONS = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric"]
KINDS = [("linear", how, rank) for how in POSITIONS for rank in (1, 2)]
KINDS += [("cubic", how, 2) for how in POSITIONS]


def resized(factors, size, mode, how):
    """A resize of two channels; with aligned corners, by its sizes."""
    shape = ("N", 2, *size)
    place = {"mode": mode, "coordinate_transformation_mode": how}
    if how != "align_corners":
        scales = np.float32([1, 1, *factors])
        return model([node("Resize", "x - s", "y", **place)], shape, {"s": scales}, opset=19)
    sizes = np.array([(n - 1) * f + 1 for n, f in zip(size, factors, strict=True)])
    place["axes"] = list(range(2, len(shape)))
    return model([node("Resize", "x - - s", "y", **place)], shape, {"s": sizes}, opset=19)


def in_both_forms(monkeypatch, made, n_phases):
    """Sums that float32 holds exactly, by phases and by matrices; also onnxruntime's match."""
    phases = assert_same(made)
    kernels = [n.shape[0] for n in phases.ann.graph if type(n).__name__ == "Conv"]
    assert kernels == [2 * n_phases]
    monkeypatch.setattr(resampling, "_steps", lambda *_: [])
    matrices = imported(made)
    assert "AxisMatrix" in ops(matrices)
    shape = (3, *next(iter(phases.ann.graph)).shape)
    x = np.random.default_rng(1).integers(-4, 5, shape).astype(np.float64)
    return evaluate_all(phases, x)[0], evaluate_all(matrices, x)[0]


@pytest.mark.parametrize(("mode", "how", "rank"), KINDS)
def test_factors_that_are_powers_of_two_are_equal(monkeypatch, mode, how, rank):
    made = resized((4, 2)[:rank], (5, 3)[:rank], mode, how)
    phases, matrices = in_both_forms(monkeypatch, made, (4, 8)[rank - 1])
    assert np.array_equal(phases, matrices)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("how", POSITIONS)
def test_other_factors_differ_by_positions_in_float32(monkeypatch, mode, how):
    made = resized((3, 5), (4, 1), mode, how)
    phases, matrices = in_both_forms(monkeypatch, made, 15)
    np.testing.assert_allclose(phases, matrices, atol=1e-4)


@pytest.mark.parametrize("size", [(5, 3), (2, 2)])
def test_aligned_corners(monkeypatch, size):
    made = resized((4, 2), size, "linear", "align_corners")
    phases, matrices = in_both_forms(monkeypatch, made, 8)
    assert np.array_equal(phases, matrices)


def test_one_axis_alone():
    assert_same(resized((1, 2), (3, 4), "linear", "half_pixel"))
    assert_same(resized((2, 1), (1, 4), "cubic", "half_pixel"))


def test_factors_that_are_not_whole_are_matrices():
    assert ops(assert_same(resized((1.5,), (4,), "linear", "half_pixel"))) == ["AxisMatrix"]


def test_long_axes_need_no_matrix():
    made = model(
        [node("Resize", "x - s", "y", mode="linear")],
        ("N", 1, 8_000),
        {"s": np.float32([1, 1, 2])},
        opset=19,
    )
    assert "AxisMatrix" not in ops(imported(made))
