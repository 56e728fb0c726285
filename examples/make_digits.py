"""Train two small networks on scikit-learn's bundled digits and write them as ONNX files.

    python examples/make_digits.py [-o FOLDER]

The data are 1,797 grey images of 8x8 pixels that come with scikit-learn; nothing is downloaded.
Written are ``digits_cnn.onnx`` (two convolutions with batch normalization, a residual sum, average
pooling), ``digits_mlp.onnx`` (three dense layers), and, in the input layout of both,
``digits_calibrate.npz`` (512 training images, without labels), ``digits_train.npz`` (the other
training images, with labels) and ``digits_evaluate.npz`` (test images and labels).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Params = dict[str, Floats]

SEED = 0
CHANNELS = 16
N_CALIBRATE = 512
EPSILON = 1e-5


def main() -> None:
    """Train, write, and check both networks against onnxruntime."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=500, stratify=y, random_state=SEED
    )
    n = N_CALIBRATE
    np.savez_compressed(folder / "digits_calibrate.npz", x=x_train[:n])
    np.savez_compressed(folder / "digits_train.npz", x=x_train[n:], y=y_train[n:])
    np.savez_compressed(folder / "digits_evaluate.npz", x=x_test, y=y_test)

    params = train_cnn(x_train, y_train)
    write(folder / "digits_cnn.onnx", cnn_nodes(), params, x_test, y_test, cnn(params, x_test))

    mlp = MLPClassifier((96, 48), alpha=1e-3, max_iter=300, random_state=SEED)
    mlp.fit(x_train.reshape(-1, 64), y_train)
    expected = np.log(mlp.predict_proba(x_test.reshape(-1, 64)) + 1e-30)
    write(folder / "digits_mlp.onnx", *mlp_nodes(mlp), x_test, y_test, expected)


# ----- the convolutional network, in numpy: images are (N, height, width, channels) inside


def patches(x: Floats) -> Floats:
    """Every 3x3 neighbourhood as one row, borders padded with zeros."""
    n, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(n, height, width, 9 * channels)


def unpatches(rows: Floats) -> Floats:
    """The transpose of ``patches``: add every neighbourhood back to where it was read."""
    n, height, width, wide = rows.shape
    windows = rows.reshape(n, height, width, 3, 3, wide // 9)
    padded = np.zeros((n, height + 2, width + 2, wide // 9), np.float32)
    for i in range(3):
        for j in range(3):
            padded[:, i : i + height, j : j + width] += windows[:, :, :, i, j]
    return padded[:, 1:-1, 1:-1]


def pool(x: Floats) -> Floats:
    """Average over 2x2 squares."""
    n, height, width, channels = x.shape
    return x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def unpool(grad: Floats) -> Floats:
    """The transpose of ``pool``."""
    return (grad / 4).repeat(2, 1).repeat(2, 2)


def forward(p: Params, x: Floats, *, training: bool) -> dict[str, Floats]:
    """Every intermediate value of the network.

    In training the batch normalizations use the statistics of the batch, else the stored ones.
    """
    v: dict[str, Floats] = {"h0": x.transpose(0, 2, 3, 1)}
    for i in (1, 2):
        v[f"rows{i}"] = patches(v[f"h{i - 1}"])
        v[f"z{i}"] = v[f"rows{i}"] @ p[f"conv{i}.weight"]
        mean, var = p[f"bn{i}.mean"], p[f"bn{i}.var"]
        if training:
            mean, var = v[f"z{i}"].mean((0, 1, 2)), v[f"z{i}"].var((0, 1, 2))
        v[f"mean{i}"], v[f"var{i}"] = mean, var
        v[f"unit{i}"] = (v[f"z{i}"] - mean) / np.sqrt(var + np.float32(EPSILON))
        normed = v[f"unit{i}"] * p[f"bn{i}.scale"] + p[f"bn{i}.bias"]
        v[f"h{i}"] = np.maximum(normed + (v["h1"] if i == 2 else 0), 0)
    v["flat"] = pool(v["h2"]).reshape(len(x), -1)
    v["logits"] = v["flat"] @ p["fc.weight"] + p["fc.bias"]
    return v


def cnn(p: Params, x: Floats) -> Floats:
    """The network's answer."""
    return forward(p, x, training=False)["logits"]


def gradients(p: Params, x: Floats, y: Labels) -> Params:
    """Gradients of the mean cross entropy."""
    v = forward(p, x, training=True)
    exps = np.exp(v["logits"] - v["logits"].max(1, keepdims=True))
    d_logits = (exps / exps.sum(1, keepdims=True) - np.eye(10, dtype=np.float32)[y]) / len(x)
    g = {"fc.weight": v["flat"].T @ d_logits, "fc.bias": d_logits.sum(0)}
    d_hidden = unpool((d_logits @ p["fc.weight"].T).reshape(-1, 4, 4, CHANNELS))
    d_skipped = 0
    for i in (2, 1):
        d_normed = (d_hidden + d_skipped) * (v[f"h{i}"] > 0)
        d_skipped = d_normed  # of layer 2: the residual sum hands it on to layer 1 unchanged
        unit = v[f"unit{i}"]
        g[f"bn{i}.scale"] = (d_normed * unit).sum((0, 1, 2))
        g[f"bn{i}.bias"] = d_normed.sum((0, 1, 2))
        d_unit = d_normed * p[f"bn{i}.scale"]
        centred = d_unit - d_unit.mean((0, 1, 2)) - unit * (d_unit * unit).mean((0, 1, 2))
        d_z = centred / np.sqrt(v[f"var{i}"] + np.float32(EPSILON))
        g[f"conv{i}.weight"] = np.tensordot(v[f"rows{i}"], d_z, ((0, 1, 2), (0, 1, 2)))
        d_hidden = unpatches(d_z @ p[f"conv{i}.weight"].T)
    return g


def train_cnn(x: Floats, y: Labels, epochs: int = 20, batch: int = 64) -> Params:
    """Stochastic gradient descent with momentum; the learning rate falls along a cosine."""
    rng = np.random.default_rng(SEED)

    def normal(rows: int, columns: int) -> Floats:
        return (rng.standard_normal((rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)

    p = {"conv1.weight": normal(9, CHANNELS), "conv2.weight": normal(9 * CHANNELS, CHANNELS)}
    p |= {"fc.weight": normal(16 * CHANNELS, 10), "fc.bias": np.zeros(10, np.float32)}
    for i in (1, 2):
        for name in ("scale", "var"):
            p[f"bn{i}.{name}"] = np.ones(CHANNELS, np.float32)
        for name in ("bias", "mean"):
            p[f"bn{i}.{name}"] = np.zeros(CHANNELS, np.float32)

    velocity = {name: np.zeros_like(value) for name, value in p.items()}
    for epoch in range(epochs):
        rate = np.float32(0.05 * (1 + np.cos(np.pi * epoch / epochs)) / 2)
        order = rng.permutation(len(x))
        for chosen in np.array_split(order, len(x) // batch):
            for name, gradient in gradients(p, x[chosen], y[chosen]).items():
                decay = np.float32(1e-3) * p[name]
                velocity[name] = np.float32(0.9) * velocity[name] + gradient + decay
                p[name] = p[name] - rate * velocity[name]
    values = forward(p, x, training=True)  # the stored statistics are those of all training images
    for i in (1, 2):
        p[f"bn{i}.mean"], p[f"bn{i}.var"] = values[f"mean{i}"], values[f"var{i}"]
    return p


# ----- ONNX


def cnn_nodes() -> list[onnx.NodeProto]:
    """The operators of the convolutional network."""
    nodes = []
    source = "input"
    for i in (1, 2):
        weight = f"conv{i}.weight"
        norm = [f"bn{i}.{name}" for name in ("scale", "bias", "mean", "var")]
        nodes += [
            helper.make_node(
                "Conv", [source, weight], [f"z{i}"], f"conv{i}", kernel_shape=[3, 3], pads=[1] * 4
            ),
            helper.make_node(
                "BatchNormalization", [f"z{i}", *norm], [f"n{i}"], f"bn{i}", epsilon=EPSILON
            ),
        ]
        if i == 2:
            nodes.append(helper.make_node("Add", ["n2", "h1"], ["sum"], "residual"))
        nodes.append(helper.make_node("Relu", ["sum" if i == 2 else "n1"], [f"h{i}"], f"relu{i}"))
        source = f"h{i}"
    return [
        *nodes,
        helper.make_node(
            "AveragePool", ["h2"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], "fc"),
    ]


def mlp_nodes(mlp: MLPClassifier) -> tuple[list[onnx.NodeProto], Params]:
    """The operators and the weights of a scikit-learn network, without its softmax."""
    nodes = [helper.make_node("Flatten", ["input"], ["h0"], "flatten")]
    params: Params = {}
    last = len(mlp.coefs_)
    for i, (weight, bias) in enumerate(zip(mlp.coefs_, mlp.intercepts_, strict=True), start=1):
        params[f"fc{i}.weight"], params[f"fc{i}.bias"] = np.float32(weight), np.float32(bias)
        inputs = [f"h{i - 1}", f"fc{i}.weight", f"fc{i}.bias"]
        output = "logits" if i == last else f"z{i}"
        nodes.append(helper.make_node("Gemm", inputs, [output], f"fc{i}"))
        if i < last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"h{i}"], f"relu{i}"))
    return nodes, params


def as_onnx(name: str, value: Floats) -> Floats:
    """A weight in the layout that ONNX states: the channels before the window."""
    if name.startswith("conv"):
        value = value.reshape(3, 3, -1, CHANNELS).transpose(3, 2, 0, 1)
    elif name == "fc.weight":
        value = value.reshape(4, 4, CHANNELS, 10).transpose(2, 0, 1, 3).reshape(-1, 10)
    return np.ascontiguousarray(value)


def write(
    path: Path,
    nodes: list[onnx.NodeProto],
    params: Params,
    x: Floats,
    y: Labels,
    expected: Floats,
) -> None:
    """Write one model and check that onnxruntime computes what we did, up to a constant a row."""
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(as_onnx(name, value), name) for name, value in params.items()],
    )
    model = helper.make_model(
        graph,
        producer_name="examples/make_digits.py",
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    logits = run(model, x)
    top1 = 100 * float((logits.argmax(1) == y).mean())
    difference = expected - logits
    error = np.abs(difference - difference.mean(1, keepdims=True)).max()
    if error > 1e-3:
        raise RuntimeError(f"{path.name}: onnxruntime differs by {error}")
    metadata = {
        "data": "scikit-learn digits (UCI optical recognition of handwritten digits), CC BY 4.0",
        "input": "pixels / 16, NCHW",
        "license": "Apache-2.0",
        "top1": f"{top1:.1f} % of {len(y)} held-out images",
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    print(f"{path.name}: {top1:.1f} % of {len(y)} test images, {path.stat().st_size} bytes")


def run(model: onnx.ModelProto, x: Floats) -> Floats:
    """What onnxruntime makes of the model."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"input": x})
    return np.asarray(logits, np.float32)


if __name__ == "__main__":
    main()
