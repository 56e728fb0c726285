"""Kinds of outputs, and their figures, by hand."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from snn_compile.errors import CompileErrors, UsageError
from snn_compile.report import limits, metrics, output_figures
from snn_compile.samples.outputs import Expected, OutputKind, OutputShapes, kind_of_shape

CLASSES, REGRESSION, SEGMENTATION = OutputKind
TWO_HEADS = OutputShapes({"policy": (4,), "value": (1,)}, {})
MAPS = OutputShapes({"map": (3, 2, 2)}, {})


def test_the_figures_of_classes():
    expected = Expected("y", (3,), CLASSES, np.array([0, 1, 2, 2]))
    predicted = np.eye(3)[[0, 1, 2, 1]]
    found = metrics.judge(expected, predicted, np.eye(3)[[0, 0, 2, 1]])
    assert found == {"name": "y", "kind": "classes", "top1": 75.0, "agreement": 75.0}
    assert (metrics.measure(found), metrics.score(found)) == ("top1", 75.0)


def test_a_single_value_is_a_threshold_at_0_for_classes():
    expected = Expected("y", (1,), CLASSES, np.array([1, 0, 1]))
    values = np.array([[0.5], [-0.5], [0.0]])
    assert metrics.judge(expected, values, values)["top1"] == pytest.approx(66.6667)


def test_the_figures_of_regression():
    expected = Expected("y", (2,), REGRESSION, np.array([[0.0, 1.0], [2.0, 3.0]]))
    found = metrics.judge(expected, np.array([[0.0, 2.0], [2.0, 3.0]]), np.array([[0, 2], [1, 4]]))
    # One of four values is wrong by 1; the targets have the variance 1 around their means.
    assert (found["mse"], found["r2"]) == (0.25, 0.75)
    # Two of four values differ by 1; the variances are 1/4 and 1.
    assert (found["mse_onnx"], found["r2_onnx"]) == (0.5, pytest.approx(1 - 0.5 / 0.625))
    assert (metrics.measure(found), metrics.score(found)) == ("r2", 75.0)


def test_r2_is_unknown_where_nothing_varies_and_1_without_an_error():
    one = Expected("y", (2,), REGRESSION)
    assert metrics.judge(one, np.ones((3, 2)), np.zeros((3, 2)))["r2_onnx"] is None
    assert metrics.judge(one, np.ones((3, 2)), np.ones((3, 2)))["r2_onnx"] == 1.0


def test_the_figures_of_segmentation():
    # Classes of four pixels in two images; the last pixel of the second does not count.
    y = np.array([[[0, 0], [1, 2]], [[1, 1], [1, -1]]])
    predicted = np.moveaxis(np.eye(3)[[[[0, 1], [1, 2]], [[1, 1], [0, 0]]]], -1, 1)
    onnx = np.moveaxis(np.eye(3)[[[[0, 1], [1, 2]], [[1, 1], [0, 2]]]], -1, 1)
    found = metrics.judge(Expected("map", (3, 2, 2), SEGMENTATION, y), predicted, onnx)
    assert found["pixel_accuracy"] == pytest.approx(100 * 5 / 7, abs=1e-4)
    # Intersections over unions: class 0: 1/3, class 1: 3/5, class 2: 1/1.
    assert found["mean_iou"] == pytest.approx(100 * (1 / 3 + 3 / 5 + 1) / 3, abs=1e-4)
    assert found["agreement"] == 87.5


def test_classes_may_lie_along_the_last_axis():
    shapes = OutputShapes({"scores": (5, 2)}, {})
    labels = np.array([[0, 1, 1, 0, 1]])
    (expected,) = shapes.expected({"y": labels}, 1, "x")
    assert (expected.kind, expected.axis) == (SEGMENTATION, 1)
    found = metrics.judge(expected, np.eye(2)[labels], np.eye(2)[1 - labels])
    assert (found["pixel_accuracy"], found["agreement"]) == (100.0, 0.0)


def test_points_are_lost_by_the_output_that_lost_most():
    before = [{"kind": "classes", "top1": 90.0}, {"kind": "regression", "r2": 0.9}]
    after = [{"kind": "classes", "top1": 89.0}, {"kind": "regression", "r2": 0.85}]
    assert metrics.most_points_lost(before, after) == pytest.approx(5.0)
    assert metrics.most_points_lost(before[:1], after[:1]) == 1.0


@pytest.mark.parametrize(
    ("shape", "input_shape", "kind"),
    [
        ((10,), (1, 28, 28), CLASSES),
        ((10, 1, 1), (1, 28, 28), CLASSES),
        ((784,), (784,), REGRESSION),  # an autoencoder
        ((1,), (8,), REGRESSION),
        ((21, 16, 16), (3, 16, 16), SEGMENTATION),
        ((3, 16, 16), (3, 16, 16), REGRESSION),  # an image, as the input
        ((1, 16, 16), (3, 16, 16), REGRESSION),
        ((100, 4), (3, 16, 16), REGRESSION),
    ],
)
def test_the_shape_decides_without_labels(shape, input_shape, kind):
    assert kind_of_shape(shape, input_shape) is kind


@pytest.mark.parametrize(
    ("shapes", "y", "kind"),
    [
        ({"y": (10,)}, np.arange(2), CLASSES),
        ({"y": (1,)}, np.arange(2), CLASSES),
        ({"y": (1,)}, np.array([0.1, 0.2]), REGRESSION),
        ({"y": (3,)}, np.zeros((2, 3)), REGRESSION),
        ({"y": (3, 4, 5)}, np.zeros((2, 3, 4, 5)), REGRESSION),
        ({"y": (3, 4, 5)}, np.zeros((2, 4, 5), int), SEGMENTATION),
        ({"y": (3, 4, 5)}, np.zeros((2, 1, 4, 5), np.uint8), SEGMENTATION),
        ({"y": (1, 4, 5)}, np.ones((2, 4, 5), bool), SEGMENTATION),
        ({"y": (4, 5, 3)}, np.zeros((2, 4, 5), int), SEGMENTATION),
    ],
)
def test_integers_are_labels_and_floats_are_targets(shapes, y, kind):
    (expected,) = OutputShapes(shapes, {}, (2,)).expected({"y": y}, 2, "x")
    assert expected.kind is kind
    assert expected.y is not None
    assert metrics.judge(expected, np.ones((2, *shapes["y"])), np.ones((2, *shapes["y"])))


def test_a_stated_kind_comes_before_labels_and_shape():
    shapes = OutputShapes({"y": (3, 4, 5)}, {"": REGRESSION})
    (expected,) = shapes.expected({"y": np.ones((2, 3, 4, 5), np.uint8)}, 2, "x")
    assert (expected.kind, expected.y.dtype) == (REGRESSION, np.float64)
    assert shapes.expected({}, 2, "x")[0].kind is REGRESSION


def test_labels_are_named_after_their_outputs():
    labels = {"y_policy": np.array([3, 1]), "value": np.array([0.5, 0.25])}
    policy, value = TWO_HEADS.expected(labels, 2, "x")
    assert (policy.kind, value.kind) == (CLASSES, REGRESSION)
    assert value.y.tolist() == [[0.5], [0.25]]


def test_y_belongs_to_the_only_output_that_it_fits():
    policy, value = TWO_HEADS.expected({"y": np.array([3, 1])}, 2, "x")
    assert policy.y.tolist() == [3, 1]
    assert value.y is None
    policy, value = TWO_HEADS.expected({"y": np.array([3.5, 1])}, 2, "x")
    assert policy.y is None
    assert value.y.tolist() == [[3.5], [1.0]]


def test_y_that_fits_several_outputs_is_refused():
    with pytest.raises(UsageError, match=r"fits several outputs: policy \(4,\), value") as raised:
        TWO_HEADS.expected({"y": np.array([1, 0])}, 2, "data.npz")
    assert raised.value.code == "bad-labels"
    assert str(raised.value.origin) == "data.npz"
    assert raised.value.hint == "name it after its output: y_policy or y_value"


def test_all_complaints_come_at_once():
    shapes = OutputShapes({"policy": (4,), "value": (1,)}, {"polcy": CLASSES})
    labels = {"y_polcy": np.array([9, 1]), "y_value": np.array([1.0, np.nan])}
    (unknown,) = shapes.unknown()
    assert (unknown.code, unknown.hint) == ("unknown-output", "did you mean policy?")
    with pytest.raises(CompileErrors) as raised:
        TWO_HEADS.expected({**labels, "y_policy": np.array([4, 0])}, 2, "x")
    said = [(error.message, error.hint) for error in raised.value.errors]
    assert said[0] == ("'y_polcy' labels no output", "did you mean y_policy?")
    assert said[1][0] == "labels go from 0 to 4; they must be 0 to 3"
    assert said[2][0] == "y_value is not finite (NaN or infinity)"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 3, 2, 2), int), "y is int64 (2, 3, 2, 2); labels of this output"),
        (np.zeros((3, 2, 2), int), "y has the shape (3, 2, 2), but there are 2 samples"),
        (np.full((2, 2, 2), 3), "labels go from 0 to 3; they must be 0 to 2"),
        (np.full((2, 2, 2), 255), "y has no label that counts"),
    ],
)
def test_labels_of_maps_that_do_not_fit_are_refused(y, message):
    shapes = OutputShapes(MAPS.shapes, {"map": SEGMENTATION})
    with pytest.raises(UsageError) as raised:
        shapes.expected({"y": y}, 2, "x")
    assert raised.value.message.startswith(message)
    assert raised.value.code == "bad-labels"


def test_pixels_of_255_do_not_count():
    (expected,) = MAPS.expected({"y": np.array([[[0, 255], [2, 1]]], np.uint8)}, 1, "x")
    assert expected.y.tolist() == [[[0, -1], [2, 1]]]


@pytest.mark.parametrize(
    ("expected", "of"),
    [
        (Expected("y", (3, 4, 5), SEGMENTATION), "pixels"),
        (Expected("y", (3, 4, 1, 5), SEGMENTATION), "pixels"),
        (Expected("y", (50, 3), SEGMENTATION, axis=1), "positions"),
        (Expected("y", (3, 4, 4, 4), SEGMENTATION), "positions"),
        (Expected("y", (65536, 5), SEGMENTATION, integers=True), "integers"),
        (Expected("y", (65536, 4, 5), SEGMENTATION), "pixels"),
        (Expected("y", (65536,), CLASSES, integers=True), "integers"),
        (Expected("y", (3,), CLASSES), ""),
        (Expected("y", (3, 4), REGRESSION, integers=True), ""),
    ],
)
def test_what_an_output_has_answers_for(expected, of):
    assert expected.answers == of


def test_a_list_of_integers_is_no_map_of_pixels():
    """Figures and words of indices, as a TopK gives them."""
    y = np.array([[4, 1, 5], [8, 9, 7]])
    expected = Expected("best", (10, 3), SEGMENTATION, y, integers=True)
    found = metrics.judge(expected, y, np.array([[4, 1, 5], [8, 7, 9]]))
    assert (found["of"], found["pixel_accuracy"]) == ("integers", 100.0)
    assert found["agreement"] == pytest.approx(200 / 3, abs=1e-4)
    rungs = [{"stage": stage, "n": 2, "outputs": [found]} for stage in ("onnx", "fixed")]
    report = {"ladder": rungs, "options": {}, "coding": "graded", "timesteps": 1}
    (table,) = output_figures.tables(report)
    assert (table.kind, table.title) == ("integers", "accuracy")
    assert table.steps[0].value == "100.00 % of integers · mean IoU 100.00 %"
    assert table.steps[0].against == "66.67 % of integers equal"
    worse = {**found, "pixel_accuracy": 50.0}
    report["ladder"] = [rungs[0], {**rungs[1], "outputs": [worse]}]
    (error,) = limits.accuracy(report, 5.0, "net.onnx")
    assert "accuracy of integers of 'best' fell" in error.message


def test_many_classes_take_no_table_of_all_pairs():
    y = np.arange(200).reshape(2, 100) * 300
    expected = Expected("best", (65536, 100), SEGMENTATION, y, integers=True)
    tracemalloc.start()
    found = metrics.judge(expected, y, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found["pixel_accuracy"], found["mean_iou"]) == (100.0, 100.0)
    assert peak < 1 << 23
