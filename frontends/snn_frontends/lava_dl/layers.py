"""The layers of a ``.net`` file, each by itself: its weights, its geometry, its neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snn_compile.errors import (
    CompileError,
    CompileErrors,
    Origin,
    UnsupportedError,
    raise_all,
)
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import Shape
from snn_frontends.lava_dl.fields import Fields
from snn_frontends.lava_dl.neurons import INTEGRATOR, Leaky, Neuron, SigmaDelta, neuron_of

DENSE, CONV, POOL = "dense", "conv", "pool"
INPUT, FLATTEN, AVERAGE = "input", "flatten", "average"
REFUSED = {
    "dense_rec": "recurrent synapses: the networks here are feed-forward",
    "dense_comp": "complex weights, for resonators; there are no such neurons here",
    "convT": "transposed convolutions, which lava-dl's reader refuses, too",
    "unpool": "unpooling, which lava-dl's reader refuses, too",
    "concat": "concatenation, which lava-dl's reader refuses, too",
    "affine": "an affine layer is exported as type dense; the reader knows no type affine",
}
MAX_BIAS = (1 << 15) - 1
"""Mantissas of biases have 16 bits in Lava."""
LONGEST = 62
"""Steps of the longest delay of a synapse."""
DEFAULT_GAIN = 64
"""Weight of an input layer that states none."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        name: its id in the network.
        kind: its type in the file.
        origin: where it stands in the file.
        shape: as the file states it; empty if it does not.
        neuron: its neurons; None if it has none.
        weight: (O, I) of a dense layer, (O, I / groups, kh, kw) of a convolution, (kh, kw) of a
            pool; None for others.
        bias: (C,), (N,) or (C, H, W); None if all are 0.
        geometry: of a convolution or a pool; the groups of a pool follow from its input.
        delay: steps by which its input is late: one number, one for each output or input, or
            (O, I); None if nothing is late.
        gain: weight of an input layer.
        offset: bias of an input layer.
    """

    name: str
    kind: str
    origin: Origin
    shape: Shape = ()
    neuron: Neuron | None = None
    weight: Int | None = None
    bias: Int | None = None
    geometry: Geometry | None = None
    delay: Int | None = None
    gain: int = DEFAULT_GAIN
    offset: int = 0

    @property
    def populates(self) -> bool:
        """Whether it has neurons of its own."""
        return self.kind in (DENSE, CONV, POOL, AVERAGE)


def layer_of(number: int, fields: Fields) -> Layer:
    """A layer of the file.

    Raises:
        ModelError: a field is missing or impossible.
        UnsupportedError: it has no form here (``CompileErrors`` if several complaints).
    """
    kind = fields.text("type")
    fields.origin = Origin(fields.origin.file, fields.origin.node, kind[:40])
    if kind not in _READERS:
        raise UnsupportedError(
            REFUSED.get(kind, "layers of this type are unknown"),
            origin=fields.origin,
            hint=f"supported: {', '.join(sorted(_READERS))}",
        )
    complaints: list[CompileError] = []
    neuron, found = None, None
    try:
        found = fields.group("neuron")
        neuron = None if found is None else neuron_of(found)
    except CompileError as error:
        complaints += error.errors if isinstance(error, CompileErrors) else [error]
    try:
        layer = _READERS[kind](f"layer{number}", fields, neuron)
    except CompileError as error:
        complaints.append(error)
        raise_all(complaints)
        raise TypeError("unreachable") from error
    raise_all([*complaints, *fields.unknown()])
    return layer


def _shape(fields: Fields) -> Shape:
    """The stated shape: (C, H, W) or (N,)."""
    if "shape" not in fields:
        fields.read.add("shape")
        return ()
    sizes = tuple(fields.integers("shape").ravel().tolist())
    if len(sizes) not in (1, 2, 3) or min(sizes) < 1:
        raise fields.invalid(f"its shape is {list(sizes)[:8]}")
    return sizes


def _input(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    shape = _shape(fields)
    if not shape:
        raise fields.invalid("an input layer has no 'shape'")
    gain, offset = fields.integer("weight", DEFAULT_GAIN), fields.integer("bias", 0)
    return Layer(name, INPUT, fields.origin, shape, neuron, gain=gain, offset=offset)


def _flatten(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    return Layer(name, FLATTEN, fields.origin, _shape(fields), neuron)


def _average(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    shape = _shape(fields)
    if not shape:
        raise fields.invalid("an average has no 'shape', which states the number of outputs")
    return Layer(name, AVERAGE, fields.origin, shape, neuron)


def _dense(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    weight = _weights(fields)
    n_out = fields.integer("outFeatures", len(weight))
    if weight.ndim != 2:
        weight = weight.reshape(n_out, -1) if n_out > 0 and weight.size % n_out == 0 else weight
    n_in = fields.integer("inFeatures", weight.size // max(len(weight), 1))
    if weight.shape != (n_out, n_in):
        raise fields.invalid(f"its weight {weight.shape} does not connect {n_in} to {n_out}")
    return Layer(
        *(name, DENSE, fields.origin, _shape(fields)),
        neuron=neuron or INTEGRATOR,
        weight=weight,
        bias=_bias(fields, neuron),
        delay=_delay(fields),
    )


def _conv(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    _no_delay(fields)
    weight = _kernels(fields)
    geometry = _geometry(fields, fields.integer("groups", 1))
    for key, stated in (
        ("kernelSize", weight.shape[2:]),
        ("outChannels", weight.shape[:1]),
        ("inChannels", (weight.shape[1] * geometry.groups,)),
    ):
        _agree(fields, key, stated)
    return Layer(
        *(name, CONV, fields.origin, _shape(fields)),
        neuron=_required(fields, neuron),
        weight=weight,
        bias=_bias(fields, neuron),
        geometry=geometry,
    )


def _pool(name: str, fields: Fields, neuron: Neuron | None) -> Layer:
    _no_delay(fields)
    weight = _kernels(fields)
    if weight.shape[:2] != (1, 1):
        raise fields.invalid(f"a pool has one kernel for all channels, not {weight.shape}")
    _agree(fields, "kernelSize", weight.shape[2:])
    return Layer(
        *(name, POOL, fields.origin, _shape(fields)),
        neuron=_required(fields, neuron),
        weight=weight[0, 0],
        geometry=_geometry(fields, 1),
    )


_READERS: dict[str, Callable[[str, Fields, Neuron | None], Layer]] = {
    AVERAGE: _average,
    CONV: _conv,
    DENSE: _dense,
    FLATTEN: _flatten,
    INPUT: _input,
    POOL: _pool,
}


def _weights(fields: Fields) -> Int:
    if isinstance(fields.values.get("weight"), dict):
        raise UnsupportedError(
            REFUSED["dense_comp"], origin=fields.origin, hint="train with real weights"
        )
    return fields.integers("weight")


def _kernels(fields: Fields) -> Int:
    """Kernels (O, I, kh, kw): correlated with the maps, as in the training."""
    weight = _weights(fields)
    if weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]
    if weight.ndim != 4:
        raise fields.invalid(f"its weight has the shape {weight.shape}, which is no set of kernels")
    return weight


def _geometry(fields: Fields, groups: int) -> Geometry:
    rows, columns = fields.pair("padding", 0)
    stride, dilation = fields.pair("stride", 1), fields.pair("dilation", 1)
    if min(rows, columns) < 0 or min(*stride, *dilation, groups) < 1:
        raise fields.invalid(
            f"padding {rows}, {columns}, stride {stride}, dilation {dilation}, {groups} groups"
        )
    return Geometry(stride, (rows, columns, rows, columns), dilation, groups)


def _agree(fields: Fields, name: str, found: Shape) -> None:
    """Compare what a field states with the weights."""
    fields.read.add(name)
    if name not in fields:
        return
    stated = tuple(fields.integers(name).ravel().tolist())
    if stated != found and stated != found[:1] * len(stated):
        raise fields.invalid(f"its {name} is {list(stated)}, but its weight has {list(found)}")


def _bias(fields: Fields, neuron: Neuron | None) -> Int | None:
    fields.read.add("bias")
    if "bias" not in fields:
        return None
    bias = fields.integers("bias")
    if not bias.any():
        return None
    if isinstance(neuron, SigmaDelta) and neuron.outputs_sum:
        raise UnsupportedError(
            "a bias of neurons that send the sum of their input; lava-dl's reader drops it",
            code="net-field",
            origin=fields.origin,
            hint="train the last layer without bias",
        )
    if abs(bias).max() > MAX_BIAS:
        raise UnsupportedError(
            f"its bias reaches {abs(bias).max():,}; Lava's register has 16 bits",
            code="net-range",
            origin=fields.origin,
            hint="train with a smaller bias",
        )
    return bias


def _delay(fields: Fields) -> Int | None:
    """The delays of a layer's input; None if there are none.

    Raises:
        UnsupportedError: they are longer than any of the chip.
    """
    fields.read.add("delay")
    if "delay" not in fields:
        return None
    delays = fields.integers("delay")
    if delays.min() < 0:
        raise fields.invalid(f"its delays begin at {delays.min()}")
    if delays.max() > LONGEST:
        raise UnsupportedError(
            f"a delay of {delays.max():,} steps; synapses have up to {LONGEST}, and lava-dl's"
            " reader would cut it to that",
            code="net-delay",
            origin=fields.origin,
            hint="train with shorter delays",
        )
    return delays if delays.any() else None


def _no_delay(fields: Fields) -> None:
    """Check that maps have no delays.

    Raises:
        UnsupportedError: they have some.
    """
    if _delay(fields) is not None:
        raise UnsupportedError(
            "delays of maps, which lava-dl's training obeys and its reader ignores",
            code="net-delay",
            origin=fields.origin,
            hint="train without delays in such layers",
        )


def _required(fields: Fields, neuron: Neuron | None) -> Neuron:
    """The neurons of a layer that cannot do without.

    Where they were refused, others stand in: the complaint is raised all the same.
    """
    if neuron is None and "neuron" not in fields:
        raise fields.invalid("it has no 'neuron'")
    return neuron or INTEGRATOR


__all__ = ["Layer", "Leaky", "SigmaDelta", "layer_of"]
