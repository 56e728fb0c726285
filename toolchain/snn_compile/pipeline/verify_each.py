"""``--verify-each``: a check of the invariants of every pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from snn_compile.errors import VerificationError
from snn_compile.fit import fit_findings
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import Graph, NodeId
from snn_compile.ir.spiking import InputCoding
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.passes import APPROXIMATION, Finding, PassObserver
from snn_compile.quantize.quantize import Quantization
from snn_compile.quantize.to_fixed_point import Prove
from snn_compile.samples.arrays import Samples
from snn_compile.sim import ann, engine, reference, spiking

N_SAMPLES, N_STIMULI = 8, 2
"""Samples for a network in floating point, and frames for one whose neurons are simulated."""
TOLERANCE = 1e-5
"""Tolerance of an output in floating point, relative to the largest one."""

Stage = ANNGraph | SpikingGraph | Quantization


@dataclass
class VerifyEach:
    """An observer that checks the result of each pass before it notifies another observer.

    The constructor of each stage checks its invariants again. A pass between float networks, or
    between spiking ones, must preserve the outputs, unless a finding states its error. In fixed
    point every bound is proven again, and the compiled engine must equal the reference bit for bit.

    Attributes:
        observe: called for each pass that was verified.
        before: the input of the next pass.
        samples: samples of the user, or None for random ones.
    """

    observe: PassObserver
    before: Stage
    samples: Samples | None = None
    _seed: int = field(default=0)

    def __call__(
        self, name: str, graph: Stage, findings: tuple[Finding, ...], seconds: float
    ) -> None:
        """Check the result of a pass.

        Raises:
            VerificationError: it violates an invariant.
        """
        try:
            _rebuilt(graph)
        except ValueError as error:
            raise _broken(name, f"the stage violates its invariants: {error}") from error
        if isinstance(graph, Quantization):
            self._check_integers(name, graph)
            if fit_findings(findings) and not any(one.code == APPROXIMATION for one in findings):
                self._compare_integers(name, graph)
        elif isinstance(graph, type(self.before)) and not any(
            finding.code == APPROXIMATION for finding in findings
        ):
            self._compare(name, graph)
        self.before = graph
        self.observe(name, graph, findings, seconds)

    def _compare(self, name: str, after: ANNGraph | SpikingGraph) -> None:
        before, found = self._outputs(self.before), self._outputs(after)
        if before.keys() != found.keys():
            raise _broken(name, f"the outputs are {', '.join(found)}, not {', '.join(before)}")
        for output, one in before.items():
            other = found[output]
            if one.shape != other.shape:
                shapes = f"{other.shape[1:]}, not {one.shape[1:]}"
                raise _broken(name, f"the output has the shape {shapes}")
            error, largest = np.abs(one - other).max(), np.abs(one).max()
            if not error <= TOLERANCE * max(largest, 1e-30):
                raise _broken(name, f"an output of up to {largest:.6g} has moved by {error:.6g}")

    def _outputs(self, network: Stage) -> dict[NodeId, Any]:
        if isinstance(network, ANNGraph):
            x = self._x(network)
            floats = ann.evaluate_outputs(network, x, dtype=np.float64)
            pairs = zip(network.outputs, floats, strict=True)
            return {output.id: values.reshape(len(x), -1) for output, values in pairs}
        if isinstance(network, SpikingGraph):
            frames = self._frames(network)
            found = spiking.evaluate_outputs(network, frames)
            return {output: values.reshape(len(frames), -1) for output, values in found.items()}
        raise TypeError(f"a {type(network).__name__} has no outputs in floating point")

    def _check_integers(self, name: str, quantization: Quantization) -> None:
        Prove()(quantization)
        program = quantization.program
        frames = self._frames(program)
        runs = [run(program, frames, record=True) for run in (reference.run, engine.run)]
        for what in ("messages", "outputs"):
            wanted, found = (getattr(run, what) for run in runs)
            for node in wanted:
                if not np.array_equal(wanted[node], found[node]):
                    raise _broken(name, f"engine and reference differ in the {what} of '{node}'")

    def _compare_integers(self, name: str, after: Quantization) -> None:
        """Every layer sends what it did, whatever stands between them now."""
        if not isinstance(self.before, Quantization):
            return
        before = self.before.program
        frames = self._frames(before)
        one, other = (reference.run(p, frames, record=True) for p in (before, after.program))
        for node, messages in one.messages.items():
            if node not in other.messages or not np.array_equal(messages, other.messages[node]):
                raise _broken(name, f"layer '{node}' sends something else")

    def _x(self, network: ANNGraph) -> Any:
        if self.samples is not None:
            return self.samples.x[:N_SAMPLES]
        return self._generator.normal(size=(N_SAMPLES, *network.inputs.shape))

    def _frames(self, network: Any) -> Int:
        events = network.input_coding is InputCoding.EVENTS
        before = (N_STIMULI, network.window.n_steps) if events else (N_STIMULI,)
        generator = self._generator
        drawn = {
            node.id: generator.integers(node.low, node.high, (*before, *node.shape), endpoint=True)
            for node in network.inputs
        }
        frames: Int = network.inputs.join(drawn, len(before))
        return frames

    @property
    def _generator(self) -> np.random.Generator:
        """A generator of the same numbers before and after the pass."""
        return np.random.default_rng(self._seed)


def _rebuilt(stage: Stage) -> None:
    """Rebuild a stage, so that its constructors and those of its graph check it again."""
    network: Any = stage.program if isinstance(stage, Quantization) else stage
    replace(network, graph=Graph(network.graph))


def _broken(name: str, what: str) -> VerificationError:
    return VerificationError(
        f"pass '{name}': {what}",
        code="pass-not-verified",
        hint=f"this is a bug of the compiler; --dump-after {name} shows the network",
    )
