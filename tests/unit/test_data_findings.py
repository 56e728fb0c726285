"""What the compiler says about doubtful data, and that it is silent about good data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from snn_compile import compile_model
from snn_compile.convert.data_findings import MIN_SAMPLES, data_findings, kolmogorov_smirnov
from snn_compile.samples.arrays import Samples

MODELS = ("cifar10_resnet20", "fashion_vggbn", "mnist_cnn_cntk", "mnist_mlp_256x2")


def images(n: int, seed: int, shape: tuple[int, ...] = (3, 8, 8)) -> np.ndarray:
    """Images of various brightness and contrast."""
    random = np.random.default_rng(seed)
    column = (n, *[1] * len(shape))
    noise = random.uniform(-1, 1, (n, *shape))
    return (random.uniform(0.3, 0.7, column) + random.uniform(0, 0.3, column) * noise).astype("f")


def codes(calibrate, evaluate=None) -> list[str]:
    found = data_findings(
        None if calibrate is None else Samples(calibrate),
        None if evaluate is None else Samples(evaluate),
    )
    assert all(finding.warning and finding.hint for finding in found)
    return [finding.code for finding in found]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (64,), (784, 1), (4,), (1,)])
def test_samples_of_one_kind_raise_no_doubt(shape):
    assert codes(images(300, 0, shape), images(2000, 1, shape)) == []


def test_without_calibration_there_is_one_thing_to_say():
    assert codes(None, images(2000, 1)) == ["not-calibrated"]


def test_without_evaluation_only_the_calibration_samples_count():
    assert codes(images(MIN_SAMPLES, 0)) == []


def test_few_samples():
    (finding,) = data_findings(Samples(images(MIN_SAMPLES - 1, 0)), Samples(images(2000, 1)))
    assert finding.code == "few-samples"
    assert "31 different" in finding.message
    assert "one input in 32" in finding.message


def test_copies_of_few_samples_are_few_samples():
    calibrate = np.tile(images(10, 0), (20, 1, 1, 1))
    found = data_findings(Samples(calibrate), None)
    assert [finding.code for finding in found] == ["few-samples", "constant-samples"]
    assert "190 repeated" in found[1].message
    assert "10 are informative" in found[1].message


@pytest.mark.parametrize("shape", [(3, 8, 8), (784, 1)])
def test_constant_samples(shape):
    calibrate = images(300, 0, shape)
    calibrate[:30] = np.linspace(0.3, 0.7, 30).reshape(-1, *[1] * len(shape))
    (finding,) = data_findings(Samples(calibrate), None)
    assert finding.code == "constant-samples"
    assert "30 constant" in finding.message
    assert "270 are informative" in finding.message


def test_uniformly_coloured_images_are_constant():
    calibrate = images(300, 0)
    calibrate[:30] = np.random.default_rng(2).uniform(0.3, 0.7, (30, 3, 1, 1))
    assert codes(calibrate) == ["constant-samples"]


def test_a_blank_sample_among_many_is_not_worth_a_word():
    calibrate = images(300, 0)
    calibrate[0] = 0
    assert codes(calibrate) == []


def test_single_values_are_not_constant_samples():
    assert codes(images(300, 0, (1,))) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x * 255,
        lambda x: x / 255,
        lambda x: x - 0.5,
        lambda x: 1 - 0.5 * x,
        lambda x: 0.2 * x + 0.8 * x.mean(axis=(2, 3), keepdims=True),
        lambda x: x * np.array([1, 1, 1.5], "f")[:, None, None],
    ],
    ids=["raw pixels", "scaled twice", "mean subtracted", "inverted", "flat", "one channel"],
)
def test_other_preprocessing_is_a_shift(change):
    assert codes(change(images(300, 0)), images(2000, 1)) == ["distribution-shift"]


def test_inputs_that_leave_the_encoded_range():
    calibrate, evaluate = images(300, 0), images(2000, 1)
    low, high = (end(calibrate, axis=(0, 2, 3))[:, None, None] for end in (np.min, np.max))
    evaluate = np.clip(evaluate, np.minimum(low, 0), high)
    assert codes(calibrate, evaluate) == []
    evaluate[:100, 1, 0, 0] = 3
    (finding,) = data_findings(Samples(calibrate), Samples(evaluate))
    assert finding.code == "distribution-shift"
    assert "5.0% of the evaluation samples leave the encoded range" in finding.message


def test_one_feature_of_a_vector_may_shift():
    evaluate = np.random.default_rng(1).normal(size=(2000, 8)).astype("f")
    calibrate = np.random.default_rng(0).normal(size=(300, 8)).astype("f")
    calibrate[:, 5] -= 1
    (finding,) = data_findings(Samples(calibrate), Samples(evaluate))
    assert finding.code == "distribution-shift"
    assert "feature 5" in finding.message


def test_few_evaluation_samples_prove_no_shift():
    x = images(2000, 1)
    bright = x[np.argsort(x.mean(axis=(1, 2, 3)))[-200:-100]]
    assert codes(images(300, 0), bright) == ["distribution-shift"]
    assert codes(images(300, 0), bright[::25]) == []


def test_evaluation_samples_among_the_calibration_samples():
    calibrate, evaluate = images(300, 0), images(2000, 1)
    calibrate[7], calibrate[99] = evaluate[1500], evaluate[3]
    (finding,) = data_findings(Samples(calibrate), Samples(evaluate))
    assert finding.code == "evaluation-in-calibration"
    assert finding.message.startswith("2 of 2,000")


def test_the_same_values_in_another_type_are_the_same_samples():
    calibrate = np.random.default_rng(0).integers(0, 256, (300, 1, 8, 8), np.uint8)
    evaluate = np.concatenate([calibrate[:1], 255 - calibrate]).astype("f")
    assert codes(calibrate, evaluate) == ["evaluation-in-calibration"]


def test_nearly_equal_samples_are_others():
    calibrate = images(300, 0)
    evaluate = images(2000, 1)
    evaluate[0] = calibrate[0]
    evaluate[0, 2, 7, 7] = np.nextafter(evaluate[0, 2, 7, 7], np.float32(1))
    assert codes(calibrate, evaluate) == []


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=30),
    st.lists(st.integers(0, 20), min_size=1, max_size=30),
)
def test_the_distance_is_that_of_scipy(a, b):
    a, b = np.array(a, float), np.array(b, float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about p-values, which nobody reads here
        expected = ks_2samp(a, b).statistic
    assert kolmogorov_smirnov(a, b) == pytest.approx(expected)


def test_the_rate_of_false_alarms_is_small():
    """Small sets of one distribution: those that differ most by chance."""
    alarms = [codes(images(32, 2 * i), images(40, 2 * i + 1)) for i in range(200)]
    assert sum(map(len, alarms)) <= 1


def test_the_compiler_passes_the_warnings_on(examples):
    with np.load(examples / "digits_evaluate.npz") as archive:
        x, y = archive["x"], archive["y"]
    calibrate = np.concatenate([x[:10], x[:10]])
    model = compile_model(
        examples / "digits_mlp.onnx", calibrate=calibrate, evaluate=(x, y), emit=()
    )
    found = {warning["code"]: warning for warning in model.report["warnings"]}
    assert {"few-samples", "constant-samples", "evaluation-in-calibration"} <= set(found)
    assert found["evaluation-in-calibration"]["message"].startswith("10 of ")


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_no_false_alarm_about_the_examples(examples, name):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        evaluate = archive["x"]
    assert codes(calibrate, evaluate) == []


@pytest.mark.shared_data
@pytest.mark.parametrize("name", MODELS)
def test_no_false_alarm_about_the_shared_data(model_data, name):
    data = model_data(name)
    with np.load(data.calibrate) as archive:
        calibrate = archive["x"]
    with np.load(data.evaluate) as archive:
        evaluate = archive["x"]
    assert codes(calibrate, evaluate) == []
    for n in (32, 128, 512):
        assert codes(calibrate[-n:], evaluate[:2000]) == []
