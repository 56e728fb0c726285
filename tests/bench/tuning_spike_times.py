"""Spike times and neighbours: the tables of docs/explanation/tuning-spike-times.md.

    python tests/bench/tuning_spike_times.py [pattern mnist normad chip xor cnn full rescaled]
                                             [--seeds 5] [--json FILE]
                                             [--epochs 6] [--idx FOLDER] [--threads 1] [--write]

``pattern``: neighborhood aggregation teaches a neuron a random train. ``mnist``: a network with
T = 5, by neighborhood aggregation and by surrogate gradients, from the same random weights, on
10,000 training images (--epochs; a tenth is held out), tested on 10,000. ``normad``: spike-XOR and
generic trains with the neuron of the NormAD papers, in floating point. ``chip``: generic trains
with the neuron of the chip, in fixed point. ``xor``: spike-XOR with that neuron. Ten seeds for
``normad`` and 20 for ``xor`` whatever --seeds says. ``cnn``: what an image costs in the paper's
network for MNIST, and so what all of it would. ``full``: that network on all of MNIST, whose
original files are in --idx, for one epoch of na and one or two of psg. ``rescaled``: hidden
gradients, two hidden layers.

What is in the JSON file already is not computed again. --write puts the tables into the docs.
Needs torch and nir.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import nir
import numpy as np
import psg
import w8a8
from tuning_tables import Bench, Rows, paired, parser_of, run, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import chip_xor
import nir_graphs as graphs
import spike_time_tasks as tasks
from snn_compile import CompileOptions
from snn_compile.tune import TuneOptions, tune_model
from spiking_graphs import leaky, write_mlp

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "tuning-spike-times.md"
TEN, TWENTY = range(10), range(20)


def pattern(bench: Bench) -> Rows:
    """One neuron, 200 inputs, T = 30, a random train with a spike at a quarter of the steps."""

    def measure(seed: int) -> Any:
        random = np.random.default_rng(seed)
        x = (random.random((1, 30, 200)) < 0.1).astype(np.int64)
        spikes = (random.random((1, 30, 1)) < 0.25).astype(np.int64)
        curve = _learned(seed, x, spikes, (200, 1), 200, "na", 2.0, tau_mem=5.0, tau_syn=2.0)
        losses = [epoch["held_out_loss"] for epoch in curve]
        return [losses[0], min(losses), int(np.argmin(losses))]

    found = bench.over_seeds("pattern", measure)
    rows = [
        [str(seed), f"{first:.3f}", f"{best:.3f}", f"{100 * (1 - best / first):.1f} %", str(step)]
        for seed, (first, best, step) in enumerate(found)
    ]
    return [["seed", "loss at first", "least loss", "down", "after steps"], *rows]


def _learned(
    seed: int,
    x: np.ndarray,
    spikes: np.ndarray,
    sizes: tuple[int, ...],
    epochs: int,
    method: str,
    tau: float,
    **neuron: float,
) -> list[dict[str, Any]]:
    """The curve of a training on trains, one sample a step; from the bit-accurate simulator."""
    with TemporaryDirectory() as folder:
        file = write_mlp(Path(folder) / "net.nir", sizes, seed=seed, gain=20.0, **neuron)
        tuned = tune_model(
            file,
            (x, spikes),
            options=TuneOptions(
                method=method,
                epochs=epochs,
                batch_size=1,
                learning_rate=0.1,
                smallest_width=0.1,
                patience=0,
                spike_tau=tau,
                seed=seed,
                threads=1,
            ),
            compile_options=CompileOptions(timesteps=x.shape[1], emit=()),
        )
    curve: list[dict[str, Any]] = tuned.report["tune"]["curve"]
    return curve


def mnist(bench: Bench) -> Rows:
    """A network of 784, 256 and 10 neurons at T = 5, both methods from the same weights."""
    images = np.load(w8a8.SHARED / "data" / "mnist.npz", allow_pickle=False)

    def flat(part: str) -> tuple[np.ndarray, np.ndarray]:
        x = images[f"x_{part}"].reshape(-1, 784).astype(np.float32) / 255
        return x, images[f"y_{part}"].astype(np.int64)

    train, test = flat("calib"), flat("test")
    rows = []
    epochs = bench.arguments.epochs
    for method, more in {"psg": {}, "na": {}}.items():

        def measure(seed: int, method: str = method, more: Any = more) -> Any:
            with TemporaryDirectory() as folder:
                file = write_mlp(
                    Path(folder) / "net.nir", (784, 256, 10), seed=seed, gain=40, spiking_end=False
                )
                calibrate = Path(folder) / "calibrate.npz"
                np.savez(calibrate, x=train[0][:500])
                tuned = tune_model(
                    file,
                    train,
                    options=TuneOptions(
                        method=method,
                        epochs=epochs,
                        patience=0,
                        from_scratch=True,
                        seed=seed,
                        threads=bench.arguments.threads,
                        **more,
                    ),
                    compile_options=CompileOptions(timesteps=5, calibrate=calibrate, emit=()),
                    evaluate=test,
                )
            return tuned.report["tune"]["after"]

        found = bench.over_seeds(f"mnist {method} epochs={epochs}", measure)
        rows.append([method, spread(found), *[f"{one:.2f}" for one in found]])
    seeds = [f"seed {seed}" for seed in range(bench.arguments.seeds)]
    return [["method", "test accuracy, %", *seeds], *rows]


def normad(bench: Bench) -> Rows:
    """The tasks of the papers, with their neuron."""
    rows = []
    for hidden in (3, 5, 10):

        def xor(hidden: int = hidden) -> Any:
            found = tasks.xor(TEN, hidden=hidden)
            ends = found.at_end.tolist()
            return [found.solved.tolist(), ends, float(np.nanmean(found.offset))]

        solved, ends, offset = bench.measured(f"xor {hidden}", xor)
        reached = [epoch for epoch in solved if epoch <= 400]
        rows.append(
            [
                f"XOR, 3-{hidden}-1",
                f"{len(reached)} of 10 (at the end {sum(ends)}, {offset:.1f} ms off)",
                *_median_and_last(reached),
            ]
        )
    for name, hidden, course in (
        ("100-1", None, tasks.ONE_LAYER),
        ("100-50-1", 50, tasks.TWO_LAYERS),
    ):
        for dead in (tasks.PAUSE, 0.0):

            def trains(hidden: Any = hidden, course: Any = course, dead: float = dead) -> Any:
                found = tasks.generic(TEN, course, hidden=hidden, dead=dead)
                return [tasks.first_at(found).tolist(), found.max(axis=0).tolist()]

            first, best = bench.measured(f"generic {name} dead={dead:g}", trains)
            reached = [epoch for epoch in first if epoch]
            rows.append(
                [
                    f"trains, {name}, no interval below {dead:g} ms",
                    f"{len(reached)} of 10 (best {min(best):.2f} to {max(best):.2f})",
                    *_median_and_last(reached),
                ]
            )
    return [["task", "seeds that get there", "median epoch", "last epoch"], *rows]


def _median_and_last(epochs: list[int]) -> tuple[str, str]:
    """Of the seeds that get there."""
    return (f"{np.median(epochs):.0f}", f"{max(epochs)}") if epochs else ("", "")


def chip(bench: Bench) -> Rows:
    """Trains for networks in fixed point, 100 epochs of one sample."""
    rows = []
    for sizes in ((100, 1), (100, 30, 1)):
        for method in ("normad", "na"):

            def measure(seed: int, sizes: Any = sizes, method: str = method) -> Any:
                random = np.random.default_rng(seed)
                x = (random.random((1, 200, 100)) < 0.03).astype(np.int64)
                spikes = (random.random((1, 200, 1)) < 0.05).astype(np.int64)
                curve = _learned(seed, x, spikes, sizes, 100, method, 4.0, tau_mem=8.0, tau_syn=3.0)
                return [curve[0]["held_out_top1"], max(e["held_out_top1"] for e in curve)]

            name = "-".join(map(str, sizes))
            found = bench.over_seeds(f"chip {name} {method}", measure)
            first, best = ([one[i] / 100 for one in found] for i in (0, 1))
            rows.append([name, method, spread(first), spread(best), f"{min(best):.2f}"])
    return [["network", "method", "correlation at first", "best", "worst seed"], *rows]


def rescaled(bench: Bench) -> Rows:
    """Two hidden layers at T = 5, with and without rescaled gradients; as ``psg.py scratch``."""
    found: dict[bool, list[float]] = {}
    for rescale in (False, True):

        def measure(seed: int, rescale: bool = rescale) -> Any:
            report = psg.from_scratch(
                seed, {"method": "na", "rescale_hidden": rescale}, bench.arguments.threads
            )
            return report["tune"]["after"]

        found[rescale] = bench.over_seeds(f"rescaled {rescale}", measure)
    plain, other = found[False], found[True]
    return [
        ["hidden gradients", "test accuracy, %", "against plain, points"],
        ["plain", spread(plain), ""],
        ["rescaled", spread(other), paired(other, plain)],
    ]


def _write_cnn(path: Path) -> Path:
    """The network of the paper for MNIST, 15C5-P2-40C5-P2-300-10, with random weights."""
    random = np.random.default_rng(0)

    def conv(size: int, n_in: int, n_out: int) -> nir.Conv2d:
        weight = random.normal(0, 1, (n_out, n_in, 5, 5))
        return nir.Conv2d((size, size), weight, (1, 1), (0, 0), (1, 1), 1, np.zeros(n_out))

    def dense(n_in: int, n_out: int) -> nir.Affine:
        return nir.Affine(random.normal(0, 1, (n_out, n_in)), np.zeros(n_out))

    nodes = [graphs.port(nir.Input, 1, 28, 28)]
    nodes += [conv(28, 1, 15), leaky((15, 24, 24), 5.0, 2.0), graphs.pool(nir.SumPool2d)]
    nodes += [conv(12, 15, 40), leaky((40, 8, 8), 5.0, 2.0), graphs.pool(nir.SumPool2d)]
    nodes += [graphs.flatten(40, 4, 4), dense(640, 300), leaky(300, 5.0, 2.0), dense(300, 10)]
    metadata = {"producer": "other", "reset": "zero", "dt": 1.0}
    nir.write(path, graphs.chain(*nodes, graphs.port(nir.Output, 10), metadata=metadata))
    return path


def cnn(bench: Bench) -> Rows:
    """CPU time of an image in training, in the paper's network for MNIST at T = 5."""
    with np.load(w8a8.SHARED / "data" / "mnist.npz", allow_pickle=False) as images:
        x = images["x_calib"][:320, None].astype(np.float32) / 255
        y = images["y_calib"][:320].astype(np.int64)

    def measure(method: str, epochs: int) -> Any:
        with TemporaryDirectory() as folder:
            calibrate = Path(folder) / "calibrate.npz"
            np.savez(calibrate, x=x[:64])
            file = _write_cnn(Path(folder) / "net.nir")
            before = process_time()
            tune_model(
                file,
                (x, y),
                options=TuneOptions(
                    method=method, epochs=epochs, from_scratch=True, patience=0, threads=1
                ),
                compile_options=CompileOptions(
                    timesteps=5, calibrate=calibrate, emit=(), target="unlimited"
                ),
            )
        return process_time() - before

    rows = []
    for method in ("psg", "na"):
        # What an epoch more costs is training alone.
        one, three = (
            bench.measured(f"cnn {method}, {n} epochs", lambda n=n, m=method: measure(m, n))
            for n in (1, 3)
        )
        seconds = (three - one) / 2 / (0.9 * len(x))
        hours = 54_000 * seconds / 3600
        rows.append([method, f"{1000 * seconds:.1f}", f"{hours:.2f}", f"{200 * hours:.0f}"])
    head = ["method", "CPU ms an image", "hours an epoch of 54,000", "hours for 200 epochs"]
    return [head, *rows]


def _idx(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 28, 28) from 0 to 1, and labels, of MNIST's original files."""
    images = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8, offset=16)
    labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8, offset=8)
    return images.reshape(-1, 1, 28, 28).astype(np.float32) / 255, labels.astype(np.int64)


def full(bench: Bench) -> Rows:
    """The paper's network for MNIST on all of it, for about as much CPU time with both methods."""
    train, test = (_idx(bench.arguments.idx, part) for part in ("train", "t10k"))

    def measure(method: str, epochs: int) -> Any:
        with TemporaryDirectory() as folder:
            calibrate = Path(folder) / "calibrate.npz"
            np.savez(calibrate, x=train[0][:512])
            before = process_time()
            tuned = tune_model(
                _write_cnn(Path(folder) / "net.nir"),
                train,
                options=TuneOptions(
                    method=method, epochs=epochs, from_scratch=True, patience=0, threads=1
                ),
                compile_options=CompileOptions(
                    timesteps=5, calibrate=calibrate, emit=(), target="unlimited"
                ),
                evaluate=test,
            )
        return [tuned.report["tune"]["after"], (process_time() - before) / 60]

    rows = []
    for method, epochs in (("na", 1), ("psg", 1), ("psg", 2)):
        top1, minutes = bench.measured(
            f"full {method}, {epochs} epochs", lambda m=method, n=epochs: measure(m, n)
        )
        rows.append([method, str(epochs), f"{minutes:.1f}", f"{top1:.2f}"])
    return [["method", "epochs of 54,000", "CPU minutes", "test accuracy, %"], *rows]


def xor(bench: Bench) -> Rows:
    """Spike-XOR in fixed point, judged by the compiled network of the epoch that is kept."""

    def measure(seed: int) -> Any:
        compiled = chip_xor.learn(seed)
        return [*chip_xor.outcome(compiled), compiled.report["tune"]["best_epoch"]]

    found = [
        bench.measured(f"xor in fixed point, seed {s}", lambda s=s: measure(s)) for s in TWENTY
    ]
    solved = [(offset, epoch) for right, offset, epoch in found if right == len(chip_xor.PAIRS)]
    counts = Counter(right for right, *_ in found)
    return [
        ["network", "seeds that solve it", "patterns right", "spike off by, ms", "epoch kept"],
        [
            "3-10-1",
            f"{len(solved)} of {len(found)}",
            ", ".join(f"{right}: {n} seeds" for right, n in sorted(counts.items(), reverse=True)),
            f"{np.mean([offset for offset, _ in solved]):.1f}" if solved else "",
            f"{np.median([epoch for _, epoch in solved]):.0f}" if solved else "",
        ],
    ]


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__.splitlines()[0], list(MADE), seeds=5)
    parser.set_defaults(cases=[case for case in MADE if case != "full"])
    parser.add_argument("--epochs", type=int, default=6, help="of mnist")
    parser.add_argument("--idx", type=Path, help="folder of MNIST's four original files, unpacked")
    run(parser.parse_args(), MADE, PAGE)


MADE = {
    "pattern": pattern,
    "mnist": mnist,
    "normad": normad,
    "chip": chip,
    "xor": xor,
    "cnn": cnn,
    "full": full,
    "rescaled": rescaled,
}

if __name__ == "__main__":
    main()
