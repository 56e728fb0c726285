"""Train three small networks with activations other than ReLU and write them as ONNX files.

    python examples/make_activations.py DATA [-o FOLDER]

DATA is ``fashion_mnist.npz``: uint8 images ``x_calib`` and ``x_test`` of 28x28 pixels with labels.
Written are ``fashion_silu.onnx`` (convolutions with SiLU), ``fashion_mobile.onnx`` (inverted
residual blocks with HardSwish and squeeze-and-excitation gates, after MobileNetV3) and
``denoise_unet.onnx`` (a U-Net with transposed convolutions that removes noise). Needs torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

SEED = 0
EPOCHS = 12
BATCH = 64
NOISE = 0.25
"""Standard deviation of the noise that the U-Net removes, of pixels from 0 to 1."""


def main() -> None:
    """Train, write, and print what each network achieves on the test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args()
    with np.load(arguments.data) as data:
        x, x_test = (pixels(data[name]) for name in ("x_calib", "x_test"))
        y, y_test = (torch.from_numpy(data[n].astype(np.int64)) for n in ("y_calib", "y_test"))
    for name, make in (("fashion_silu", silu), ("fashion_mobile", mobile)):
        net = trained(make(), x, y, functional.cross_entropy)
        correct = float((answers(net, x_test).argmax(1) == y_test).double().mean())
        write(arguments.out / f"{name}.onnx", net, f"{100 * correct:.2f} % of {len(y_test)}")
    net = trained(UNet(), noisy(x, 1), x, functional.mse_loss)
    error = float(functional.mse_loss(answers(net, noisy(x_test, 2)), x_test))
    write(arguments.out / "denoise_unet.onnx", net, f"mean squared error {error:.6f}")


def pixels(images: np.ndarray) -> Tensor:
    """Images as the networks take them: (N, 1, 28, 28) from 0 to 1."""
    return torch.from_numpy(images[:, None].astype(np.float32) / 255)


def noisy(x: Tensor, seed: int) -> Tensor:
    """Images with Gaussian noise, cut off at 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    return (x + NOISE * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def block(
    n_in: int,
    n_out: int,
    act: Callable[[], nn.Module],
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """A convolution, a batch normalization and an activation."""
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(n_out), act())


def head(channels: int) -> list[nn.Module]:
    """The mean of each map, and ten classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def silu() -> nn.Module:
    """Four convolutions."""
    return nn.Sequential(
        block(1, 12, nn.SiLU, stride=2),
        block(12, 24, nn.SiLU),
        block(24, 32, nn.SiLU, stride=2),
        block(32, 32, nn.SiLU),
        *head(32),
    )


class Gate(nn.Module):
    """Squeeze-and-excitation: every map times a number that depends on the means of all."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.narrow = nn.Conv2d(channels, inside, 1)
        self.wide = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate the maps."""
        gate: Tensor = functional.hardsigmoid(
            self.wide(functional.relu(self.narrow(self.squeeze(x))))
        )
        return x * gate


class Inverted(nn.Module):
    """An inverted residual block: widen, convolve each map, gate, narrow."""

    def __init__(self, n_in: int, wide: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and n_in == n_out
        self.inside = nn.Sequential(
            block(n_in, wide, nn.Hardswish, kernel=1),
            block(wide, wide, nn.Hardswish, stride=stride, groups=wide),
            Gate(wide, wide // 4),
            block(wide, n_out, nn.Identity, kernel=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The block, with its input added where the shapes agree."""
        y: Tensor = self.inside(x)
        return x + y if self.residual else y


def mobile() -> nn.Module:
    """Three inverted residual blocks."""
    return nn.Sequential(
        block(1, 12, nn.Hardswish, stride=2),
        Inverted(12, 36, 16, 1),
        Inverted(16, 48, 24, 2),
        Inverted(24, 72, 24, 1),
        block(24, 64, nn.Hardswish, kernel=1),
        *head(64),
    )


class UNet(nn.Module):
    """Two scales down, two up, joined by the maps of the same size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = block(1, 8, nn.ReLU), block(8, 16, nn.ReLU)
        self.deepest = block(16, 32, nn.ReLU)
        self.pool = nn.MaxPool2d(2)
        self.up_second, self.up_first = (
            nn.ConvTranspose2d(32, 16, 2, 2),
            nn.ConvTranspose2d(16, 8, 2, 2),
        )
        self.join_second, self.join_first = block(32, 16, nn.ReLU), block(16, 8, nn.ReLU)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The image without noise."""
        first = self.first(x)
        second = self.second(self.pool(first))
        deepest = self.deepest(self.pool(second))
        second = self.join_second(torch.cat([self.up_second(deepest), second], 1))
        y: Tensor = self.out(self.join_first(torch.cat([self.up_first(second), first], 1)))
        return y


def trained(
    net: nn.Module, x: Tensor, target: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> nn.Module:
    """The network after ``EPOCHS`` epochs of AdamW, whose rate falls along a cosine."""
    torch.manual_seed(SEED)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.reset_parameters()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * (len(x) // BATCH))
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss(net(x[chosen]), target[chosen]).backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def answers(net: nn.Module, x: Tensor) -> Tensor:
    """What a network says of images, a few at a time."""
    with torch.no_grad():
        return torch.cat([net(piece) for piece in x.split(500)])


def write(path: Path, net: nn.Module, result: str) -> None:
    """Write a network for any number of images."""
    torch.onnx.export(
        net,
        (torch.zeros(1, 1, 28, 28),),
        str(path),
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "N"}, "output": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(path)
    metadata = {
        "data": "Fashion-MNIST (Zalando Research), MIT",
        "input": "pixels / 255, NCHW",
        "license": "Apache-2.0",
        "result": f"{result} test images",
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    print(f"{path.name}: {result} test images, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
