"""Random networks with product neurons."""

from __future__ import annotations

from network_builder import INPUT, Builder


def gated(seed, channels, high, width=3, whole=False):
    """Two graded layers, their product, the product of that with one of them, and what reads it."""
    net = Builder(seed, (2, 2, width), low=-9, high=200, whole=whole)
    bits = high.bit_length()
    left = net.neurons("graded", net.conv(INPUT, channels, (1, 1)), payload_bits=bits)
    right = net.neurons("graded", net.conv(INPUT, channels, (1, 1)), payload_bits=bits)
    product = net.product(left, right, high=high)
    twice = net.product(product, net.relay(left), high=min(high, 2000))
    net.neurons("readout", net.dense(twice, 3), net.dense(INPUT, 3))
    net.neurons("readout", net.conv(product, 2, (2, 1)))
    return net.build(), net.frames(6, 0.8)
