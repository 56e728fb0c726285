"""Where a loss comes from: shares, signal to noise, unevenness, and the advice that follows."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from snn_compile import threads
from snn_compile.pipeline.driver import compile_model
from snn_compile.report import advice, attribution


@pytest.fixture(scope="module")
def data(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        return calibrate, (archive["x"], archive["y"])


@pytest.fixture(scope="module")
def report(examples, data):
    """The report of the network with some options, which several tests may ask for."""

    @cache
    def of(**options):
        return compiled(examples, data, **options).report

    return of


def compiled(examples, data, **options):
    calibrate, evaluate = data
    return compile_model(
        examples / "digits_cnn.onnx",
        calibrate=calibrate,
        evaluate=evaluate,
        emit=(),
        target="unlimited",
        **options,
    )


def judged(found):
    return [layer for layer in found["layers"] if layer["output_share"] is not None]


@pytest.mark.parametrize("coding", ["graded", "sync", "signed", "rate", "sigma-delta"])
def test_the_shares_of_all_layers_are_the_whole_error(report, coding):
    layers = judged(report(coding=coding, timesteps=6))
    assert sum(layer["output_share"] for layer in layers) == pytest.approx(1)
    assert [layer["name"] for layer in layers] == ["relu1", "relu2", "logits"]


def test_codings_that_decide_on_one_sum_have_no_unevenness(report):
    for coding in ("sync", "graded", "sigma-delta"):
        layers = judged(report(coding=coding, timesteps=6))
        assert [layer["uneven"] for layer in layers[:-1]] == [0, 0]


def test_signed_spikes_are_less_uneven_than_binary_ones(report):
    uneven = {
        coding: judged(report(coding=coding, timesteps=12))[1]["uneven"]
        for coding in ("rate", "signed")
    }
    assert 0 < uneven["signed"] < uneven["rate"]


def test_a_spike_that_is_too_many_is_counted(report):
    """The first layer sees a constant current: its counts are what its drive is worth."""
    first = judged(report(coding="rate", timesteps=12))[0]
    assert first["uneven"] == 0


def test_after_a_reset_to_zero_counts_are_not_compared(report):
    layers = judged(report(coding="rate", timesteps=6, reset="zero"))
    assert [layer["uneven"] for layer in layers[:-1]] == [None, None]


def test_cut_off_activations_are_named_with_what_to_try(report):
    """Half of all activations beyond full scale: no rounding error comes near that."""
    found = report(coding="graded", thresholds="percentile:50")
    assert min(layer["saturated"] for layer in judged(found)[:-1]) > 0.1
    assert "of its activations are cut off: try --thresholds" in advice.costliest(found)


def test_narrow_weights_are_named(report):
    found = report(coding="graded", weight_bits=2, bias_correction=False)
    assert "try --weight-bits 8" in advice.costliest(found)


def test_uneven_spikes_are_named():
    layer = {"name": "conv3", "output_share": 0.4, "sqnr_db": 12.0, "uneven": 0.2, "saturated": 0.1}
    text = advice.costliest({"coding": "rate", "layers": [layer]})
    assert text == (
        "conv3: adds 40.0 % of the output's error, signal to noise 12.0 dB; 20.0 % of its spikes"
        " are too many or too few because of when they come: try --coding sync, or more --timesteps"
    )


def test_nothing_is_named_where_nothing_is_lost():
    layer = {"name": "conv3", "output_share": 0.0, "sqnr_db": None}
    assert advice.costliest({"coding": "graded", "layers": [layer]}) == ""


def test_pieces_of_one_sample_give_the_same_figures(examples, data, report, monkeypatch):
    """Sums of floats in another order: equal up to their last bits."""
    whole = judged(report(coding="rate", timesteps=6))
    monkeypatch.setattr(attribution, "PIECE_BYTES", 1)
    made = compiled(examples, data, coding="rate", timesteps=6)
    for one, other in zip(whole, judged(made.report), strict=True):
        for key in ("sqnr_db", "saturated", "uneven", "output_share"):
            assert other[key] == (one[key] and pytest.approx(one[key], rel=1e-9)), key


def test_fewer_samples_than_usual_are_stated(examples, data, monkeypatch):
    assert "attributed" not in compiled(examples, data).report
    monkeypatch.setattr(attribution, "WORK", 1)
    found = compiled(examples, data).report
    assert found["attributed"] == attribution.FEWEST
    assert sum(layer["output_share"] for layer in judged(found)) == pytest.approx(1)


def test_products_have_one_thread_and_the_losses_depend_on_no_number_of_threads(
    examples, data, monkeypatch
):
    calibrate, (x, y) = data
    forward, seen, found = attribution.ann.forward, [], []

    def watched(*given, **more):
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return forward(*given, **more)

    measure = attribution.attribute

    def attribute(*given, **more):
        with monkeypatch.context() as inside, threadpool_limits(2):
            inside.setattr(attribution.ann, "forward", watched)
            for n in (1, 3):
                threads.limit_to(n)
                found.append(measure(*given, **more))
        return found[-1]

    monkeypatch.setattr(attribution, "attribute", attribute)
    try:
        compiled(examples, (calibrate[:64], (x[:16], y[:16])), coding="graded")
    finally:
        threads.limit_to(None)
    assert set(seen) == {1}
    assert found[0] == found[1]
