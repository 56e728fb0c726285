"""What the C program cannot express."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from snn_backends.c import neurons
from snn_backends.c.integers import INT32_MAX
from snn_backends.c.layers import Family, family_of
from snn_compile.errors import CapacityError, CompileError, UnsupportedError
from snn_compile.ir.quantized import ConvSynapses, Population, QuantizedGraph, Synapses
from snn_compile.ir.spiking import InputCoding

OTHERWISE = "use --device reference, or emit it for another backend"


def refusals(program: QuantizedGraph) -> list[CompileError]:
    """Everything that has no form in C, all at once."""
    return [*_of_time(program), *_of_populations(program), *_of_sizes(program)]


def _of_time(program: QuantizedGraph) -> Iterator[CompileError]:
    family = family_of(program)
    coding = program.input_coding
    if family is None:
        why = "some layers wait for a window of their sources, or for changes, and some do not"
    elif family is Family.WINDOWED and coding is not InputCoding.FRAME:
        why = f"layers wait for a window, and the input sends '{coding.value}', not one frame"
    elif family is Family.STREAM and (
        coding is not InputCoding.CHANGES or program.window.n_steps > 1
    ):
        why = f"layers add up changes, and the input sends '{coding.value}'"
    else:
        return
    origin = program.inputs[0].origin
    yield UnsupportedError(why, code="c-timing", origin=origin, hint=OTHERWISE)


def _of_populations(program: QuantizedGraph) -> Iterator[CompileError]:
    for node in program.populations:
        try:
            neurons.form_of(program, node)
        except KeyError:
            yield _unsupported(node, f"there are no {node.model} neurons in C")
        except ValueError as error:
            yield _unsupported(node, str(error))
        except neurons.TooWideError as error:
            yield CapacityError(
                f"'{node.id}': {error}", code="c-width", origin=node.origin, hint=OTHERWISE
            )


def _unsupported(node: Population, why: str) -> UnsupportedError:
    return UnsupportedError(
        f"'{node.id}': {why}", code="c-neuron", origin=node.origin, hint=OTHERWISE
    )


def _of_sizes(program: QuantizedGraph) -> Iterator[CompileError]:
    for node in program.graph:
        synapses = node.weight.values.size if isinstance(node, Synapses) else 0
        largest = max(prod(node.shape) * program.window.n_steps, synapses)
        if isinstance(node, ConvSynapses):  # rows and columns, padding included, and a step more
            source = program.graph[node.inputs[0]].shape
            borders = sum(abs(size) for size in node.geometry.padding)
            largest = max(largest, 2 * (max(source[1:]) + borders))
        if largest > INT32_MAX:
            yield CapacityError(
                f"'{node.id}' has {largest} values, more than a 32-bit index reaches",
                code="c-width",
                origin=node.origin,
                hint=OTHERWISE,
            )
