"""Random graphs of operators that move axes and mix them, with a batch of every kind.

Whatever is accepted is what onnxruntime computes; a network with a fixed input is always accepted.
"""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_models import evaluate_all, imported, ints, model, node, session
from snn_compile.errors import CompileError

MAX_SIZE = 400


class Chain:
    """Operators on a value, one after another, with its shape."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.shape = shape
        self.random = np.random.default_rng(seed)
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}
        self.name = "x"

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def real(self, *shape: int) -> str:
        return self.constant(self.random.normal(size=shape).astype(np.float32))

    def add(self, op: str, *more: str, shape=None, **attributes) -> None:
        result = f"v{len(self.nodes)}"
        self.nodes.append(node(op, " ".join([self.name, *more]), result, **attributes))
        self.name, self.shape = result, self.shape if shape is None else tuple(shape)

    def axis(self) -> int:
        return int(self.random.integers(len(self.shape)))

    def at(self, axis: int, *sizes: int) -> tuple[int, ...]:
        return (*self.shape[:axis], *sizes, *self.shape[axis + 1 :])


def reshape(chain: Chain) -> None:
    sizes, rest = list[int](), prod(chain.shape)
    for _ in range(int(chain.random.integers(3))):
        sizes.append(int(chain.random.choice([d for d in range(1, rest + 1) if rest % d == 0])))
        rest //= sizes[-1]
    sizes.append(rest)
    chain.random.shuffle(sizes)
    stated = list(sizes)
    if chain.random.random() < 0.5:
        stated[int(chain.random.integers(len(sizes)))] = -1
    chain.add("Reshape", chain.constant(np.array(stated, np.int64)), shape=sizes)


def transpose(chain: Chain) -> None:
    order = [int(k) for k in chain.random.permutation(len(chain.shape))]
    chain.add("Transpose", shape=[chain.shape[k] for k in order], perm=order)


def squeeze(chain: Chain) -> None:
    if 1 in chain.shape:
        axis = chain.shape.index(1)
        chain.add("Squeeze", chain.constant(ints(axis)), shape=chain.at(axis))


def unsqueeze(chain: Chain) -> None:
    axis = int(chain.random.integers(len(chain.shape) + 1))
    shape = (*chain.shape[:axis], 1, *chain.shape[axis:])
    chain.add("Unsqueeze", chain.constant(ints(axis)), shape=shape)


def gather(chain: Chain) -> None:
    axis = chain.axis()
    index = chain.random.integers(chain.shape[axis], size=chain.random.choice([0, 2]))
    index = index if index.size else np.array(0)
    chain.add("Gather", chain.constant(index), shape=chain.at(axis, *index.shape), axis=axis)


def part(chain: Chain) -> None:
    axis = chain.axis()
    start = int(chain.random.integers(chain.shape[axis]))
    ends = [chain.constant(ints(k)) for k in (start, chain.shape[axis], axis)]
    chain.add("Slice", *ends, shape=chain.at(axis, chain.shape[axis] - start))


def dense(chain: Chain) -> None:
    chain.add("MatMul", chain.real(chain.shape[-1], 3), shape=(*chain.shape[:-1], 3))


def constants(chain: Chain) -> None:
    shape = [n if chain.random.random() < 0.6 else 1 for n in chain.shape]
    chain.add("Add", chain.real(*shape[int(chain.random.integers(len(shape))) :]))


def total(chain: Chain) -> None:
    axis, kept = chain.axis(), int(chain.random.integers(2))
    shape = chain.at(axis, *[1] * kept)
    chain.add("ReduceSum", chain.constant(ints(axis)), shape=shape, keepdims=kept)


def twice(chain: Chain) -> None:
    axis = chain.axis()
    chain.add("Concat", chain.name, shape=chain.at(axis, 2 * chain.shape[axis]), axis=axis)


def flatten(chain: Chain) -> None:
    axis = int(chain.random.integers(len(chain.shape) + 1))
    shape = prod(chain.shape[:axis]), prod(chain.shape[axis:])
    chain.add("Flatten", shape=shape, axis=axis)


def relu(chain: Chain) -> None:
    chain.add("Relu")


STEPS = (
    reshape, transpose, squeeze, unsqueeze, gather, part, dense, constants, total, twice, flatten,
    relu,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=5),
    is_open=st.booleans(),
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6),
    seed=st.integers(0, 1 << 16),
)
def test_what_is_accepted_is_right(sizes, is_open, steps, seed):
    is_open = is_open and len(sizes) > 1
    shape = (1, *sizes[1:]) if is_open else tuple(sizes)
    chain = Chain(shape, seed)
    for step in steps:
        if chain.shape and prod(chain.shape) <= MAX_SIZE:
            step(chain)
    chain.add("Neg")
    made = model(chain.nodes, ("N", *shape[1:]) if is_open else shape, chain.constants, chain.name)
    try:
        result = imported(made)
    except CompileError:
        assert is_open  # samples would be mixed
        return
    if any(finding.code == "host-tail" for finding in result.findings):
        return  # what mixes samples is left to the host
    x = chain.random.normal(size=shape).astype(np.float32)
    (expected,) = session(made).run(None, {"x": x})
    whole = prod(result.ann.input.shape) == x.size
    rows = x.reshape(1, *result.ann.input.shape) if whole else x
    (found,) = evaluate_all(result, rows)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-3, atol=1e-4)
