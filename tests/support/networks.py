"""Random quantized networks for tests: built by hand, all shapes and codings, states that fit.

``mlp``, ``structures`` and ``branches`` make whole networks from a seed.
"""

from __future__ import annotations

import numpy as np

from network_builder import ALL_NEURONS, INPUT, NEURONS, SINGLE_STEP, Builder
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding

__all__ = [
    "ALL_NEURONS",
    "INPUT",
    "NEURONS",
    "SINGLE_STEP",
    "Builder",
    "branches",
    "mlp",
    "random_synapses",
    "structures",
]


def mlp(
    seed: int = 0, kind: str = "graded", n_steps: int = 1, **more: int
) -> tuple[QuantizedGraph, np.ndarray]:
    """Two dense layers and a readout; the network and eight stimuli."""
    coding = InputCoding.GRADED if n_steps == 1 else InputCoding.CURRENT
    high = 15 if kind in ("stock", "leaky") else 255
    net = Builder(seed, (12,), n_steps=n_steps, coding=coding, high=high, **more)
    hidden = net.neurons(kind, net.dense(INPUT, 9))
    hidden = net.neurons(kind, net.dense(hidden, 7, bits=6))
    net.neurons("readout", net.dense(hidden, 5))
    return net.build(), net.frames(8)


def structures(
    seed: int, kind: str, n_steps: int, *, poisson: bool = False, **more: int
) -> tuple[QuantizedGraph, np.ndarray]:
    """Every structure that needs a rule, in one network of small maps that are not square.

    Strided, grouped, depthwise, dilated and asymmetrically padded convolutions, a residual join
    with a relay, an input that feeds three depths, sparse wiring, exponents of both signs, two
    readouts.
    """
    graded = n_steps == 1
    coding = InputCoding.POISSON if poisson else InputCoding.CURRENT
    net = Builder(
        seed,
        (2, 7, 9),
        n_steps=n_steps,
        coding=InputCoding.GRADED if graded else coding,
        low=-15 if poisson or kind in ("stock", "leaky") else -60,
        high=15 if kind in ("stock", "leaky") else 195,
        **more,
    )
    bits = [int(b) for b in net.random.integers(2, 9, 12)]
    exponents = [int(e) for e in net.random.integers(-2, 2, 12)]
    same = Geometry(padding=(1, 1, 1, 1))
    first = net.neurons(kind, net.conv(INPUT, 4, bits=8, geometry=same), per_element_bias=True)
    depthwise = net.neurons(
        kind,
        net.conv(
            first, 4, bits=bits[0], exponent=exponents[0], geometry=Geometry(groups=4)
        ),  # no padding
    )
    grouped = net.neurons(
        kind,
        net.conv(
            depthwise,
            6,
            (3, 2),
            bits=bits[1],
            geometry=Geometry(stride=(2, 1), padding=(1, 0, 1, 0), groups=2),
        ),
    )
    relay = net.relay(grouped)
    second = net.neurons(
        kind,
        net.conv(grouped, 6, bits=bits[2], exponent=exponents[2], geometry=same),
    )
    joined = net.neurons(
        kind,
        net.conv(second, 6, (1, 1), bits=bits[3]),
        net.identity(relay) if graded else net.conv(relay, 6, (1, 1), bits=3),
        net.conv(INPUT, 6, (3, 4), bits=4, geometry=Geometry(stride=(2, 1))),  # four rows later
    )
    dilated = net.neurons(
        kind,
        net.conv(
            joined,
            5,
            (2, 2),
            bits=bits[4],
            exponent=1,
            geometry=Geometry(dilation=(2, 3), padding=(1, 1, 1, 1)),
        ),
    )
    uneven = net.neurons(
        kind, net.conv(joined, 4, (2, 2), bits=bits[5], geometry=Geometry(padding=(0, 0, 1, 1)))
    )
    sparse = net.neurons(
        kind,
        net.sparse(dilated, (3, 2, 4), bits=bits[6], exponent=exponents[6]),
        net.sparse(uneven, (3, 2, 4), bits=bits[7]),
        net.dense(INPUT, (3, 2, 4), bits=5),
    )
    net.neurons("readout", net.dense(sparse, 5, bits=bits[8]), per_element_bias=True)
    net.neurons("readout", net.conv(uneven, 2, bits=bits[9], exponent=-1))
    return net.build(), net.frames(6)


def branches(
    seed: int,
    n_steps: int,
    n_branches: int = 4,
    *,
    poisson: bool = False,
    kinds: tuple[str, ...] = NEURONS,
    **more: int,
) -> tuple[QuantizedGraph, np.ndarray]:
    """Random chains of random layers side by side, all fed by one input; and four stimuli.

    Every chain has a kind of neuron of its own and one to three layers of random synapses,
    geometry, weight bits and exponents, then a readout. One network of many chains is much cheaper
    to start in Lava than many networks.
    """
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in (random.integers(1, 4), *random.integers(3, 9, 2)))
    coding = InputCoding.POISSON if poisson else InputCoding.CURRENT
    net = Builder(
        seed,
        shape,
        n_steps=n_steps,
        coding=coding if n_steps > 1 else InputCoding.GRADED,
        low=-int(random.integers(0, 16)),
        high=int(random.integers(1, 16)),
        **more,
    )
    for _ in range(n_branches):
        kind = str(random.choice(kinds))
        source = INPUT
        for _ in range(int(random.integers(1, 4))):
            source = net.neurons(
                kind,
                _random_synapses(net, source),
                per_element_bias=bool(random.integers(2)),
                payload_bits=int(random.integers(1, 11)),
            )
        net.neurons("readout", _random_synapses(net, source))
    return net.build(), net.frames(4)


def _random_synapses(net: Builder, source: NodeId) -> NodeId:
    random = net.random
    options = {"bits": int(random.integers(2, 9)), "exponent": int(random.integers(-8, 8))}
    if net[source].messages[1] > 1:  # payloads: keep potentials inside 24 bits
        options["exponent"] = min(options["exponent"], 1)
    return random_synapses(net, source, ("conv", "conv", "conv", "dense", "sparse"), **options)


def random_synapses(
    net: Builder, source: NodeId, kinds: tuple[str, ...], *, density: float = 0.3, **options: int
) -> NodeId:
    """Synapses of one of the kinds, with a random target; dense where a convolution does not fit.

    Args:
        net: gets them.
        source: what feeds them.
        kinds: ``conv``, ``dense`` and ``sparse``, each as often as it is to be likely.
        density: of sparse wiring.
        options: bits and exponent of the weights.
    """
    random, shape = net.random, net[source].shape
    kind = random.choice(kinds)
    if kind == "conv" and len(shape) == 3:
        geometry, kernel = _random_geometry(random, shape)
        if min(geometry.output_size((shape[1], shape[2]), kernel)) >= 1:
            channels = geometry.groups * int(random.integers(1, 4))
            return net.conv(source, channels, kernel, geometry=geometry, **options)
    target = tuple(int(n) for n in random.integers(1, 6, random.choice([1, 3])))
    if kind == "sparse":
        return net.sparse(source, target, density=density, **options)
    return net.dense(source, target, **options)


def _random_geometry(random: np.random.Generator, shape: Shape) -> tuple[Geometry, tuple[int, int]]:
    divisors = [g for g in range(1, shape[0] + 1) if shape[0] % g == 0]
    top, left, bottom, right = (int(p) for p in random.integers(0, 3, 4))
    if random.integers(2):  # the same on both sides, which Lava's Conv can do
        bottom, right = top, left
    kernel = int(random.integers(1, 4)), int(random.integers(1, 4))
    geometry = Geometry(
        stride=(int(random.integers(1, 4)), int(random.integers(1, 4))),
        padding=(top, left, bottom, right),
        dilation=(int(random.integers(1, 3)), int(random.integers(1, 3))),
        groups=int(random.choice(divisors)),
    )
    return geometry, kernel
