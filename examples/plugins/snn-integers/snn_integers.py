"""A device for networks of dense layers with payloads, in Python's own integers."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from snn_compile.errors import DeviceError
from snn_compile.hil.device import CANNOT_RUN, Capabilities, Measured, refuse_arguments
from snn_compile.ir.quantized import (
    DenseSynapses,
    GradedNeurons,
    Population,
    QuantizedGraph,
    Readout,
)


class IntegersDevice:
    """``--device integers``; with ``--set no_bias=LAYER``, it forgets the biases of a layer."""

    contract_version = 1

    def __init__(self, argument: str, options: Mapping[str, str]) -> None:
        refuse_arguments("integers", argument, options, "no_bias")
        self.no_bias = options.get("no_bias")

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """See that all layers are of a kind that it knows, with one group of synapses each."""
        for node in program.populations:
            groups = [program.graph[name] for name in node.inputs]
            known = type(node) in (GradedNeurons, Readout) and program.window.n_steps == 1
            if not known or [type(group) for group in groups] != [DenseSynapses]:
                raise DeviceError(f"'{node.id}' is no dense layer with payloads", code=CANNOT_RUN)
        self.program = program
        return Capabilities(exact=True, facts={"arithmetic": "Python's integers"})

    def run(self, frames: npt.NDArray[np.int64], time_limit: float) -> Iterator[Measured]:
        """One stimulus at a time."""
        for number, frame in enumerate(frames):
            yield Measured(number, self.respond(frame))

    def respond(self, frame: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int32]]:
        """What every layer sends: (1 stimulus, 1 step, *shape)."""
        inputs = self.program.inputs.split(frame, 0)  # a sample of several is one row
        sent: dict[str, list[int]] = {name: part.ravel().tolist() for name, part in inputs.items()}
        for node in self.program.populations:
            synapses = self.program.graph[node.inputs[0]]
            if not isinstance(synapses, DenseSynapses):
                raise TypeError("load has seen to that")
            source = sent[synapses.inputs[0]]
            values = []
            for weights, neuron in zip(synapses.weight.values.tolist(), neurons(node), strict=True):
                potential = sum(w * s for w, s in zip(weights, source, strict=True))
                potential = shifted(potential, synapses.exponent)
                if node.id != self.no_bias:
                    potential += neuron["bias"]
                if isinstance(node, GradedNeurons):
                    product = max(potential, 0) * neuron["multiplier"]
                    potential = min(product >> neuron["shift"], node.payload.max)
                values.append(potential)
            sent[node.id] = values
        return {
            node.id: np.array(sent[node.id], np.int32).reshape(1, 1, *node.shape)
            for node in self.program.populations
        }

    def close(self) -> None:
        """Nothing is left open."""


def neurons(node: Population) -> list[dict[str, int]]:
    """The parameters of each neuron, which the network states for each channel."""
    names = ["bias", *(["multiplier", "shift"] if isinstance(node, GradedNeurons) else [])]
    columns = []
    for name in names:
        values = getattr(node, name).values
        values = values.reshape(values.shape + (1,) * (len(node.shape) - values.ndim))
        columns.append(np.broadcast_to(values, node.shape).reshape(-1).tolist())
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def shifted(value: int, exponent: int) -> int:
    """``value * 2**exponent``; no bit is lost."""
    return value << exponent if exponent >= 0 else value >> -exponent
