"""Random small ONNX networks through the whole compiler, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnx_models
from onnx_models import node
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.sim import ann

SHAPE = (2, 8, 8)


def random_model(seed):
    """Blocks as networks have them: plain, residual, dense, depthwise, bottleneck, pooled."""
    random = np.random.default_rng(seed)
    constants, nodes = {}, []
    value, shape = "x", SHAPE

    def constant(array):
        name = f"k{len(constants)}"
        constants[name] = np.asarray(array, np.float32)
        return name

    def conv(source, n_in, n_out, kernel=3, groups=1, **attributes):
        name = f"v{len(nodes)}"
        size = (n_out, n_in // groups, kernel, kernel)
        weight = random.normal(size=size) * np.sqrt(2 / np.prod(size[1:]))
        inputs = [source, constant(weight), constant(random.normal(size=n_out) / 4)]
        pads = attributes.pop("pads", [kernel // 2] * 4)
        nodes.append(
            node("Conv", " ".join(inputs), name, name, group=groups, pads=pads, **attributes)
        )
        return name

    def op(kind, inputs, **attributes):
        name = f"v{len(nodes)}"
        nodes.append(node(kind, inputs, name, name, **attributes))
        return name

    def norm(source, n):
        parameters = [
            random.random(n) + 0.5,
            *random.normal(size=(2, n)) / 4,
            random.random(n) + 0.5,
        ]
        names = " ".join(constant(p) for p in parameters)
        return op("BatchNormalization", f"{source} {names}")

    for _ in range(int(random.integers(1, 4))):
        n, size = shape[0], shape[1]
        kind = random.choice(
            ["plain", "residual", "dense", "separable", "bottleneck", "max", "average", "strided"]
        )
        if kind == "plain":
            value, n = op("Relu", norm(conv(value, n, 4), 4)), 4
        elif kind == "residual":
            inner = op("Relu", conv(value, n, n))
            value = op("Relu", op("Add", f"{conv(inner, n, n)} {value}"))
        elif kind == "dense":
            more = op("Relu", conv(value, n, 2))
            value, n = op("Concat", f"{value} {more}", axis=1), n + 2
        elif kind == "separable":
            deep = op("Relu", conv(value, n, n, groups=n))
            value, n = op("Relu", conv(deep, n, 3, 1)), 3
        elif kind == "bottleneck":
            wide = op("Relu", conv(value, n, 2 * n, 1))
            value = op("Add", f"{conv(wide, 2 * n, n)} {value}")
        elif kind == "strided":
            value, n, size = op("Relu", conv(value, n, 4, strides=[2, 2])), 4, -(-size // 2)
        elif size >= 4:
            rectified = op("Relu", value)
            pool = "MaxPool" if kind == "max" else "AveragePool"
            value, size = op(pool, rectified, kernel_shape=[2, 2], strides=[2, 2]), size // 2
        shape = (n, size, size)
    flat = int(np.prod(shape))
    weight = constant(random.normal(size=(5, flat)) / np.sqrt(flat))
    nodes.append(node("Flatten", value, "flat", "flat"))
    bias = constant(random.normal(size=5) / 4)
    nodes.append(node("Gemm", f"flat {weight} {bias}", "y", "classify", transB=1))
    return onnx_models.model(nodes, ("N", *SHAPE), constants)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def samples(seed, n):
    return np.random.default_rng(seed).uniform(-0.5, 1, (n, *SHAPE)).astype(np.float32)


def compiled(folder, made, **options):
    path = folder / "net.onnx"
    path.write_bytes(made.SerializeToString())
    return compile_model(path, calibrate=samples(0, 96), emit=(), target="unlimited", **options)


def relative_error(actual, expected):
    """Root mean square error over the spread of the scores."""
    return float(np.sqrt(((actual - expected) ** 2).mean()) / expected.std())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_folding_equals_onnxruntime(seed):
    made = random_model(seed)
    x = samples(seed, 4)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    network = onnx_models.imported(made).ann
    for stage in (network, FOLDING(network).graph):
        np.testing.assert_allclose(ann.evaluate(stage, x), expected, rtol=1e-3, atol=1e-4)


# Error of the scores over their spread. Measured on 40 networks: median 0.009, largest 0.021 with
# payloads of 8 bits; median 0.02, largest 0.13 with 64 steps.


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_graded_payloads_are_close(folder, seed):
    made = random_model(seed)
    x = samples(1, 64)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    error = relative_error(compiled(folder, made, coding="graded").run(x), expected)
    assert error < 0.05


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_spikes_are_close(folder, seed):
    made = random_model(seed)
    x = samples(1, 32)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    model = compiled(folder, made, coding="rate", timesteps=64)
    assert relative_error(model.run(x), expected) < 0.35


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {"coding": "rate", "timesteps": 16, "reset": "zero"},
        {"coding": "rate", "timesteps": 16, "input": "poisson"},
        {"coding": "graded", "payload_bits": 1, "weight_bits": 2},
        {"coding": "graded", "payload_bits": 16, "input_bits": 16},
        {"coding": "rate", "timesteps": 1},
    ],
)
def test_every_coding_takes_every_network(folder, seed, options):
    model = compiled(folder, random_model(seed), **options)
    scores = model.run(samples(1, 8))
    assert scores.shape == (8, 5)
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 5


def test_preprocessing_is_part_of_the_network(folder):
    made = random_model(7)
    raw = np.random.default_rng(0).integers(0, 256, (64, *SHAPE))
    mean, scale = (100.0, 120.0), (200.0, 220.0)
    normal = (raw - np.reshape(mean, (2, 1, 1))) / np.reshape(scale, (2, 1, 1))
    expected = onnx_models.session(made).run(None, {"x": normal.astype(np.float32)})[0]
    path = folder / "raw.onnx"
    path.write_bytes(made.SerializeToString())
    model = compile_model(
        path,
        calibrate=raw.astype(np.float32),
        mean_values=mean,
        scale_values=scale,
        coding="graded",
        target="unlimited",
        emit=(),
    )
    assert relative_error(model.run(raw), expected) < 0.1


def test_a_layer_of_zeros_compiles(folder):
    """A pruned convolution keeps its bias and has no synapses."""
    weights = {
        "w1": np.zeros((3, 2, 3, 3), np.float32),
        "b1": np.array([0.5, -0.5, 1.0], np.float32),
        "w2": np.random.default_rng(0).normal(size=(5, 108)).astype(np.float32),
        "w3": np.random.default_rng(1).normal(size=(5, 128)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w1 b1", "c", "c"),
        node("Relu", "c", "r", "r"),
        node("Flatten", "r", "f", "f"),
        node("Gemm", "f w2", "one", "one", transB=1),
        node("Flatten", "x", "g", "g"),
        node("Gemm", "g w3", "two", "two", transB=1),
        node("Add", "one two", "y", "y"),
    ]
    made = onnx_models.model(nodes, ("N", *SHAPE), weights)
    x = samples(1, 16)
    expected = onnx_models.session(made).run(None, {"x": x})[0]
    for options in ({"coding": "graded"}, {"coding": "rate", "timesteps": 64}):
        assert relative_error(compiled(folder, made, **options).run(x), expected) < 0.1
