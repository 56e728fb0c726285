"""Segments with gradients: fixed point forward, differences backward, any order of sums."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from blas_orders import shuffled_blas
from quantized_cases import NETWORKS
from reconstruction_cases import all_groups, made
from snn_compile.codings.graded import Graded
from snn_compile.codings.radix import Radix
from snn_compile.codings.sync import Sync
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.geometry import Geometry
from snn_compile.ir.quantized import ConvSynapses, DenseSynapses, SparseSynapses
from snn_compile.quantize.reconstruction import levels, receptive, synapses
from snn_compile.quantize.reconstruction.network import SegmentNetwork
from snn_compile.quantize.reconstruction.synapses import Fixed, Learned
from snn_compile.quantize.sites import rectifiers_and_outputs
from snn_compile.sim import reference

SINGLE_STEP = {
    "graded4": Graded(4), "graded8": Graded(8), "sync4": Sync(4), "radix2": Radix(2),
}  # fmt: skip

GEOMETRIES = {
    "plain": (Geometry(), 3, 3),
    "padded": (Geometry(padding=(1, 2, 0, 1)), 2, 3),
    "cropped": (Geometry(padding=(-1, 0, 1, -1)), 2, 3),
    "strided": (Geometry(stride=(2, 3), padding=(1, 1, 1, 1)), 2, 3),
    "dilated": (Geometry(dilation=(2, 1), padding=(1, 1, 1, 1)), 2, 3),
    "grouped": (Geometry(groups=2, padding=(1, 1, 1, 1)), 4, 6),
    "depthwise": (Geometry(groups=4, stride=(2, 1)), 4, 4),
    "multiplied": (Geometry(groups=3, padding=(1, 1, 1, 1)), 3, 6),
}


def random(*shape, seed=0, most=7):
    return np.random.default_rng(seed).integers(-most, most + 1, shape)


def place(source, shape):
    return {"id": "group", "inputs": (source,), "shape": shape, "origin": None}


def convolution(name, source=(7, 8)):
    geometry, n_in, n_out = GEOMETRIES[name]
    kernel = (3, 2)
    size = geometry.output_size(source, kernel)
    weight = random(n_out, n_in // geometry.groups, *kernel)
    group = ConvSynapses(
        **place("x", (n_out, *size)),
        weight=QTensor(weight, QFormat(4)), exponent=-1, geometry=geometry,
    )  # fmt: skip
    return group, (n_in, *source)


def dense():
    weight = QTensor(random(5, 24), QFormat(4))
    return DenseSynapses(**place("x", (5, 1, 1)), weight=weight, exponent=1), (2, 3, 4)


def sparse():
    dense = random(6, 24) * (random(6, 24, seed=1) > 3)
    indptr = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    return SparseSynapses(
        **place("x", (3, 2, 1)), indptr=indptr, indices=np.nonzero(dense)[1],
        weight=QTensor(dense[dense != 0], QFormat(4)), exponent=0,
    ), (2, 3, 4)  # fmt: skip


GROUPS = {name: (lambda name=name: convolution(name)) for name in GEOMETRIES} | {"dense": dense}


for name in GEOMETRIES:  # whose rows are multiplied one by one
    GROUPS[f"wide, {name}"] = lambda name=name: convolution(name, (4, 26))


@pytest.mark.parametrize("name", GROUPS)
def test_gradients_of_synapses_are_differences(name):
    """Linear in weights and in messages: a difference of one is the derivative."""
    group, source = GROUPS[name]()
    learned, one = Learned(group, source, 7), np.ones(source[0])
    x = random(*source, 3, seed=2).astype(float)
    slope = random(*group.shape, 3, seed=3).astype(float)

    def value():
        learned.use(learned.weight, one)
        return float((learned.forward(x) * slope).sum())

    before = value()
    weights, back = learned.backward(slope, one, further=True)
    assert back.shape == x.shape
    for index in np.ndindex(learned.weight.shape):
        learned.weight[index] -= 1 if learned.weight[index] > 0 else -1
        sign = -1 if group.weight.values.reshape(learned.weight.shape)[index] > 0 else 1
        assert weights[index] == sign * (value() - before)
        learned.weight[index] = group.weight.values.reshape(learned.weight.shape)[index]
    for index in list(np.ndindex(x.shape))[:: max(x.size // 60, 1)]:
        x[index] += 1
        assert back[index] == value() - before
        x[index] -= 1


def test_all_ways_to_read_a_population_are_here():
    found = {receptive.receptive(*GROUPS[name]()).__class__.__name__ for name in GROUPS}
    assert found == {"Dense", "Rows", "Gathered", "Depthwise"}


@pytest.mark.parametrize("make", [*GROUPS.values(), sparse])
def test_fixed_synapses_pass_gradients_to_their_source(make):
    group, source = make()
    fixed, x = Fixed(group, source, 7), random(*source, 2, seed=2).astype(float)
    slope = random(*group.shape, 2, seed=3).astype(float)
    before, back = (fixed.forward(x) * slope).sum(), fixed.backward(slope)
    for index in list(np.ndindex(x.shape))[:: max(x.size // 60, 1)]:
        x[index] += 1
        assert back[index] == (fixed.forward(x) * slope).sum() - before
        x[index] -= 1


def whole_network(case):
    """All populations, with everything in it that can be learned."""
    program = case.quantization.program
    known = set(rectifiers_and_outputs(case.folded))
    names = tuple(p.id for p in program.populations)
    return SegmentNetwork(program, names, all_groups(case, names), known & set(names[:-1]))


def test_read_only_indices_in_any_order():
    """As in a program with a resizing of maps."""
    group, source = sparse()
    rows = [slice(*ends) for ends in pairwise(group.indptr)]
    order = np.concatenate([np.arange(row.start, row.stop)[::-1] for row in rows])
    turned = replace(
        group,
        indices=group.indices[order],
        weight=QTensor(group.weight.values[order], group.weight.format),
    )
    for values in (turned.indices, turned.indptr):
        values.setflags(write=False)
    first, second = Fixed(group, source, 7), Fixed(turned, source, 7)
    assert first.largest() == second.largest() > 0
    messages = random(*source, 5).astype(np.float32)
    assert (first.forward(messages) == second.forward(messages)).all()


@pytest.mark.parametrize("coding", ["graded4", "sync4"])
@pytest.mark.parametrize("name", NETWORKS)
def test_forward_is_fixed_point(name, coding):
    case = made(NETWORKS[name](), SINGLE_STEP[coding])
    network = whole_network(case)
    frames = case.encoding(case.x[:9])
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = np.moveaxis(frames, 0, -1).astype(float)
    potential = network.forward({source: entry})[network.names[-1]]
    run = reference.run(case.quantization.program, frames)
    assert (np.moveaxis(potential, -1, 0) == next(iter(run.outputs.values()))).all()


@pytest.mark.parametrize("narrowest", [1, 99])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_in_any_order_of_sums(name, narrowest, monkeypatch):
    monkeypatch.setattr(receptive, "NARROWEST", narrowest)
    case = made(NETWORKS[name](), Sync(4), bits=8)
    network, draw = whole_network(case), np.random.default_rng(3)
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:9]), 0, -1).astype(np.float32)}
    slopes = {
        at: draw.normal(size=potential.shape).astype(np.float32)
        for at, potential in network.forward(entry).items()
    }
    found = network.backward(slopes)
    for seed in range(2):
        for module in (receptive, synapses):
            monkeypatch.setattr(module, "blas", shuffled_blas(seed))
        network.forward(entry)
        again = network.backward(slopes)
        assert found.keys() == again.keys()
        assert all((again[at] == slope).all() for at, slope in found.items())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_of_biases_are_differences(name, monkeypatch):
    """With messages that are not rounded, networks consist of lines: differences are slopes."""
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)
    monkeypatch.setattr(
        levels.Levels, "messages", lambda of, v, step: np.clip(of.exact(v, step), 0, of.most)
    )
    case = made(NETWORKS[name](), Graded(6), bits=6)
    network = whole_network(case)
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(case.encoding(case.x[:20]), 0, -1).astype(float)}
    last = network.names[-1]
    slope = np.random.default_rng(3).normal(size=network.forward(entry)[last].shape)
    found = network.backward({last: slope})
    for key in (key for key in network.parameters if key.endswith(":bias")):
        step = 8.0
        for channel in range(len(network.parameters[key])):
            values = []
            for sign in (1, -1):
                network.parameters[key][channel] += sign * step
                network.use(network.parameters)
                values.append((network.forward(entry)[last] * slope).sum())
                network.parameters[key][channel] -= sign * step
            assert found[key][channel] == pytest.approx(
                (values[0] - values[1]) / (2 * step), rel=3e-2, abs=1e-2 * np.abs(found[key]).max()
            )


@pytest.mark.parametrize("coding", SINGLE_STEP)
def test_gradients_of_sizes(coding):
    """``n - u`` within the range, the largest level beyond it: Esser et al. 2020."""
    case = made(NETWORKS["mlp"](), SINGLE_STEP[coding])
    network = whole_network(case)
    name = next(iter(network.levels))
    of = network.levels[name]
    size = of.given
    u = np.array([-3, -0.2, 0.3, 0.7, 1.2, of.most - 0.3, of.most + 0.6, of.most + 9])
    potential = (u * size[:, None])[:, None, None, :] + of.half(size)[:, None, None, None]
    sent = network._sent(name, potential)
    found = {}
    at = np.ones(potential.shape)
    back = network._through(name, at, found)
    inside = (u > 0) & (u < of.most)
    wanted = np.where(inside, sent - u, sent).sum(axis=(1, 2, 3))
    assert found[f"{name}:size"] == pytest.approx(wanted, rel=1e-4)
    one = np.where(inside, 1 / size[:, None, None, None], 0.0)
    assert back == pytest.approx(one, rel=1e-6)


def test_wide_sums_are_float64(monkeypatch):
    """Where float32 would not hold them; the result is the same."""
    case = made(NETWORKS["residual"](), Sync(4), bits=8)
    network = whole_network(case)
    frames = case.encoding(case.x[:3])
    (source,) = [node.id for node in case.quantization.program.inputs]
    entry = {source: np.moveaxis(frames, 0, -1).astype(np.float32)}
    narrow = network.forward(entry)
    assert any(values.dtype == np.float32 for values in narrow.values())
    monkeypatch.setattr(synapses, "exact_dtype", lambda bound: np.float64)
    network.use(network.parameters)
    wide = network.forward(entry)
    for name, values in wide.items():
        assert values.dtype == np.float64
        assert (values == narrow[name]).all()


@pytest.mark.parametrize("most", [1, 15, 255, 1 << 20])
def test_gradients_are_exact_sums(most):
    """Of gradients on a grid, in whatever order float32 adds them; float64 where it cannot."""
    group, source = convolution("padded")
    learned, one = Learned(group, source, most), np.ones(source[0])
    learned.use(learned.weight, one)
    draw = np.random.default_rng(4)
    x = draw.integers(0, most + 1, (*source, 9)).astype(np.float32)
    slope = draw.normal(size=(*group.shape, 9)).astype(np.float32)
    learned.forward(x)
    weights, back = learned.backward(slope, one, further=True)
    order = draw.permutation(9)
    learned.forward(np.ascontiguousarray(x[..., order]))
    again, there = learned.backward(np.ascontiguousarray(slope[..., order]), one, further=True)
    assert (weights == again).all()
    assert (back[..., order] == there).all()
    learned.forward(x.astype(float))
    right, _ = learned.backward(slope.astype(float), one, further=True)
    assert weights == pytest.approx(right, rel=0.05, abs=0.02 * np.abs(right).max())
