"""Everybody who runs a network: each takes networks with stimuli and gives what layers sent.

An emitter says why it leaves a network out (``refuses``), and what the others' layers sent
(``run``). Those that live in environments of their own run all their networks in one process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "support"))

import lava_batch  # noqa: E402  (it lies with the tests)
from snn_backends.lava.environment import locate  # noqa: E402
from snn_compile.conformance.check import refused  # noqa: E402
from snn_compile.ir.fixedpoint import QTensor  # noqa: E402
from snn_compile.ir.quantized import IFNeurons, QuantizedGraph, along_channels  # noqa: E402
from snn_compile.ir.spiking import Reset  # noqa: E402
from snn_compile.plugins import BACKENDS  # noqa: E402
from snn_compile.sim import engine, native, reference  # noqa: E402

Messages = dict[str, np.ndarray]
SECONDS = 3000


@dataclass(frozen=True, eq=False)
class Network:
    """One network to compare.

    Attributes:
        name: distinct among all.
        source: where it is from: the vectors, or a model.
        coding: of the row of the table.
        program: the network.
        frames: stimuli.
    """

    name: str
    source: str
    coding: str
    program: QuantizedGraph
    frames: np.ndarray


@dataclass(frozen=True)
class Emitter:
    """One column of the table.

    Attributes:
        name: of the row.
        missing: why it cannot be run here; empty if it can.
        refuses: why a network is left out; empty if it is not.
        run: what every layer of each network sent, by name, from networks and an empty folder; a
            text in their place says what went wrong. Only some layers, for some.
    """

    name: str
    missing: str
    refuses: Callable[[Network], str]
    run: Callable[[Sequence[Network], Path], dict[str, Messages | str]]


def emitters() -> list[Emitter]:
    """All of them, those that are missing included."""
    found = [_engine(build) for build in native.builds()]
    found = found or [Emitter("engine", native.status().why, _nothing, _none)]
    found += [_lava(form) for form in ("sparse", "conv")]
    found.append(_netx())
    return [*found, *(_nir(runtime) for runtime in ("norse", "spikingjelly", "snntorch"))]


def _nothing(network: Network) -> str:
    del network
    return ""


def _none(networks: Sequence[Network], folder: Path) -> dict[str, Messages | str]:
    del networks, folder
    return {}


def _engine(build: str) -> Emitter:
    def run(networks: Sequence[Network], folder: Path) -> dict[str, Messages | str]:
        del folder
        sent: dict[str, Messages | str] = {}
        for network in networks:
            simulator = engine.Engine(network.program, build=build)
            sent[network.name] = dict(simulator.run(network.frames, record=True).messages)
        return sent

    return Emitter(f"engine {build}", "", lambda n: engine.no_engine(n.program), run)


def _lava(form: str) -> Emitter:
    environment = locate()

    def run(networks: Sequence[Network], folder: Path) -> dict[str, Messages | str]:
        plans = lava_batch.emitted(list(networks), folder)  # type: ignore[arg-type]
        batch = list(networks)
        return dict(lava_batch.run(environment, batch, plans, form, folder, time_limit=SECONDS))  # type: ignore[arg-type]

    why = "" if environment else "no Lava environment: snn-compile lava-env"
    return Emitter(f"lava {form}", why, lambda n: refused(n, "lava"), run)  # type: ignore[arg-type]


def _netx() -> Emitter:
    python = os.environ.get("SNN_COMPILE_NETX_PYTHON", "")

    def run(networks: Sequence[Network], folder: Path) -> dict[str, Messages | str]:
        _emit("netx", networks, folder)
        files = _files(networks, folder, "")
        if why := _called([python, str(TESTS / "netx_reader.py"), *files], folder):
            return {network.name: why for network in networks}
        sent: dict[str, Messages | str] = {}
        for network in networks:
            layers = {}
            with np.load(folder / f"{network.name}.out.npz") as found:
                for node in network.program.populations[:-1]:
                    shape = len(network.frames), network.program.window.n_steps, *node.shape
                    layers[str(node.id)] = found[f"spikes/{node.id}"].reshape(shape)
            sent[network.name] = layers
        return sent

    why = "" if python else "SNN_COMPILE_NETX_PYTHON names no Python with lava-dl"
    return Emitter("netx, by lava-dl", why, lambda n: refused(n, "netx"), run)  # type: ignore[arg-type]


def _nir(runtime: str) -> Emitter:
    python = os.environ.get("SNN_COMPILE_NIR_PYTHON", "")

    def run(networks: Sequence[Network], folder: Path) -> dict[str, Messages | str]:
        _emit("nir", networks, folder)
        files = _files(networks, folder, "/network.nir")
        script = str(TESTS / "nir_runtimes.py")
        if why := _called([python, script, runtime, *files], folder):
            return {network.name: why for network in networks}
        sent: dict[str, Messages | str] = {}
        for network in networks:
            (readout,) = network.program.readouts
            shape = len(network.frames), network.program.window.n_steps, *readout.shape
            with np.load(folder / f"{network.name}.out.npz") as found:
                potentials = found["outputs"].cumsum(axis=1).reshape(shape)
            sent[network.name] = {str(readout.id): potentials}
        return sent

    def refuses(network: Network) -> str:
        return refused(network, "nir") or _lacks(runtime, network.program)  # type: ignore[arg-type]

    why = "" if python else f"SNN_COMPILE_NIR_PYTHON names no Python with {runtime}"
    return Emitter(f"nir, by {runtime}", why, refuses, run)


def _lacks(runtime: str, program: QuantizedGraph) -> str:
    """What a runtime makes differently of a file that says it rightly: docs/reference/nir.md."""
    if len(program.readouts) > 1:
        return "several outputs: the runtimes are asked for one"
    firing = [node for node in program.populations if isinstance(node, IFNeurons)]
    if runtime == "snntorch":
        # It resets one step after the spike, by looking at the potential that it has stored.
        ready = any(
            node.reset is Reset.SUBTRACT
            and (
                _of_neurons(node.initial_potential, node) >= _of_neurons(node.threshold, node)
            ).any()
            for node in firing
        )
        why = "snntorch takes a threshold off a potential that starts at or above it, and no spike"
        return why if ready else ""
    if any(node.reset is Reset.SUBTRACT for node in firing):
        return f"{runtime} knows a reset to zero only"
    if any(node.initial_potential.values.any() for node in firing):
        return f"{runtime} starts every potential at 0"
    if runtime == "norse" and any(len(node.inputs) > 1 for node in program.populations):
        return "norse does not add up several edges"
    uneven = any(len(np.unique(node.threshold.values)) > 1 for node in firing)
    return (
        "spikingjelly takes one threshold a layer" if runtime == "spikingjelly" and uneven else ""
    )


def _of_neurons(values: QTensor, node: IFNeurons) -> np.ndarray:
    return along_channels(values.values, node.shape)


def _emit(backend: str, networks: Sequence[Network], folder: Path) -> None:
    for network in networks:
        (folder / network.name).mkdir(parents=True)
        BACKENDS.load(backend).emit(network.program, folder / network.name)
        messages = reference.input_messages(network.program, network.frames)
        if backend == "nir" and messages[0, 0].size == messages.shape[2]:  # a vector there
            messages = messages.reshape(messages.shape[:3])
        np.savez(folder / f"{network.name}.in.npz", messages=messages)


def _files(networks: Sequence[Network], folder: Path, ending: str) -> list[str]:
    stems = [str(folder / network.name) for network in networks]
    return [word for stem in stems for word in (stem + ending, f"{stem}.in.npz", f"{stem}.out.npz")]


def _called(command: list[str], folder: Path) -> str:
    """Run a script in an environment of its own; what went wrong, or nothing."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=folder, env=clean, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"failed: {error}"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"failed: {lines[-1]}" if done.returncode else ""
