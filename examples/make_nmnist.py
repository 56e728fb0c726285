"""Train a spiking network on recorded events, and write it as a NIR file.

    pip install torch nir
    python examples/make_nmnist.py ../shared/data/nmnist_train_0_199.npz [-o FOLDER]

The data are the first 200 training recordings of N-MNIST (Orchard et al. 2015), as arrays of events
with offsets. The first 150 of them train the network; the others show how good it is. Written is
``nmnist_cnn.nir``: two convolutions and a dense layer of integrate-and-fire neurons that reset by
subtraction. ``nmnist_cnn.toml`` has what NIR does not say: 20 steps of 15 ms. Gradients go through
a spike as through an arc tangent (Fang et al. 2021). A minute on one core.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import torch
from torch import nn
from torch.nn import functional

N_STEPS, STEP_US, SIDE = 20, 15_000, 34
N_TRAIN, SEED, N_EPOCHS, BATCH, RATE, DECAY = 150, 0, 40, 15, 2e-3, 1e-3
SLOPE = 2.0


def frames(events: dict[str, np.ndarray]) -> torch.Tensor:
    """Whether a pixel has an event of a polarity in a step: (N, T, 2, 34, 34) of 0 and 1."""
    offsets = events["offsets"]
    found = np.zeros((len(offsets) - 1, N_STEPS, 2, SIDE, SIDE), np.float32)
    for k, (start, stop) in enumerate(pairwise(offsets)):
        x, y, p, t = (events[name][start:stop].astype(int) for name in ("x", "y", "p", "t_us"))
        step = (t - t.min()) // STEP_US
        early = step < N_STEPS
        found[k, step[early], p[early], y[early], x[early]] = 1
    return torch.from_numpy(found)


class Spike(torch.autograd.Function):
    """1 where a potential exceeds its threshold."""

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, excess: torch.Tensor) -> torch.Tensor:
        """Of the excess over the threshold."""
        context.save_for_backward(excess)
        return (excess > 0).float()

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, grad: torch.Tensor) -> torch.Tensor:
        """The derivative of an arc tangent."""
        (excess,) = context.saved_tensors
        return grad * SLOPE / 2 / (1 + (torch.pi / 2 * SLOPE * excess) ** 2)


class Network(nn.Module):
    """Three layers of integrate-and-fire neurons with a threshold of 1."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 5, stride=2, bias=False)
        self.second = nn.Conv2d(8, 16, 3, stride=2, bias=False)
        self.last = nn.Linear(16 * 7 * 7, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes of each class in all steps, (N, 10), for frames (N, T, 2, 34, 34)."""
        potentials = [torch.zeros(()), torch.zeros(()), torch.zeros(())]
        counts = torch.zeros(len(x), 10)
        for step in range(N_STEPS):
            value = x[:, step]
            for k, layer in enumerate((self.first, self.second, self.last)):
                potential = potentials[k] + layer(value if k < 2 else value.flatten(1))
                value = Spike.apply(potential - 1)
                potentials[k] = potential - value
            counts = counts + value
        return counts

    def graph(self) -> nir.NIRGraph:
        """The same network in NIR."""

        def convolution(layer: nn.Conv2d, side: int) -> nir.Conv2d:
            weight = layer.weight.detach().numpy()
            return nir.Conv2d((side, side), weight, 2, 0, 1, 1, np.zeros(len(weight), np.float32))

        def neurons(*shape: int) -> nir.IF:
            return nir.IF(r=np.ones(shape, np.float32), v_threshold=np.ones(shape, np.float32))

        flat = np.array([16, 7, 7])
        nodes = {
            "input": nir.Input({"input": np.array([2, SIDE, SIDE])}),
            "first": convolution(self.first, SIDE),
            "spikes1": neurons(8, 15, 15),
            "second": convolution(self.second, 15),
            "spikes2": neurons(16, 7, 7),
            "flatten": nir.Flatten({"input": flat}, start_dim=0, end_dim=-1),
            "last": nir.Linear(self.last.weight.detach().numpy()),
            "spikes3": neurons(10),
            "output": nir.Output({"output": np.array([10])}),
        }
        names = list(nodes)
        graph = nir.NIRGraph(nodes, list(pairwise(names)))
        graph.metadata = {"producer": "other", "reset": "subtract"}
        return graph


def main() -> None:
    """Train, and write the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).resolve().parent)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    with np.load(arguments.data) as file:
        events = dict(file)
    x, y = frames(events), torch.from_numpy(events["label"]).long()
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    for epoch in range(N_EPOCHS):
        for batch in torch.randperm(N_TRAIN).split(BATCH):
            shift = tuple(torch.randint(-2, 3, (2,)).tolist())
            moved = torch.roll(x[batch], shift, dims=(-2, -1))
            optimizer.zero_grad()
            functional.cross_entropy(network(moved), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            right = network(x).argmax(1) == y
        seen, new = right[:N_TRAIN].float().mean(), right[N_TRAIN:].float().mean()
        print(f"epoch {epoch}: {100 * seen:.1f} % of seen, {100 * new:.1f} % of new recordings")
    nir.write(arguments.out / "nmnist_cnn.nir", network.graph())


if __name__ == "__main__":
    main()
