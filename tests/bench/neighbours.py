"""CPU time of a neighbour in neighborhood aggregation, by kind of neuron and length of the window.

    python tests/bench/neighbours.py [--repeat 20]

Prints nanoseconds of CPU time a neighbour: of a potential and a step, one. Random drives, one
thread; the sum of the gradients is there to see that another way to compute them gives the same.
"""

from __future__ import annotations

import argparse
from time import process_time

import torch

from snn_compile.tune.flips import Membrane, simulate, slopes

LEAK = 3277 / 4096
CASES = {
    "dense, reset to zero": (5, (64, 256), True),
    "convolution, reset to zero": (5, (16, 15, 24, 24), True),
    "convolution, by subtraction": (8, (16, 16, 14, 14), False),
    "dense, long, reset to zero": (32, (64, 100), True),
    "dense, longer, reset to zero": (200, (16, 100), True),
}
"""Steps, batch and shape, and whether neurons leak and go to zero, or neither."""


def _leaking(v: torch.Tensor) -> torch.Tensor:
    left = v * LEAK
    return left.sub_(left.frac())


def _measured(n_steps: int, shape: tuple[int, ...], leaky: bool, repeat: int) -> tuple[float, ...]:
    random = torch.Generator().manual_seed(0)
    threshold = torch.full((1,) * (len(shape) - 1), 512.0, dtype=torch.float64)
    drive = torch.rand(n_steps, *shape, generator=random, dtype=torch.float64)
    drive = torch.round((drive - 0.3) * threshold)
    membrane = Membrane(n_steps, _leaking) if leaky else Membrane(n_steps, lambda v: v, threshold)
    potentials = simulate(membrane, drive, threshold, torch.zeros_like(threshold))
    gradient = torch.randn(potentials.shape, generator=random, dtype=torch.float64)
    found = slopes(membrane, drive, potentials, threshold, gradient)
    begin = process_time()
    for _ in range(repeat):
        slopes(membrane, drive, potentials, threshold, gradient)
    return 1e9 * (process_time() - begin) / repeat / found.numel(), float(found.sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    repeat = parser.parse_args().repeat
    torch.set_num_threads(1)
    print("| neurons | T | ns a neighbour | sum |\n| --- | --- | --- | --- |")
    for name, (n_steps, shape, leaky) in CASES.items():
        nanoseconds, total = _measured(n_steps, shape, leaky, repeat)
        print(f"| {name} | {n_steps} | {nanoseconds:.0f} | {total!r} |")


if __name__ == "__main__":
    main()
