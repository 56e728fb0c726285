"""Position of the batch axis in values, and operators that must not depend on it.

A handler reads ``(batch, *sample)``. A value with the batch axis elsewhere is transposed to that
form, and the result is transposed back; or, if an operator treats axis 0 as the batch and it is
not, the operator is applied to each position separately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from snn_compile.errors import CompileError, UnsupportedError
from snn_compile.ir import ann
from snn_compile.ir.graph import Shape
from snn_frontends.onnx.call import Call
from snn_frontends.onnx.values import Constant, Tensor, Value

Handler = Callable[[Call], Tensor | Sequence[Tensor]]

ELEMENTWISE = frozenset(
    (
        "Abs Add Celu Ceil Clip Div Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Log Max "
        "Mean Min Mish Mul Neg PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Softplus "
        "Softsign Sqrt Sub Sum Swish Tanh ThresholdedRelu Where"
    ).split()
)
"""Element-wise operators, with constants that broadcast."""
AWARE = frozenset(
    (
        "ArgMax Cast CastLike CenterCropPad Concat CumSum Dropout Einsum Expand Flatten "
        "GRU LSTM RNN Gather GatherElements GatherND Gemm Identity LayerNormalization LogSoftmax "
        "LpNormalization MatMul MeanVarianceNormalization Pad RMSNormalization ReduceL1 ReduceL2 "
        "ReduceMax ReduceMean ReduceMin ReduceSum ReduceSumSquare Resize Reshape ReverseSequence "
        "Slice Softmax Split Squeeze Tile Transpose Trilu Unsqueeze Upsample"
    ).split()
)
"""Operators whose handlers depend on the position of the batch axis."""
MAX_POSITIONS = 256
"""Maximal number of positions to which an operator is applied separately."""


@dataclass(frozen=True)
class View:
    """A value in the form for a handler.

    Attributes:
        x: the value as ``(batch, *sample)``.
        like: the value in the file.
    """

    x: Tensor
    like: Tensor

    def axis(self, axis: int) -> int:
        """The axis of ``x`` for an axis of the file's value; never the batch axis."""
        batch = self.like.axis
        if batch is None or (self.like.merged > 1 and axis >= batch) or axis < batch:
            return axis + 1
        return axis

    def restored(self, y: Tensor, removed: Sequence[int] = (), added: int = 0) -> Tensor:
        """A result in the layout of the file.

        Args:
            y: ``(batch, *sample)``.
            removed: removed axes of the file's value.
            added: number of axes inserted before the batch axis.
        """
        if self.like.axis is None:
            return place_batch_axis(y, None)
        moved = added - sum(axis < self.like.axis for axis in removed)
        return place_batch_axis(y, self.like.axis + moved, self.like.outer, self.like.inner)


def place_batch_axis(y: Tensor, axis: int | None, outer: int = 1, inner: int = 1) -> Tensor:
    """``(batch, *sample)`` as a value with the batch axis elsewhere."""
    batch, sample = y.shape[0], y.shape[1:]
    if axis is None:
        return Tensor(y.node, sample, None)
    if outer * inner == 1:
        return Tensor(y.node, (*sample[:axis], batch, *sample[axis:]), axis)
    return Tensor(
        y.node,
        (*sample[:axis], sample[axis] * batch, *sample[axis + 1 :]),
        axis,
        outer,
        inner,
    )


def plain(call: Call, x: Tensor) -> Tensor:
    """A value as ``(batch, *sample)``."""
    return x if x.plain else Tensor(x.node, (call.batch, *x.sample))


def unbatch(call: Call, x: Tensor, suffix: str = "sample") -> Tensor:
    """A value of a batch of one as one sample, with an ordinary first axis."""
    if x.axis is None:
        return x
    if x.merged == 1:
        shape = (call.batch, *x.shape)
        x = call.emit(ann.Reshape, plain(call, x), shape=shape, suffix=suffix)
        return Tensor(x.node, x.shape[1:], None)
    return Tensor(x.node, x.shape, None)


def view(call: Call, index: int = 0, axes: Sequence[int] | None = ()) -> View:
    """An input with some axes that the operator changes.

    Args:
        call: the operator.
        index: of the input.
        axes: the changed axes, counted from the front; None: all of them.

    Raises:
        UnsupportedError: one is the batch axis.
    """
    x = call.value(index)
    touched = x.axis is not None and (axes is None or x.axis in axes)
    if touched and call.builder.batch.one:
        x = unbatch(call, x)
    elif touched:
        raise call.mixing(x)
    return View(plain(call, x), x)


def run(handler: Handler, call: Call) -> Tensor | Sequence[Tensor]:
    """The result of a handler for inputs with the batch axis in any position.

    An operator that does not do with the batch where it is gets a batch of one as an ordinary axis.
    """
    batched = any(isinstance(x, Tensor) and x.axis is not None for x in call.inputs)
    if not call.builder.batch.one or not batched:
        return _run(handler, call)
    mark = call.builder.mark()
    try:
        return _run(handler, call)
    except UnsupportedError as error:
        call.builder.undo(mark)
        inputs = tuple(
            unbatch(call, value, f"sample_{k}") if isinstance(value, Tensor) else value
            for k, value in enumerate(call.inputs)
        )
        try:
            return _run(handler, replace(call, inputs=inputs))
        except CompileError:
            call.builder.undo(mark)
            raise error from None


def _run(handler: Handler, call: Call) -> Tensor | Sequence[Tensor]:
    """The result for inputs where they are."""
    if call.op in ELEMENTWISE:
        call = _of_one_rank(call)
    tensors = [value for value in call.inputs if isinstance(value, Tensor)]
    if call.op in AWARE or all(tensor.plain for tensor in tensors):
        return handler(call)
    if call.op in ELEMENTWISE:
        return _elementwise(handler, call, tensors)
    return _by_position(handler, call, tensors)


def _of_one_rank(call: Call) -> Call:
    """The call with leading axes of length 1 where another operand has more axes."""
    ranks = [len(v.shape) for v in call.inputs if isinstance(v, Tensor | np.ndarray)]
    rank = max(ranks, default=0)

    def lifted(x: Tensor, place: int) -> Tensor:
        more = rank - len(x.shape)
        if not more:
            return x
        sample = (*[1] * more, *x.sample)
        suffix = f"lifted{place}"
        y = call.emit(ann.Reshape, plain(call, x), shape=(call.batch, *sample), suffix=suffix)
        axis = None if x.axis is None else x.axis + more
        return replace(x, node=y.node, shape=(*[1] * more, *x.shape), axis=axis)

    inputs = tuple(lifted(v, k) if isinstance(v, Tensor) else v for k, v in enumerate(call.inputs))
    return replace(call, inputs=inputs)


def _elementwise(handler: Handler, call: Call, tensors: list[Tensor]) -> Tensor:
    """Inputs of one layout as ``(batch, *sample)``, constants in the same order of axes."""
    if call.builder.batch.one and len({(t.axis, t.outer, t.inner) for t in tensors}) > 1:
        tensors = [unbatch(call, tensor, f"sample_{k}") for k, tensor in enumerate(tensors)]
    like, rank = tensors[0], max(len(tensor.shape) for tensor in tensors)
    layouts = {(t.axis, t.outer, t.inner, len(t.shape)) for t in tensors}
    if len(layouts) > 1:
        raise call.refusal(
            "its inputs have different batch axes", "move the batch to one axis before it"
        )
    known = iter(tensors)
    inputs: list[Value | None] = [
        plain(call, next(known))
        if isinstance(value, Tensor)
        else reorder_axes(call, value, like, rank)
        if isinstance(value, np.ndarray)
        else value
        for value in call.inputs
    ]
    result = handler(replace(call, inputs=tuple(inputs)))
    if not isinstance(result, Tensor):
        raise call.refusal("has several results")
    return View(like, like).restored(result)


def reorder_axes(call: Call, value: Constant, like: Tensor, rank: int) -> Constant:
    """A constant with its axes in the order of ``(batch, *sample)``."""
    if value.size == 1 and value.ndim <= 1:
        return value
    if value.ndim > rank:
        raise call.refusal(f"the constant of shape {list(value.shape)} adds axes")
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    if like.axis is None:
        return value[None]
    if like.merged > 1:
        if value.shape[like.axis] != 1:
            raise call.differing()
        return value[None]
    return np.moveaxis(value, like.axis, 0)


def _by_position(handler: Handler, call: Call, tensors: list[Tensor]) -> Tensor:
    """An operator applied to each position along axis 0 separately."""
    like = tensors[0]
    layouts = {(t.axis, t.outer, t.inner, t.sample[:1]) for t in tensors if not t.plain}
    if len(layouts) > 1 or like.axis not in (0, None) or any(t.plain for t in tensors):
        raise call.mixing(like)
    n = like.sample[0]
    if n > MAX_POSITIONS:
        raise call.refusal(
            f"computes {n} positions separately; the limit is {MAX_POSITIONS}",
            "use an operator along another axis",
        )
    parts = []
    for k in range(n):
        inputs = tuple(
            _position(call, value, k, f"{k}.{place}") if isinstance(value, Tensor) else value
            for place, value in enumerate(call.inputs)
        )
        suffix = f"{call.name}.{k}" if n > 1 else call.name
        result = handler(replace(call, name=suffix, inputs=inputs))
        if not isinstance(result, Tensor):
            raise call.refusal("has several results")
        parts.append(result)
    if n == 1 and like.axis is None:
        return parts[0]
    joined = _stacked(call, parts)
    return place_batch_axis(joined, like.axis, like.outer, like.inner)


def _position(call: Call, x: Tensor, k: int, suffix: str) -> Tensor:
    """One position of a value's first axis."""
    one, rest = plain(call, x), x.sample[1:]
    if x.sample[0] > 1:
        slices = (slice(k, k + 1), *(slice(0, n, 1) for n in rest))
        slices = tuple(slice(s.start, s.stop, 1) for s in slices)
        one = call.emit(
            ann.Slice, one, shape=(call.batch, 1, *rest), suffix=f"{suffix}.slice", slices=slices
        )
    return call.emit(ann.Reshape, one, shape=(call.batch, *rest), suffix=f"{suffix}.one")


def _stacked(call: Call, parts: list[Tensor]) -> Tensor:
    """Values stacked along a new first axis."""
    shape: Shape = (call.batch, 1, *parts[0].shape[1:])
    lifted = [
        call.emit(ann.Reshape, part, shape=shape, suffix=f"{k}.position")
        for k, part in enumerate(parts)
    ]
    if len(lifted) == 1:
        return lifted[0]
    shape = (call.batch, len(lifted), *parts[0].shape[1:])
    return call.emit(ann.Concat, *lifted, shape=shape, suffix="stacked", axis=0)
