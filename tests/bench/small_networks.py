"""Ten labelled networks: eight small ones, trained here with torch, and two shared ones.

    python tests/bench/small_networks.py [NAME ...] [--folder small_networks]

A perceptron (784-400-400-10) and a convolutional network (16 and 32 channels, mean pools, a hidden
layer of 128), each with and without biases, on MNIST and on Fashion-MNIST: 10,000 training images
of ``../shared``, one seed. A network that the folder has already is not trained again.
fashion_vggbn and cifar10_resnet20 are the shared files. About three minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import w8a8
from onnx import helper, numpy_helper
from shared_models import prepare

LARGE = ("fashion_vggbn", "cifar10_resnet20")
SMALL = tuple(
    f"{data}_{kind}{bias}"
    for kind in ("cnn", "mlp")
    for data in ("fashion", "mnist")
    for bias in ("", "_no_bias")
)
NAMES = (LARGE[0], *SMALL, LARGE[1])
EPOCHS, BATCH, RATE, SEED = 10, 100, 1e-3, 20
CALIBRATION = 1024
"""Images that calibrate, the first ones that trained."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A model file with the images that calibrate and test it."""

    path: Path
    calibrate: np.ndarray
    x: np.ndarray
    y: np.ndarray


def load(name: str, folder: Path, images: int) -> Labelled:
    """A network of ``NAMES`` with its first test images; it is trained if need be."""
    if name in LARGE:
        with tempfile.TemporaryDirectory() as scratch:
            calibrate, x, y = prepare(name, Path(scratch), images)
        path = w8a8.SHARED / "models" / f"{name}.onnx"
        return Labelled(path, calibrate[:CALIBRATION], x, y)
    path = folder / f"{name}.onnx"
    flat = "mlp" in name
    data = images_of("fashion_mnist" if name.startswith("fashion") else "mnist", flat)
    x_train, y_train, x, y = data
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save(train(name, x_train, y_train), path)
    return Labelled(path, x_train[:CALIBRATION], x[:images], y[:images])


def images_of(data: str, flat: bool) -> tuple[np.ndarray, ...]:
    """Training images and labels, test images and labels; pixels from 0 to 1."""
    with np.load(w8a8.SHARED / "data" / f"{data}.npz") as file:
        parts = [file[key] for key in ("x_calib", "y_calib", "x_test", "y_test")]
    for k in (0, 2):
        shape = (len(parts[k]), 784) if flat else (len(parts[k]), 1, 28, 28)
        parts[k] = (parts[k] / 255).astype(np.float32).reshape(shape)
    return tuple(parts)


def train(name: str, x: np.ndarray, y: np.ndarray) -> onnx.ModelProto:
    """Train with Adam and cross entropy, and write what was learned as ONNX."""
    import torch
    from torch import nn

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    bias = "no_bias" not in name
    if "mlp" in name:
        layers = [nn.Linear(784, 400, bias), nn.ReLU(), nn.Linear(400, 400, bias), nn.ReLU()]
        layers += [nn.Linear(400, 10, bias)]
    else:
        layers = [nn.Conv2d(1, 16, 3, padding=1, bias=bias), nn.ReLU(), nn.AvgPool2d(2)]
        layers += [nn.Conv2d(16, 32, 3, padding=1, bias=bias), nn.ReLU(), nn.AvgPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(32 * 49, 128, bias), nn.ReLU(), nn.Linear(128, 10, bias)]
    network = nn.Sequential(*layers)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return as_onnx(network, x.shape[1:])


def as_onnx(network: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    """A sequence of torch layers as an ONNX file, whatever exporters there are."""
    nodes, held, value = [], [], "x"

    def tensor(name: str, values: Any) -> str:
        values = np.asarray(values, np.float32)
        held.append(numpy_helper.from_array(values, name))
        return name

    for index, layer in enumerate(network):
        kind, inputs, more = type(layer).__name__, [value], {}
        for name, parameter in layer.named_parameters():
            inputs.append(tensor(f"{index}.{name}", parameter.detach().numpy()))
        match kind:
            case "Conv2d":
                pads = [*layer.padding, *layer.padding]
                more = {"pads": pads, "strides": [*layer.stride], "group": layer.groups}
            case "BatchNorm2d":
                inputs.append(tensor(f"{index}.mean", layer.running_mean.numpy()))
                inputs.append(tensor(f"{index}.variance", layer.running_var.numpy()))
                more = {"epsilon": layer.eps}
            case "ReLU6":
                inputs += [tensor(f"{index}.least", 0.0), tensor(f"{index}.most", 6.0)]
            case "AvgPool2d":
                sizes = layer.kernel_size, layer.stride
                kernel, strides = (np.broadcast_to(size, 2).tolist() for size in sizes)
                more = {"kernel_shape": kernel, "strides": strides}
            case "Linear":
                more = {"transB": 1}
        value = f"{index}.out"
        operator = OPERATORS.get(kind, kind)
        nodes.append(helper.make_node(operator, inputs, [value], name=f"layer{index}", **more))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *sizes])
        for name, sizes in (("x", shape), (value, (10,)))
    ]
    graph = helper.make_graph(nodes, "trained", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


OPERATORS = {
    "Conv2d": "Conv",
    "BatchNorm2d": "BatchNormalization",
    "ReLU": "Relu",
    "ReLU6": "Clip",
    "AvgPool2d": "AveragePool",
    "Linear": "Gemm",
}


def main() -> None:
    """Train what is missing, and print each network's accuracy in floating point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--folder", type=Path, default=Path("small_networks"))
    arguments = parser.parse_args()
    for name in arguments.names:
        network = load(name, arguments.folder, 2000)
        right = w8a8.predict(network.path, network.x) == network.y
        print(f"{name}: {100 * right.mean():.2f} % of {len(right)}", flush=True)


if __name__ == "__main__":
    main()
