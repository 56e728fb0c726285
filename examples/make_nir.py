"""Train a spiking network on the digits with snnTorch, and write it as a NIR file.

    pip install torch snntorch nir nirtorch
    python examples/make_nir.py [-o FOLDER]

Written is ``digits_snn.nir``: a convolution without bias, means of 2 x 2 and two dense layers, with
leaky neurons that reset by subtraction. A digit is a current into the first layer, the same in each
of 16 steps, and the class is the neuron of the last layer that spikes most. NIR has no words for
the reset and for the number of steps: ``digits_snn.toml`` has them. A minute on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nir
import numpy as np
import snntorch as snn
import torch
from snntorch.export_nir import export_to_nir
from torch import nn

HERE = Path(__file__).resolve().parent
N_STEPS, DECAY, THRESHOLD = 16, 0.9, 1.0
SEED, N_EPOCHS, BATCH, RATE = 0, 40, 64, 2e-3


def leaky(*shape: int) -> snn.Leaky:
    """A layer of neurons; every parameter of an exported one has the layer's shape."""
    ones = torch.ones(shape)
    return snn.Leaky(beta=DECAY * ones, threshold=THRESHOLD * ones, init_hidden=True)


def network() -> nn.Sequential:
    """The layers, for maps of 1 x 8 x 8."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        leaky(8, 8, 8),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 32),
        leaky(32),
        nn.Linear(32, 10),
        leaky(10),
    )


def counts(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Spikes of each class for currents (N, 1, 8, 8)."""
    for layer in net:
        if isinstance(layer, snn.Leaky):
            layer.mem = torch.zeros(0)
    return torch.stack([net(x) for _ in range(N_STEPS)]).sum(0)


def labelled(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples of a file of the examples."""
    with np.load(HERE / name) as data:
        return torch.from_numpy(data["x"]), torch.from_numpy(data["y"])


def train(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor) -> None:
    """Surrogate gradients through time, on the cross entropy of the counts."""
    n_batches = len(x) // BATCH
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_EPOCHS * n_batches)
    for _ in range(N_EPOCHS):
        order = torch.randperm(len(x))
        for k in range(n_batches):
            some = order[k * BATCH : (k + 1) * BATCH]
            loss = nn.functional.cross_entropy(counts(net, x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    """Train, test, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=HERE, metavar="FOLDER")
    folder = parser.parse_args().output
    torch.manual_seed(SEED)
    net = network()
    train(net, *labelled("digits_train.npz"))
    x, y = labelled("digits_evaluate.npz")
    with torch.no_grad():
        right = int((counts(net, x).argmax(1) == y).sum())
        print(f"snnTorch: {right} of {len(y)} test digits")
        counts(net, x[:1])  # states of one sample: the export takes its shapes from them
        graph = export_to_nir(net, x[:1], ignore_dims=[0])
    nir.write(folder / "digits_snn.nir", graph)


if __name__ == "__main__":
    main()
