"""Random ONNX files through the whole pipeline: the saved folder's Lava network equals the rest."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onnx_models
from lava_examples import unshrunk
from snn_backends.lava import LavaBackend
from snn_compile.bundle import CompiledModel
from snn_compile.pipeline.driver import compile_model

pytestmark = pytest.mark.lava

BLOCKS = ("conv", "depthwise", "grouped", "residual", "average", "max", "concat", "norm")
N_STIMULI = 3


class Writer:
    """Writes an ONNX network block by block, keeping track of the shape of the last value."""

    def __init__(self, seed, shape):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], {}
        self.last, self.shape = "x", shape

    def op(self, kind, inputs, shape, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(onnx_models.node(kind, inputs, name, name=name, **attributes))
        self.last, self.shape = name, shape
        return name

    def constant(self, value):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, np.float32)
        return name

    def conv(self, channels, kernel=3, *, groups=1, stride=1, relu=True):
        n_in, height, width = self.shape
        pad = kernel // 2
        shape = (channels, n_in // groups, kernel, kernel)
        # Unequal channels: units, thresholds and exponents of each their own.
        spread = np.exp(self.random.normal(size=(channels, 1, 1, 1)))
        weight = self.random.normal(size=shape) * spread / np.sqrt(np.prod(shape[1:]))
        w, b = self.constant(weight), self.constant(self.random.normal(size=channels) / 4)
        size = tuple((n + 2 * pad - kernel) // stride + 1 for n in (height, width))
        self.op(
            "Conv",
            f"{self.last} {w} {b}",
            (channels, *size),
            group=groups,
            pads=[pad] * 4,
            strides=[stride] * 2,
        )
        return self.op("Relu", self.last, self.shape) if relu else self.last

    def block(self, kind):
        channels, height, width = self.shape
        if kind == "conv":
            self.conv(int(self.random.integers(2, 6)), stride=1 + int(height > 5))
        elif kind == "depthwise":
            self.conv(channels, groups=channels)
        elif kind == "grouped":
            self.conv(4, 1)
            self.conv(6, groups=2)
        elif kind == "residual":
            before = self.last
            self.conv(channels)
            self.conv(channels, relu=False)
            self.op("Add", f"{self.last} {before}", self.shape)
            self.op("Relu", self.last, self.shape)
        elif kind == "concat":
            before, shape = self.last, self.shape
            one = self.conv(2, 1)
            self.last, self.shape = before, shape
            other = self.conv(3)
            self.op("Concat", f"{one} {other}", (5, height, width), axis=1)
        elif kind == "norm":
            self.conv(channels, 1, relu=False)
            one = [self.random.uniform(0.5, 2, channels) for _ in range(4)]
            names = " ".join(self.constant(values) for values in one)
            self.op("BatchNormalization", f"{self.last} {names}", self.shape)
            self.op("Relu", self.last, self.shape)
        elif min(height, width) >= 4:
            pool = {"average": "AveragePool", "max": "MaxPool"}[kind]
            shape = (channels, height // 2, width // 2)
            self.op(pool, self.last, shape, kernel_shape=[2, 2], strides=[2, 2])

    def finish(self, path):
        n = int(np.prod(self.shape))
        self.op("Flatten", self.last, (n,))
        for n_out, relu in ((7, True), (4, False)):
            weight = self.random.normal(size=(n_out, self.shape[0])) / np.sqrt(self.shape[0])
            w, b = self.constant(weight), self.constant(self.random.normal(size=n_out) / 4)
            self.op("Gemm", f"{self.last} {w} {b}", (n_out,), transB=1)
            if relu:
                self.op("Relu", self.last, self.shape)
        self.nodes[-1].output[0] = "y"
        shape = (onnx_models.SYMBOLIC, *self.input)
        made = onnx_models.model(self.nodes, shape, self.constants)
        path.write_bytes(made.SerializeToString())

    @classmethod
    def write(cls, path, seed, blocks):
        """A network of the given blocks; its calibration samples, of both signs."""
        random = np.random.default_rng(seed)
        shape = (int(random.integers(1, 4)), *(int(n) for n in random.integers(5, 9, 2)))
        writer = cls(seed, shape)
        writer.input = shape
        writer.conv(int(random.integers(2, 5)))
        for kind in blocks:
            writer.block(kind)
        writer.finish(path)
        return random.normal(size=(24, *shape)).astype(np.float32)


graded = st.fixed_dictionaries(
    {
        "coding": st.just("graded"),
        "payload_bits": st.sampled_from([4, 8, 10]),
        "thresholds": st.sampled_from(["mmse", "max", "percentile:99"]),
    }
)
rate = st.fixed_dictionaries(
    {
        "coding": st.just("rate"),
        "timesteps": st.integers(2, 9),
        "reset": st.sampled_from(["subtract", "zero"]),
        "input": st.sampled_from(["current", "poisson"]),
        "thresholds": st.sampled_from(["mmse", "max", "l4", "percentile:99", "spike-norm"]),
    }
)
spread = st.fixed_dictionaries(
    {
        "coding": st.sampled_from(["sync", "signed"]),
        "timesteps": st.integers(1, 9),
        "thresholds": st.sampled_from(["mmse", "max", "percentile:99"]),
    }
)
changes = st.fixed_dictionaries(
    {"coding": st.just("sigma-delta"), "payload_bits": st.sampled_from([4, 8, 10])}
)
both = st.fixed_dictionaries(
    {
        "weight_bits": st.integers(2, 8),
        "input_bits": st.integers(2, 8),
        "equalize": st.sampled_from(["none", "none", "l4", "l2", "data"]),
        "per_layer": st.booleans(),
    }
)


def check(folder, seed, blocks, options, conv_stimuli=0):
    """Verify a network in Lava; say whether its outputs depend on the input at all.

    Stock Conv processes are slow, and know nothing of codings: one network with them is enough.
    """
    model = folder / "net.onnx"
    samples = Writer.write(model, seed, blocks)
    compiled = compile_model(model, calibrate=samples, **options)
    compiled.save(folder / "net.snn")
    loaded = CompiledModel.load(folder / "net.snn")
    assert loaded.verify_golden(loaded.stimulus[:N_STIMULI]).equal
    frames = loaded.stimulus[:N_STIMULI]
    (readout,) = loaded.program.readouts
    outputs = loaded.simulate(samples).outputs[readout.id]
    emitted = folder / "net.snn" / "lava"
    found = LavaBackend().verify(
        loaded.program, emitted, frames, time_limit=600, conv_stimuli=conv_stimuli
    )
    assert found.equal, found.details
    per_stimulus = sum(np.prod(p.shape) for p in loaded.program.populations)
    assert found.compared >= N_STIMULI * per_stimulus * loaded.program.window.n_steps
    return bool((outputs != outputs[:1]).any())


def random_networks(max_examples):
    """A test of ``check`` on so many networks; dying ones are welcome, too."""

    @unshrunk(max_examples, derandomize=bool(os.environ.get("CI")))
    @given(
        seed=st.integers(0, 1 << 30),
        blocks=st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3),
        coding=graded | rate | spread | changes,
        common=both,
    )
    def test(lava_environment, seed, blocks, coding, common):
        with TemporaryDirectory() as folder:
            check(Path(folder), seed, blocks, {**coding, **common})

    return test


test_random_networks = random_networks(2)
test_more_random_networks = pytest.mark.slow(random_networks(10))


@pytest.mark.parametrize(
    ("blocks", "options"),
    [
        (BLOCKS, {"coding": "graded", "weight_bits": 5}),
        pytest.param(
            BLOCKS,
            {"coding": "rate", "timesteps": 6, "equalize": "l4"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            BLOCKS[:4],
            {"coding": "rate", "timesteps": 9, "reset": "zero", "input": "poisson"},
            marks=pytest.mark.slow,
        ),
        pytest.param(BLOCKS, {"coding": "sync", "timesteps": 5}, marks=pytest.mark.slow),
        pytest.param(BLOCKS, {"coding": "signed", "timesteps": 6}, marks=pytest.mark.slow),
        pytest.param(BLOCKS, {"coding": "sigma-delta", "weight_bits": 6}, marks=pytest.mark.slow),
    ],
    ids=["graded", "subtract", "zero", "sync", "signed", "sigma-delta"],
)
def test_every_block(lava_environment, tmp_path, blocks, options):
    """All kinds of layers in one network, whatever the random ones happen to hold."""
    conv_stimuli = 2 if options["coding"] == "graded" else 0
    assert check(tmp_path, 4, blocks, options, conv_stimuli), "says nothing"
