"""Recurrent layers that are refused, and what is said of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnx_models import model, node, refused
from recurrent_models import (
    CELLS,
    FEATURES,
    STEPS,
    changed,
    recurrent,
    replaced,
    weights,
)

GRU = recurrent("GRU", "B lengths start", only="last")
REFUSED = {
    "short-sequences": (
        replaced(GRU, lengths=np.full(1, STEPS - 1, np.int32)),
        f"lengths (3) other than {STEPS} steps",
        "one length",
    ),
    "unknown-function": (changed(GRU, activations=["Gelu", "Tanh"]), "'Gelu' is unknown", "Elu"),
    "no-parameters": (
        changed(GRU, activations=["Affine", "Tanh"]), "different defaults", "activation_alpha"
    ),
    "too-few-functions": (changed(GRU, activations=["Tanh"]), "1 activations instead of 2", ""),
    "too-many-parameters": (changed(GRU, activation_alpha=[0.1]), "more values", ""),
    "direction": (changed(GRU, direction="sideways"), "'sideways' is none of", ""),
    "hidden-size": (changed(GRU, hidden_size=7), "weights are for 5 cells", ""),
    "recurrent-weights": (
        replaced(GRU, R=np.zeros((1, 7, CELLS), np.float32)), "recurrent weights", ""
    ),
    "input-weights": (
        replaced(GRU, W=np.zeros((1, 15, 9), np.float32)), "'W' has shape [1, 15, 9]", ""
    ),
    "states": (
        replaced(GRU, start=np.zeros((1, 1, 9), np.float32)), "input 5 has shape [1, 1, 9]", ""
    ),
    "too-many-steps": (
        recurrent("RNN", steps=2000, only="last"), "2,000 steps of 5 cells", "fewer steps"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    made, message, hint = REFUSED[name]
    error = refused(made)
    assert message in error.message
    assert hint in error.hint
    assert error.origin.node == "layer"
    assert error.code in ("unsupported-op", "invalid-model")


def test_states_that_differ_between_samples_are_refused():
    given = weights("RNN")
    given["start"] = np.random.default_rng(0).normal(size=(1, 2, CELLS)).astype(np.float32)
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("RNN", "s W R - - start", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: given[k] for k in ("W", "R", "start")}
    error = refused(model(nodes, (2, STEPS, FEATURES), constants, opset=14))
    assert "differs between the samples" in error.message
    assert "one state" in error.hint


def test_lengths_from_the_input_are_refused():
    nodes = [
        node("Transpose", "x", "s", perm=[1, 0, 2]),
        node("ReduceSum", "x axes", "total", keepdims=0),
        node("Cast", "total", "lengths", to=onnx.TensorProto.INT32),
        node("RNN", "s W R - lengths", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: v for k, v in weights("RNN").items() if k in "WR"}
    constants["axes"] = np.array([1, 2])
    error = refused(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))
    assert "INT32" in str(error) or "depends on the network's input" in str(error)


def test_several_sequences_of_one_sample_are_refused():
    """(N, 6, F) as 6 sequences: the batch of the layer is an axis of the sample."""
    nodes = [
        node("Unsqueeze", "x axes", "s"),
        node("Transpose", "s", "t", perm=[1, 2, 0, 3]),
        node("Reshape", "t shape", "u"),
        node("RNN", "u W R", "all last", name="layer", hidden_size=CELLS),
        node("Transpose", "last", "y", perm=[1, 0, 2]),
    ]
    constants = {k: v for k, v in weights("RNN").items() if k in "WR"}
    constants |= {"axes": np.array([0]), "shape": np.array([STEPS // 2, -1, FEATURES])}
    error = refused(model(nodes, ("N", STEPS, FEATURES), constants, opset=14))
    assert error.hint
