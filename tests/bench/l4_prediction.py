"""Which norm predicts how much a neuron's input fluctuates: L4, L2, range, or a law of variances.

    python tests/bench/l4_prediction.py [NETWORK ...] [--images 8] [--draws 32] [--steps 32]
                                        [--folder l4_results]

Each network is converted as in ``l4.py`` (Poisson input, thresholds at the maximum of a layer), and
simulated in floating point for several draws of each image's spikes. The deviation of a channel's
input, once from step to step and once of its sum over the window from draw to draw, is compared
with what is predicted from the weights: Spearman's correlation over the channels of each layer,
with a 95 % bootstrap interval over channels. ``data`` takes every spike train for independent
steps of rate r, with variances r (1 - r); ``measured`` has the law of ``Variances``.

A second table has the variance of a neuron's count over the window, over the ``T r (1 - r)`` of
independent steps, and what each law predicts of the variance of the layer's input over the
window, over what was measured: 1 is right.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import small_networks
from l4 import PLAIN, markdown
from scipy import stats

from snn_compile.convert.calibrate import calibrate
from snn_compile.convert.expand import expand
from snn_compile.convert.variances import Variances
from snn_compile.convert.weight_norms import by_source, norm_of
from snn_compile.ir import spiking
from snn_compile.ir.graph import NodeId, maps_shape
from snn_compile.lowering import Lowering
from snn_compile.options import CompileOptions
from snn_compile.pipeline.driver import lower_model
from snn_compile.sim import spiking as simulation

RESAMPLES = 1000


@dataclass
class Fluctuation:
    """What was measured of one population, summed over images.

    Attributes:
        step: variance of the input over steps and draws, per neuron.
        window: variance over draws of the input summed over the window, per step.
        counts: variance over draws of the neuron's spikes in the window, per step.
        bernoulli: ``r (1 - r)``, with r the mean rate for an image.
    """

    step: np.ndarray
    window: np.ndarray
    counts: np.ndarray
    bernoulli: np.ndarray


def measure(
    lowering: Lowering, x: np.ndarray, draws: int, n_steps: int
) -> dict[NodeId, Fluctuation]:
    """Simulate every image ``draws`` times."""
    network, found = lowering.spiking, dict[NodeId, Fluctuation]()
    for index, image in enumerate(x):
        frames = np.repeat(lowering.encoding(image[None]), draws, axis=0)
        values = simulation.encode_inputs(network, frames, index * draws)
        for population in network.populations:
            if isinstance(population, spiking.Readout):
                continue
            a = simulation.current(network, population, values)
            sent = simulation.respond(population, a.copy(), n_steps)
            values[population.id] = sent
            rate = sent.mean(axis=(-2, -1))
            one = Fluctuation(
                a.var(axis=(-2, -1)),
                n_steps * a.mean(axis=-2).var(axis=-1, ddof=1),
                n_steps * sent.mean(axis=-2).var(axis=-1, ddof=1),
                rate * (1 - rate),
            )
            known = found.setdefault(population.id, one)
            if known is not one:
                for name in vars(one):
                    setattr(known, name, getattr(known, name) + getattr(one, name))
    return found


def predictions(
    lowering: Lowering, x: np.ndarray, n_steps: int
) -> Iterator[tuple[NodeId, dict[str, np.ndarray]]]:
    """What each norm says of each channel, layer by layer."""
    folded = lowering.folded
    drives, statistics = expand(folded), calibrate(folded, x)
    independent = Variances.measure(folded, x)
    measured = Variances.measure(folded, x, n_steps)
    for name, activations in statistics.activations.items():
        node = folded.graph[name]
        if node.like is not None:
            continue
        incoming, channels = by_source(drives[name]), maps_shape(node.shape)[0]
        norms = {mode: norm_of(mode, incoming, channels) for mode in ("l4", "l2")}
        norms["data"] = norm_of("data", incoming, channels, partial(independent.of, factors={}))
        norms["measured"] = norm_of("data", incoming, channels, partial(measured.of, factors={}))
        yield name, {**norms, "range": activations.peak}


def spearman(one: np.ndarray, other: np.ndarray) -> str:
    """The correlation, and its bootstrap interval over channels."""
    if np.ptp(one) <= 1e-9 * np.abs(one).max():
        return "all alike"
    random = np.random.default_rng(0)
    rows = random.integers(0, len(one), (RESAMPLES, len(one)))
    ranks = stats.rankdata(one[rows], axis=1), stats.rankdata(other[rows], axis=1)
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    found = (a * b).sum(axis=1) / np.maximum(scale, 1e-12)
    low, high = np.quantile(found, (0.025, 0.975))
    return f"{stats.spearmanr(one, other).statistic:.2f} [{low:.2f}, {high:.2f}]"


def tables(
    name: str, lowering: Lowering, network: small_networks.Labelled, asked: argparse.Namespace
) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of both tables for one network."""
    measured = measure(lowering, network.x[: asked.images], asked.draws, asked.steps)
    correlations, regularity = [], []
    for layer, norms in predictions(lowering, network.calibrate, asked.steps):
        one = measured[layer]
        for kind in ("step", "window"):
            by_channel = getattr(one, kind).reshape(len(norms["l4"]), -1).mean(axis=1)
            alive = by_channel > 0
            cells = [spearman(norm[alive], by_channel[alive]) for norm in norms.values()]
            correlations.append([name, layer, str(alive.sum()), kind, *cells])
        firing = one.bernoulli > 0
        trains = one.counts[firing].sum() / one.bernoulli[firing].sum()
        window = one.window.mean() / asked.images
        ratios = [np.mean(norms[law] ** 2) / window for law in ("data", "measured")]
        regularity.append([name, layer, f"{trains:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
    return correlations, regularity


def main() -> None:
    """Measure, print, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    chosen = [name for name in small_networks.NAMES if "resnet" not in name]
    parser.add_argument("networks", nargs="*", default=chosen)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=Path("l4_results"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    heads = ["network", "layer", "channels", "deviation", "l4", "l2", "data", "measured", "range"]
    correlations = [heads, ["---"] * 2 + ["---:"] + ["---"] * 6]
    regularity = [["network", "layer", "counts over T r (1 − r)", "data", "measured"]]
    regularity += [["---"] * 2 + ["---:"] * 3]
    for name in asked.networks:
        network = small_networks.load(name, asked.folder / "networks", asked.images)
        options = {key: value for key, value in PLAIN.items() if key != "emit"}
        options |= {"timesteps": asked.steps, "calibrate": asked.folder / "calibrate.npz"}
        np.savez(options["calibrate"], x=network.calibrate)
        lowering = lower_model(network.path, CompileOptions(**options))
        more = tables(name, lowering, network, asked)
        correlations += more[0]
        regularity += more[1]
        text = f"{markdown(correlations)}\n\n{markdown(regularity)}\n"
        (asked.folder / "prediction.md").write_text(text)
        print(*more, sep="\n", flush=True)
    print(text)


if __name__ == "__main__":
    main()
