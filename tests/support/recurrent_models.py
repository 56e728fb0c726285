"""Models of one recurrent layer with random weights, and their import compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx

from onnx_models import evaluate_all, imported, model, node, session

STEPS, FEATURES, CELLS = 4, 3, 5
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def weights(kind, n_directions=1, seed=0, *, steps=STEPS, features=FEATURES, cells=CELLS):
    """Every parameter of a layer, by name; ``start`` and ``cell`` are initial states."""
    draw = np.random.default_rng(seed)
    rows = GATES[kind] * cells
    shapes = {
        "W": (n_directions, rows, features),
        "R": (n_directions, rows, cells),
        "B": (n_directions, 2 * rows),
        "start": (n_directions, 1, cells),
        "cell": (n_directions, 1, cells),
        "P": (n_directions, 3 * cells),
    }
    found = {
        name: draw.uniform(-0.7, 0.7, shape).astype(np.float32) for name, shape in shapes.items()
    }
    return found | {"lengths": np.full(1, steps, np.int32)}


def recurrent(kind, inputs="", n_directions=1, seed=0, *, steps=STEPS, only=None, **attributes):
    """A layer on (N, steps, features), and all its outputs with the batch first.

    Args:
        kind: RNN, GRU or LSTM.
        inputs: which optional inputs it has, of ``B lengths start cell P``.
        n_directions: 1 or 2.
        seed: of its weights.
        steps: number of steps.
        only: the one output of the model; None for all.
        attributes: of the layer.
    """
    order = ["B", "lengths", "start", *(("cell", "P") if kind == "LSTM" else ())]
    given = {"x_first", "W", "R", *inputs.split()}
    names = [name if name in given else "-" for name in order]
    outputs = ["all", "last", *(["kept"] if kind == "LSTM" else [])]
    nodes = [
        node("Transpose", "x", "x_first", perm=[1, 0, 2]),
        node(
            kind,
            " ".join(["x_first", "W", "R", *names]),
            " ".join(outputs),
            name="layer",
            hidden_size=CELLS,
            **attributes,
        ),
        *(
            node("Transpose", name, f"y_{name}", perm=[2, 0, 1, 3] if name == "all" else [1, 0, 2])
            for name in outputs
        ),
    ]
    constants = {
        k: v for k, v in weights(kind, n_directions, seed, steps=steps).items() if k in given
    }
    shown = [f"y_{name}" for name in outputs if only in (None, name)]
    return model(nodes, ("N", steps, FEATURES), constants, " ".join(shown), opset=14)


def samples(n, seed=0, steps=STEPS):
    return np.random.default_rng(seed).normal(size=(n, steps, FEATURES)).astype(np.float32)


def answers(made, x):
    """All outputs of onnxruntime, each sample as a batch of its own."""
    runtime = session(made)
    each = [runtime.run(None, {"x": one[None]}) for one in x]
    return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def assert_imported(made, *, steps=STEPS):
    """The import has onnxruntime's outputs for three samples."""
    result, x = imported(made), samples(3, 1, steps)
    for ours, expected in zip(evaluate_all(result, x), answers(made, x), strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    return result


def changed(made, **attributes):
    """A model with other attributes of its layer."""
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    (layer,) = (n for n in copy.graph.node if n.name == "layer")
    kept = [a for a in layer.attribute if a.name not in attributes]
    del layer.attribute[:]
    layer.attribute.extend(kept)
    layer.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
    return copy


def replaced(made, **constants):
    """A model with other constants."""
    copy = onnx.ModelProto.FromString(made.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.name in constants:
            tensor.CopyFrom(onnx.numpy_helper.from_array(constants[tensor.name], tensor.name))
    return copy
