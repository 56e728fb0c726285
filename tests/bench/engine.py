"""How fast the compiled simulator is: CPU time on one core, wall time on two threads, in one run.

    python tests/bench/engine.py [--quick] [--networks mlp conv ...] [--densities 0.05 ...]
                                 [--peers torch ...] [--json FILE]

Contestants: every build of the engine that runs here, the reference (numpy), torch in float32 (a
layer for the whole window at once), spikingjelly (multi-step), snnTorch and lava-nc. Those that
are not installed are named. Peers may choose their batch size (and order of axes, and form of the
neuron); the engine's is the largest of those offered. Before anything is timed, every engine is
compared with the reference (``==``) and every peer's spikes are counted.

The floor of a network is explained in ``roofline.py``; its limits are measured in every round. The
networks are those of ``engine_networks.py``. `--command` measures the whole `snn-compile` command
instead, `--integer MODEL` graded, sync and radix coding beside onnxruntime (``engine_integer.py``).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import engine_lava
import engine_peers
import engine_tables
import numpy as np
import roofline
from engine_networks import (
    DENSITIES,
    MODELS,
    NETWORKS,
    SHARED,
    Work,
    Workload,
    compiled,
    synthetic,
    work,
)
from engine_peers import PeerNetwork, UnsupportedByPeerError
from engine_timing import Contestant, Spread, fastest, interleaved, ratios

from snn_compile.sim import engine, native, reference
from snn_compile.sim.reference import Run

PEERS = (*engine_peers.PACKAGES, "lava")
BATCHES = {
    "mlp": (16, 64, 256),
    "conv": (1, 2, 8),
    "mnist_mlp_256x2": (16, 64, 256),
    "cifar10_resnet20": (1, 4),
}
"""Offered to every peer; (1, 4, 16) for the other networks."""
CHECKED = {"mlp": 16, "mnist_mlp_256x2": 16}
LAVA_SAMPLES = {"mlp": 16, "mnist_mlp_256x2": 16}
N_THREADS = 2


class Bench:
    """One run of the benchmark.

    Args:
        arguments: of the command line.
        say: tells people what is being done.
    """

    def __init__(self, arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
        self.arguments, self.say = arguments, say
        self.missing: dict[str, str] = {}
        self.peers = [peer for peer in arguments.peers if peer != "lava" and self._has(peer)]
        self.builds = [b for b in native.builds() if b in (arguments.builds or native.builds())]
        if not self.builds:
            self.missing["engine"] = native.status().why
        self.chosen: dict[tuple[str, str], tuple[Any, int]] = {}
        self.rooflines: dict[str, roofline.Roofline] = {}
        try:
            for build in self.builds or [_widest()]:
                self.rooflines[build] = roofline.Roofline(build)
        except OSError as error:
            self.missing["roofline"] = str(error)
        if "torch" in sys.modules:
            sys.modules["torch"].set_grad_enabled(False)

    def _has(self, peer: str) -> bool:
        if why := engine_peers.missing(peer):
            self.missing[peer] = why
        return not why

    def workloads(self) -> Iterator[Workload]:
        for name in self.arguments.networks:
            if name in NETWORKS:
                for density in self.arguments.densities:
                    yield synthetic(name, density)
            elif (SHARED / "models" / f"{name}.onnx").is_file():
                for coding in ("graded", "rate"):
                    yield compiled(name, coding)
            else:
                self.missing[name] = f"no such file in {SHARED / 'models'}"

    def measure(self, workload: Workload) -> dict[str, Any]:
        """Everything about one workload, as JSON."""
        batches = BATCHES.get(workload.name, (1, 4, 16))
        n_checked = CHECKED.get(workload.name, 2)
        messages = workload.draw(n_checked)
        self.say(f"{workload.label}: reference")
        expected = reference.run_messages(workload.program, messages)
        load = work(workload, expected, n_checked)
        engines = [self._engine(workload, build, max(batches)) for build in self.builds]
        for build in self.builds:
            check_engine(workload, build, messages, expected)
        record: dict[str, Any] = {
            "network": workload.name,
            "activity": workload.activity,
            "density": density_of(workload, load),
            "work": {**asdict(load), "synaptic_operations": load.synaptic_operations},
            "samples_compared": n_checked,
            "peers": {},
        }
        contestants = list(engines)
        if not self.arguments.brief:
            contestants.append(self._reference(workload, batches))
        for peer in self.peers:
            self.say(f"{workload.label}: {peer}")
            try:
                contestant, facts = self._peer(workload, peer, batches, messages, expected)
            except UnsupportedByPeerError as error:
                record["peers"][peer] = {"missing": str(error)}
                continue
            contestants.append(contestant)
            record["peers"][peer] = facts
        record["batches"] = {c.name: c.batch for c in contestants}
        lava = self._lava(workload, record)
        # The floor is that of binary spikes: payloads are multiplied.
        lines = {} if workload.program.window.coding == "graded" else self.rooflines
        limits: dict[str, list[roofline.Limits]] = {name: [] for name in lines}

        def measure_limits() -> None:
            for build, line in lines.items():
                limits[build].append(line.measure())

        self.say(f"{workload.label}: {self.arguments.rounds} rounds of {len(contestants)}")
        times = interleaved(contestants, self.arguments.rounds, 1, measure_limits)
        rounds = 0 if self.arguments.brief else self.arguments.rounds
        on_two = interleaved(contestants, rounds, N_THREADS) if rounds else {}
        if lava and not self.arguments.quick:
            lava.run()
        lava_seconds = lava.seconds if lava else {}
        record["cpu_ms"] = {k: asdict(Spread.of(1e3 * v[:, 0])) for k, v in times.items()}
        record["wall_ms_two_threads"] = {
            k: asdict(Spread.of(1e3 * v[:, 1])) for k, v in on_two.items()
        }
        record["lava_wall_ms"] = {
            form: asdict(Spread.of(1e3 * np.array(seconds)))
            for form, seconds in lava_seconds.items()
        }
        if engines:
            own = engines[0].name
            spreads = ratios(times, own, 0)
            for form, seconds in lava_seconds.items():
                # Its better run, because what disturbs it only adds to wall time.
                spreads[form] = Spread.of(min(seconds) / times[own][:, 0])
            record["cpu_ratios"] = {k: asdict(v) for k, v in spreads.items()}
            if on_two:
                record["wall_ratios"] = {k: asdict(v) for k, v in ratios(on_two, own, 1).items()}
        record["roofline"] = {
            build: _against_floor(load, found, times.get(engine_name(build)))
            for build, found in limits.items()
        }
        return record

    def _engine(self, workload: Workload, build: str, batch: int) -> Contestant:
        prepared, messages = engine.Engine(workload.program, build=build), workload.draw(batch)

        def run(n_threads: int) -> Run:
            return prepared.run_messages(messages, threads=n_threads, activity=False)

        return Contestant(engine_name(build), batch, run)

    def _reference(self, workload: Workload, batches: Sequence[int]) -> Contestant:
        def contestant(batch: int) -> Contestant:
            messages = workload.draw(batch)
            return Contestant(
                "reference", batch, lambda _: reference.run_messages(workload.program, messages)
            )

        key = (workload.name, f"reference {workload.program.window.coding}")
        if key not in self.chosen:
            self.chosen[key] = None, batches[fastest([contestant(batch) for batch in batches])]
        return contestant(self.chosen[key][1])

    def _peer(
        self, workload: Workload, peer: str, batches: Sequence[int], messages: Any, expected: Run
    ) -> tuple[Contestant, dict[str, Any]]:
        """A peer at its best, and whether it computes the same."""
        key = (workload.name, f"{peer} {workload.program.window.coding}")
        if key not in self.chosen:
            options = [
                (variant, batch)
                for variant in engine_peers.variants(peer, workload.program)
                for batch in batches
            ]
            candidates = [_peer_contestant(workload, peer, *option) for option in options]
            self.chosen[key] = options[fastest(candidates)]
        variant, batch = self.chosen[key]
        network = PeerNetwork(workload.program, peer, variant)
        facts = {"variant": str(variant), **compare(network, messages, expected)}
        return _peer_contestant(workload, peer, variant, batch), facts

    def _lava(self, workload: Workload, record: dict[str, Any]) -> LavaRuns | None:
        chosen = workload.name in MODELS or workload.activity == "5%" or self.arguments.all_lava
        if "lava" not in self.arguments.peers or not chosen:
            return None
        try:
            runs = LavaRuns(workload, self.say)
        except engine_lava.LavaUnavailableError as error:
            record["peers"]["lava"] = {"missing": str(error)}
            return None
        record["peers"] |= {form: {"outputs": 1.0} for form in runs.seconds}
        return runs


class LavaRuns:
    """A workload in Lava, in every form that it is measured in, run once so far."""

    def __init__(self, workload: Workload, say: Callable[[str], None]) -> None:
        say(f"{workload.label}: lava")
        self.network = engine_lava.LavaNetwork(workload, LAVA_SAMPLES.get(workload.name, 1))
        # Conv processes would take minutes for a sample of the models, and say nothing new.
        both = self.network.has_conv and workload.name in NETWORKS
        forms = ("lava", "lava sparse") if both else ("lava sparse",)
        forms = forms if self.network.has_conv else ("lava",)
        self.seconds: dict[str, list[float]] = {form: [] for form in forms}
        self.run()

    def run(self) -> None:
        for form, seconds in self.seconds.items():
            seconds.append(self.network.run(form))


def engine_name(build: str) -> str:
    return f"engine {build}"


def density_of(workload: Workload, load: Work) -> float:
    """Share of all places in all steps that hold a message, the input's among them."""
    program = workload.program
    readouts = {node.id for node in program.readouts}
    sending = [n for n in (program.input, *program.populations) if n.id not in readouts]
    places = sum(int(np.prod(node.shape)) for node in sending) * program.window.n_steps
    return load.spikes / places


def check_engine(workload: Workload, build: str, messages: Any, expected: Run) -> None:
    """Raises ValueError where the engine and the reference differ."""
    found = engine.Engine(workload.program, build=build).run_messages(messages, threads=N_THREADS)
    for what in ("outputs", "activity"):
        for node, values in getattr(expected, what).items():
            if not np.array_equal(getattr(found, what)[node], values):
                raise ValueError(f"{workload.label}, {build}: {what} of '{node}' differ")


def compare(network: PeerNetwork, messages: Any, expected: Run) -> dict[str, Any]:
    """Share of equal output potentials, and how far the numbers of spikes are off."""
    counts: dict[Any, int] = {}
    outputs = network(network.prepare(messages), counts)
    equal = [np.asarray(outputs[k]).round() == v for k, v in expected.outputs.items()]
    total = {k: int(expected.activity[k].sum()) for k in counts}
    off = sum(abs(counts[k] - total[k]) for k in counts) / max(sum(total.values()), 1)
    share = float(np.mean(np.concatenate([e.ravel() for e in equal])))
    return {"outputs": share, "spikes_off": off}


def _peer_contestant(workload: Workload, peer: str, variant: Any, batch: int) -> Contestant:
    network = PeerNetwork(workload.program, peer, variant)
    x = network.prepare(workload.draw(batch))
    return Contestant(peer, batch, lambda _: network(x))


def _against_floor(load: Work, limits: list[roofline.Limits], times: Any) -> dict[str, Any]:
    """The floor of each round, and the share of it that the engine reached there."""
    floors = np.array([entry.floor(load) for entry in limits])
    record = {
        "limits": asdict(roofline.median(limits)),
        "floor_ms": asdict(Spread.of(1e3 * floors)),
    }
    if times is not None:
        record["fraction"] = asdict(Spread.of(floors / times[:, 0]))
    return record


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _widest() -> str:
    """The build whose limits are worth stating where there is no engine."""
    flags = _cpu_flags().split()
    return "avx512" if "avx512bw" in flags else "avx2" if "avx2" in flags else "baseline"


def machine() -> dict[str, Any]:
    lines = _cpu_flags().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **engine_peers.versions(),
    }


def keep_freed_memory() -> None:
    """Have glibc keep what is freed: no page faults for the large arrays of peers."""
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, 1 << 30)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*NETWORKS, *MODELS]
    parser.add_argument("--networks", nargs="*", default=known, choices=known)
    parser.add_argument("--densities", nargs="*", type=float, default=DENSITIES)
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--builds", nargs="*", default=None, help="of the engine; all by default")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="5 %% density, no models, 5 rounds")
    parser.add_argument("--brief", action="store_true", help="one core only, without the reference")
    parser.add_argument("--all-lava", action="store_true", help="lava at every density")
    parser.add_argument("--keep-memory", action="store_true", help="have malloc keep what is freed")
    parser.add_argument("--command", action="store_true", help="measure the whole command instead")
    parser.add_argument(
        "--integer",
        nargs="*",
        choices=MODELS,
        metavar="MODEL",
        help="measure integer networks beside onnxruntime instead",
    )
    parser.add_argument("--images", type=int, default=10_000, help="for --command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.densities, arguments.rounds = [0.05], min(arguments.rounds, 5)
        arguments.networks = [name for name in arguments.networks if name in NETWORKS]
    return arguments


def main() -> None:
    # Threads of OpenMP that wait busily take the cores from everyone else; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = parsed()
    result: dict[str, Any] = {"machine": machine()}
    if arguments.command:
        import engine_command

        rounds = 1 if arguments.quick else 3
        result["command"] = engine_command.measure(arguments.images, rounds)
        engine_tables.show_command(result["command"])
    elif arguments.integer:
        import engine_integer

        builds = [b for b in native.builds() if b in (arguments.builds or native.builds())]
        result["integer"] = [
            engine_integer.measure(model, builds, arguments.rounds, engine_tables.say)
            for model in arguments.integer
        ]
        engine_tables.show_integer(result, builds, engine_integer.verdicts)
    else:
        if arguments.keep_memory:
            keep_freed_memory()
        bench = Bench(arguments, engine_tables.say)
        result |= {"missing": bench.missing, "workloads": [], "builds": bench.builds}
        for workload in bench.workloads():
            result["workloads"].append(bench.measure(workload))
            engine_tables.show_workload(result["workloads"][-1])
        engine_tables.show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
