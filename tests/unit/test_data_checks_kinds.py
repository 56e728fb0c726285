"""Wrong data of other kinds: recordings, maps, several inputs. Right data is not doubted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from data_trials import warnings_on
from onnx_models import model, node
from snn_compile import compile_model

K, N, SIDE, T = 5, 160, 8, 4


# Recordings: templates that differ in polarity, and under every turn and mirror.


def of_events() -> np.ndarray:
    random = np.random.default_rng(3)
    return (random.random((K, 2, SIDE, SIDE)) < 0.25).astype(np.float64)


def spiking_network(path: Path) -> Path:
    """One neuron a class, whose weights are the template less the mean of all."""
    nir = pytest.importorskip("nir")
    weights = of_events() - of_events().mean(axis=0)
    nodes = {
        "input": nir.Input({"input": np.array([2, SIDE, SIDE])}),
        "flat": nir.Flatten({"input": np.array([2, SIDE, SIDE])}, 0, -1),
        "dense": nir.Linear(weights.reshape(K, -1)),
        "neurons": nir.IF(r=np.ones(K), v_threshold=np.full(K, 2.0)),
        "output": nir.Output({"output": np.array([K])}),
    }
    names = list(nodes)
    nir.write(str(path), nir.NIRGraph(nodes, list(pairwise(names))))
    return path


def recordings() -> tuple[np.ndarray, np.ndarray]:
    """Trains (N, T, 2, H, W) with the events of a template, and noise; and their classes."""
    random = np.random.default_rng(4)
    y = random.integers(0, K, N)
    rate = 0.8 * of_events()[y] + 0.08
    return random.poisson(rate[:, None], (N, T, 2, SIDE, SIDE)), y


EVENTS = {
    "right": (lambda x, y: (x, y), []),
    "without labels": (lambda x, y: (x, None), []),
    "fewer classes, in order": (lambda x, y: (x[y > 0], y[y > 0]), ["classes-missing"]),
    "labels from 1": (lambda x, y: (x, (y + 1) % K), ["labels-shifted"]),
    "labels of the next one": (lambda x, y: (x, np.roll(y, 1)), ["labels-displaced"]),
    "classes in another order": (
        lambda x, y: (x, np.array([2, 0, 1, 4, 3])[y]),
        ["labels-permuted"],
    ),
    "labels of no sample": (
        lambda x, y: (x, np.random.default_rng(5).permutation(y)),
        ["no-better-than-guessing"],
    ),
    "on and off exchanged": (lambda x, y: (x[:, :, ::-1], y), ["other-polarity"]),
    "x and y exchanged": (lambda x, y: (x.swapaxes(3, 4), y), ["other-axis-order"]),
    "counted from below": (lambda x, y: (x[:, :, :, ::-1], y), ["other-axis-order"]),
    "mirrored": (lambda x, y: (x[..., ::-1], y), ["other-axis-order"]),
    "evaluated on what calibrates": (None, ["evaluation-in-calibration"]),
    "silent": (
        lambda x, y: (x * (np.arange(N) % 4 > 0).reshape(-1, 1, 1, 1, 1), y),
        ["constant-samples"],
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_recordings(name, tmp_path):
    change, expected = EVENTS[name]
    x, y = recordings()
    calibrate, evaluate = x[:40], (x[40:], y[40:])
    evaluate = evaluate if change is None else change(x, y)
    if change is not None:
        calibrate = np.random.default_rng(6).poisson(x[:60] * 0.8 + 0.1)
    else:
        evaluate = x, y
    compiled = compile_model(
        spiking_network(tmp_path / "net.nir"),
        calibrate=calibrate,
        evaluate=evaluate,
        timesteps=T,
        nir_producer="other",
        nir_reset="zero",
        emit=(),
    )
    found = [w["code"] for w in compiled.report["warnings"] if w["code"] not in NOT_OF_DATA]
    assert found == expected


NOT_OF_DATA = ("not-portable", "distribution-shift")


# Maps: a class for each pixel, by its nearest colour.


def colours() -> np.ndarray:
    return np.random.default_rng(11).uniform(0, 1, (K, 3))


def segmenter(path: Path) -> Path:
    """Scores of each colour, for pixels from 0 to 1."""
    of = colours()
    weights = {
        "w": (2 * of).reshape(K, 3, 1, 1).astype(np.float32),
        "b": -(of**2).sum(axis=1).astype(np.float32),
    }
    onnx.save(model([node("Conv", "x w b", "y", "y")], ("N", 3, SIDE, SIDE), weights), str(path))
    return path


def maps() -> tuple[np.ndarray, np.ndarray]:
    """Images of patches with noise, and the class of each pixel."""
    random = np.random.default_rng(12)
    y = random.integers(0, K, (N, SIDE // 4, SIDE // 4)).repeat(4, axis=1).repeat(4, axis=2)
    x = np.moveaxis(colours()[y], -1, 1) + random.normal(0, 0.12, (N, 3, SIDE, SIDE))
    return np.clip(x, 0, 1).astype(np.float32), y


MAPS = {
    "right": (lambda x, y: (x, y), []),
    "with pixels that do not count": (lambda x, y: (x, np.where(y == 1, 255, y)), []),
    "labels from 1": (lambda x, y: (x, (y + 1) % K), ["labels-shifted"]),
    "labels of the next one": (lambda x, y: (x, np.roll(y, 1, axis=0)), ["labels-displaced"]),
    "bytes as floats": (lambda x, y: (255 * x, y), ["other-normalization"]),
    "BGR": (lambda x, y: (x[:, ::-1], y), ["other-colour-order"]),
    "labels turned": (lambda x, y: (x.swapaxes(2, 3), y), ["other-axis-order"]),
    "labels of no sample": (
        lambda x, y: (x, np.random.default_rng(5).permutation(y.reshape(-1)).reshape(y.shape)),
        ["no-better-than-guessing"],
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps(name, tmp_path):
    change, expected = MAPS[name]
    x, y = change(*maps())
    found = warnings_on(segmenter(tmp_path / "net.onnx"), x, y)
    assert [finding.code for finding in found] == expected


# Several inputs: an image and a vector, each with a half of the evidence.


NOISE = 0.4, 2.0
"""Standard deviations of the image's values, and of the vector's; the network knows them."""


def of_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Templates that differ in colour and brightness."""
    random = np.random.default_rng(21)
    tint, light = random.uniform(0.3, 1, (K, 3, 1, 1)), random.uniform(0.2, 1, (K, 1, 1, 1))
    image = tint * light * random.uniform(0, 1, (K, 3, SIDE, SIDE))
    return image, random.normal(size=(K, 12))


def two_inputs(path: Path) -> Path:
    image, vector = of_pairs()
    nodes = [
        node("Flatten", "image", "row"),
        node("Gemm", "row v b", "of_image"),
        node("MatMul", "vector w", "of_vector"),
        node("Add", "of_image of_vector", "y", "y"),
    ]
    constants = {
        "v": (2 * image).reshape(K, -1).T / NOISE[0] ** 2,
        "b": -(image**2).sum(axis=(1, 2, 3)) / NOISE[0] ** 2 - (vector**2).sum(1) / NOISE[1] ** 2,
        "w": 2 * vector.T / NOISE[1] ** 2,
    }
    graph = helper.make_graph(
        nodes,
        "two",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIDE, SIDE]),
            helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", 12]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", K])],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, str(path))
    return path


def pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random, (image, vector) = np.random.default_rng(22), of_pairs()
    y = random.integers(0, K, 400)
    a = image[y] + random.normal(0, NOISE[0], (400, 3, SIDE, SIDE))
    v = vector[y] + random.normal(0, NOISE[1], (400, 12))
    return np.clip(a, 0, 1).astype(np.float32), v.astype(np.float32), y


PAIRS = {
    "right": (lambda a, v, y: (a, v, y), []),
    "labels from 1": (lambda a, v, y: (a, v, (y + 1) % K), ["labels-shifted"]),
    "bytes as floats": (lambda a, v, y: (255 * a, v, y), ["other-normalization"]),
    "BGR": (lambda a, v, y: (a[:, ::-1], v, y), ["other-colour-order"]),
    "labels of no sample": (
        lambda a, v, y: (a, v, np.random.default_rng(5).permutation(y)),
        ["no-better-than-guessing"],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_several_inputs(name, tmp_path):
    change, expected = PAIRS[name]
    a, v, y = change(*pairs())
    found = warnings_on(two_inputs(tmp_path / "net.onnx"), {"image": a, "vector": v}, y)
    assert [finding.code for finding in found] == expected
    if expected and expected[0].startswith("other"):
        assert "'image'" in found[0].message


# Features of sound: bands over time, as logarithms to base 10.


def spectra() -> np.ndarray:
    random = np.random.default_rng(31)
    return random.uniform(-4, 0, (K, 1, 6)) + random.normal(0, 0.5, (K, 9, 6))


def listener(path: Path) -> Path:
    of = spectra().reshape(K, -1)
    weights = {"w": 2 * of.T, "b": -(of**2).sum(axis=1)}
    nodes = [node("Flatten", "x", "row"), node("Gemm", "row w b", "y", "y")]
    constants = {name: values.astype(np.float32) for name, values in weights.items()}
    onnx.save(model(nodes, ("N", 9, 6), constants), str(path))
    return path


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1.0, ""),
        (0.2303, "log=db"),
        (10.0, "log=log10"),
        (0.1, "log=db"),
        (0.4343, "log=ln"),
    ],
)
def test_logarithms_of_another_base(factor, said, tmp_path):
    random = np.random.default_rng(32)
    y = random.integers(0, K, N)
    x = spectra()[y] + random.normal(0, 1.2, (N, 9, 6))
    found = warnings_on(listener(tmp_path / "net.onnx"), (factor * x).astype(np.float32), y)
    if not said:
        assert found == []
        return
    (finding,) = found
    assert finding.code == "other-normalization"
    assert "logarithms" in finding.message
    stated = float(finding.hint.split("--scale-values ")[1].split()[0].rstrip(";"))
    assert stated == pytest.approx(factor, rel=0.25)
