"""Wrong data is noticed, and right data is not doubted: 20 set-ups of each on a tiny network.

The network answers with the class whose template is nearest to the pixels. Templates differ in
colour, place and brightness, so that every part of the preprocessing matters to it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_trials import warnings_on
from onnx_models import model, node
from snn_compile.significance import binomial_tail, chance_of_gain

N, K, SIDE = 600, 10, 8
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CIFAR = [0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616]
SIGNED = [0.5], [0.5]
NORMALIZATIONS = {
    "0..1": ([0.0], [1.0]),
    "0..255": ([0.0], [1 / 255]),
    "-1..1": SIGNED,
    "imagenet": IMAGENET,
    "cifar": CIFAR,
}


def templates(channels: int) -> np.ndarray:
    random = np.random.default_rng(7)
    shape = (K, channels, SIDE, SIDE)
    tint = random.uniform(0.3, 1, (K, channels, 1, 1))
    return np.clip(tint * random.uniform(0, 1, shape) * random.uniform(0.2, 1, (K, 1, 1, 1)), 0, 1)


def pixels(channels: int, noise: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Images from 0 to 1, some on either end, and their classes."""
    random = np.random.default_rng(8)
    y = random.integers(0, K, N)
    p = templates(channels)[y] + random.normal(0, noise, (N, channels, SIDE, SIDE))
    return np.rint(255 * np.clip(p, 0, 1)).astype(np.uint8), y


def column(values: list[float]) -> np.ndarray:
    return np.array(values).reshape(-1, 1, 1)


def normalized(p: np.ndarray, name: str) -> np.ndarray:
    mean, scale = map(column, NORMALIZATIONS[name])
    return ((p / 255 - mean) / scale).astype(np.float32)


def network(folder: Path, name: str, channels: int = 3, *, flat: bool = False) -> Path:
    """The network for pixels of a normalization, or for such pixels in a row."""
    mean, scale = map(column, NORMALIZATIONS[name])
    of = templates(channels)
    weight = (2 * of * scale).reshape(K, -1)
    bias = 2 * (of * mean).sum(axis=(1, 2, 3)) - (of**2).sum(axis=(1, 2, 3))
    constants = {"w": weight.T.astype(np.float32), "b": bias.astype(np.float32)}
    nodes = [node("Flatten", "x", "row"), node("Gemm", "row w b", "y")]
    shape = ("N", channels * SIDE * SIDE) if flat else ("N", channels, SIDE, SIDE)
    path = folder / "net.onnx"
    onnx.save(model(nodes, shape, constants), path)
    return path


def flags(name: str) -> dict[str, list[float]]:
    """The options for pixels from 0 to 255."""
    mean, scale = NORMALIZATIONS[name]
    return {"mean_values": [255 * m for m in mean], "scale_values": [255 * s for s in scale]}


@pytest.mark.parametrize("name", NORMALIZATIONS)
@pytest.mark.parametrize("form", ["floats", "bytes", "flat", "last"])
def test_right_set_ups_raise_no_doubt(form, name, tmp_path):
    channels = 3 if name in ("imagenet", "cifar") else 1 + 2 * (form == "last")
    p, y = pixels(channels)
    if form == "bytes":
        assert not warnings_on(network(tmp_path, name, channels), p, y, **flags(name))
    elif form == "flat":
        x = normalized(p, name).reshape(N, -1)
        assert not warnings_on(network(tmp_path, name, channels, flat=True), x, y)
    elif form == "last":
        x = np.moveaxis(normalized(p, name), 1, -1)
        assert not warnings_on(network(tmp_path, name, channels), x, y, layout="nhwc")
    else:
        assert not warnings_on(network(tmp_path, name, channels), normalized(p, name), y)


def read_as(wanted: str, had: str) -> tuple[str, str, Callable[..., Any]]:
    """Samples of one normalization before a network of another."""
    return wanted, "other-normalization", lambda p, y: (normalized(p, had), y, {})


Y_OF: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "labels-shifted": lambda y: (y + 1) % K,
    "labels-displaced": lambda y: np.roll(y, 1),
    "labels-permuted": lambda y: np.array(sorted(range(K), key=lambda c: (c % 3, c)))[y],
    "no-better-than-guessing": lambda y: np.random.default_rng(9).permutation(y),
}
WRONG: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "0..255 for 0..1": read_as("0..1", "0..255"),
    "0..1 for 0..255": read_as("0..255", "0..1"),
    "-1..1 for 0..1": read_as("0..1", "-1..1"),
    "0..1 for -1..1": read_as("-1..1", "0..1"),
    "0..1 for ImageNet's": read_as("imagenet", "0..1"),
    "0..255 for ImageNet's": read_as("imagenet", "0..255"),
    "0..1 for CIFAR's": read_as("cifar", "0..1"),
    "ImageNet's for 0..1": read_as("0..1", "imagenet"),
    "ImageNet's for 0..255": read_as("0..255", "imagenet"),
    "ImageNet's twice": (
        "imagenet",
        "other-normalization",
        lambda p, y: (
            normalized(p, "imagenet"),
            y,
            {"mean_values": IMAGENET[0], "scale_values": IMAGENET[1]},
        ),
    ),
    "bytes as they are": (
        "imagenet",
        "other-normalization",
        lambda p, y: (p, y, {"scale_values": [1.0]}),
    ),
    "bytes over 255": (
        "imagenet",
        "other-normalization",
        lambda p, y: (p, y, {"scale_values": [255.0]}),
    ),
    "inverted": (
        "0..1",
        "other-normalization",
        lambda p, y: (normalized(255 - p, "0..1"), y, {}),
    ),
    "BGR": (
        "0..1",
        "other-colour-order",
        lambda p, y: (normalized(p, "0..1")[:, ::-1], y, {}),
    ),
    "BGR, channels last": (
        "0..1",
        "other-colour-order",
        lambda p, y: (np.moveaxis(normalized(p, "0..1")[:, ::-1], 1, -1), y, {"layout": "nhwc"}),
    ),
    "height for width": (
        "0..1",
        "other-axis-order",
        lambda p, y: (normalized(p, "0..1").swapaxes(2, 3), y, {}),
    ),
    "channels last, reshaped": (
        "0..1",
        "other-axis-order",
        lambda p, y: (np.moveaxis(normalized(p, "0..1"), 1, -1).reshape(p.shape), y, {}),
    ),
    "a class less": (
        "0..1",
        "classes-missing",
        lambda p, y: (normalized(p[y < K - 1], "0..1"), y[y < K - 1], {}),
    ),
    **{
        code: (
            "0..1",
            code,
            lambda p, y, code=code: (normalized(p, "0..1"), Y_OF[code](y), {}),
        )
        for code in Y_OF
    },
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_set_ups_are_named(case, tmp_path):
    name, code, spoil = WRONG[case]
    x, y, options = spoil(*pixels(3))
    found = warnings_on(network(tmp_path, name), x, y, **options)
    assert [finding.code for finding in found] == [code]
    assert all(finding.hint for finding in found)


@pytest.mark.parametrize("had", ["0..255", "-1..1", "imagenet"])
def test_the_flags_in_the_hint_mend_it(had, tmp_path):
    p, y = pixels(3)
    path, x = network(tmp_path, "0..1"), normalized(p, had)
    (finding,) = warnings_on(path, x, y)
    words = finding.hint.partition(" (")[0].partition(";")[0].removeprefix("set ").split()
    options = dict(
        zip((word[2:].replace("-", "_") for word in words[::2]), words[1::2], strict=True)
    )
    assert not warnings_on(path, x, y, **options)


def test_what_no_option_says_is_said_of_the_data(tmp_path):
    p, y = pixels(3)
    x = normalized(p, "0..1")
    (finding,) = warnings_on(network(tmp_path, "0..1"), x[:, ::-1], y)
    assert "x[:, ::-1]" in finding.hint
    (finding,) = warnings_on(network(tmp_path, "0..1"), x, (y + 3) % K)
    assert "(y - 3) % 10" in finding.hint


def test_two_wrongs_at_once(tmp_path):
    p, y = pixels(3)
    (finding,) = warnings_on(network(tmp_path, "0..1"), normalized(p, "0..255")[:, ::-1], y)
    assert "--scale-values 255" in finding.hint
    assert "x[:, ::-1]" in finding.hint


def test_where_nearly_all_answers_are_right_nothing_is_tried(tmp_path, monkeypatch):
    p, y = pixels(3, noise=0.05)
    import snn_compile.data_checks.trial as trial

    monkeypatch.setattr(trial.Trial, "_better", None)  # it would be called
    assert not warnings_on(network(tmp_path, "0..1"), normalized(p, "0..1"), y)


def test_an_expensive_network_is_left_alone_and_that_is_noted(tmp_path, monkeypatch):
    from snn_compile.data_checks import trial

    monkeypatch.setattr(trial, "MULTIPLICATIONS", 1000)
    p, y = pixels(3)
    found = warnings_on(network(tmp_path, "0..1"), normalized(p, "0..255"), y, notes=True)
    assert [finding.code for finding in found] == ["data-not-tried"]


def regression(folder: Path) -> Path:
    weight = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    path = folder / "net.onnx"
    onnx.save(model([node("MatMul", "x w", "y")], ("N", 6), {"w": weight}), path)
    return path


def answers_of(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"x": x})[0])


def test_targets_in_another_unit_and_targets_of_nothing(tmp_path):
    path, random = regression(tmp_path), np.random.default_rng(2)
    x = random.uniform(0, 1, (N, 6)).astype(np.float32)
    y = answers_of(path, x) + random.normal(0, 0.1, (N, 2)).astype(np.float32)
    assert not warnings_on(path, x, y)
    (finding,) = warnings_on(path, x, 1000 * y)
    assert finding.code == "outputs-unlike-labels"
    assert "about 0.00" in finding.message
    (finding,) = warnings_on(path, x, random.permutation(y) * 1.5)
    assert finding.code == "no-better-than-guessing"


def test_probabilities_as_targets(tmp_path):
    p, y = pixels(3)
    soft = np.full((N, K), 0.02, np.float32)
    soft[np.arange(N), y] = 0.82
    (finding,) = warnings_on(network(tmp_path, "0..1"), normalized(p, "0..1"), soft)
    assert finding.code == "outputs-unlike-labels"
    assert "argmax" in finding.hint


def test_distances_are_no_scores(tmp_path):
    p, y = pixels(3)
    path = network(tmp_path, "0..1")
    made = onnx.load(path)
    made.graph.node[-1].output[0] = "z"
    made.graph.node.append(node("Neg", "z", "y"))
    onnx.save(made, path)
    (finding,) = warnings_on(path, normalized(p, "0..1"), y)
    assert finding.code == "outputs-unlike-labels"
    assert "smallest" in finding.message


def test_few_or_unlabelled_samples_raise_no_doubt(tmp_path):
    p, y = pixels(3)
    path, x = network(tmp_path, "0..1"), normalized(p, "0..255")
    assert not warnings_on(path, x[:10], y[:10])
    assert not warnings_on(path, x, None)


def test_an_unbalanced_set_of_one_common_class_raises_no_doubt(tmp_path):
    p, y = pixels(3, noise=0.3)
    kept = (y == 0) | (np.arange(N) % 25 == 0)
    assert not warnings_on(network(tmp_path, "0..1"), normalized(p[kept], "0..1"), y[kept])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.01, 0.99))
def test_binomial_tail(k, n, share):
    from scipy.stats import binomtest  # a second to import, for each worker

    expected = binomtest(min(k, n), n, share, alternative="greater").pvalue if k <= n else 0.0
    assert binomial_tail(k, n, share) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_paired_test_counts_only_what_differs():
    from scipy.stats import binomtest

    before, after = np.zeros(100), np.zeros(100)
    after[:10] = 1
    before[10] = 1
    assert chance_of_gain(after, before) == pytest.approx(binomtest(10, 11, 0.5, "greater").pvalue)
