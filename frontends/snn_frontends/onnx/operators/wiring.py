"""Operators that move values about without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import TensorProto

from snn_compile.ir import ann
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.operators import functions
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.values import Tensor

FLOATS = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)


def identity(call: Call) -> Tensor:
    """The value itself."""
    return call.tensor()


def cast(call: Call) -> Tensor:
    """The value itself; activations have one floating-point type here."""
    call.ignore("saturate", "round_mode")  # of types that are refused
    target = int(call.attributes.get("to", TensorProto.FLOAT))
    if target == TensorProto.BOOL:
        return functions.of(call, call.tensor(), functions.TRUE)
    if target not in FLOATS:
        raise call.refusal(
            f"converts an activation to {TensorProto.DataType.Name(target)}",
            "rounding inside the network has no spiking form; keep activations floating point",
        )
    return call.tensor()


def cast_like(call: Call) -> Tensor:
    """The value itself; the other input must be floating point, too."""
    x = call.tensor()
    call.ignore("saturate", "round_mode")  # of types that are refused
    if not isinstance(call.inputs[1], Tensor) and call.constant(1).dtype.kind != "f":
        raise call.refusal("converts an activation to integers", "keep activations floating point")
    return x


def expand(call: Call) -> Tensor:
    """The value itself, where it has the size already; repeating it is refused."""
    x = call.tensor()
    target = tuple(int(n) for n in call.constant(1, INTEGERS))
    if np.broadcast_shapes(x.shape, target) != x.shape:
        raise call.refusal(
            f"repeats a value of shape {list(x.shape)} to {list(target)}",
            "repeat values by concatenating them",
        )
    return x


def reshape(call: Call) -> Tensor:
    """Another shape; 0 keeps an axis and -1 takes what is left."""
    x = call.tensor()
    target = list(call.integers("shape", 1) or ())
    if not call.attributes.get("allowzero", 0):
        if any(n == 0 and k >= len(x.shape) for k, n in enumerate(target)):
            raise call.invalid(f"shape {target} keeps an axis that {list(x.shape)} has not")
        target = [x.shape[k] if n == 0 else n for k, n in enumerate(target)]
    rest = prod(n for n in target if n != -1)
    if target.count(-1) == 1 and rest > 0 and prod(x.shape) % rest == 0:
        target = [prod(x.shape) // rest if n == -1 else n for n in target]
    if min(target, default=1) < 0 or prod(target) != prod(x.shape):
        raise call.invalid(f"a value of shape {list(x.shape)} cannot take the shape {target}")
    return _reshaped(call, x, target)


def flatten(call: Call) -> Tensor:
    """All axes from one on as one."""
    x = call.tensor()
    axis = int(call.attributes.get("axis", 1))
    axis = axis if axis == len(x.shape) else call.feature_axis(axis, len(x.shape))
    return _reshaped(call, x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def squeeze(call: Call) -> Tensor:
    """Axes of length 1 removed."""
    x = call.tensor()
    rank, stated = len(x.shape), call.integers("axes", 1)
    if stated is None:
        first = 1 if call.builder.batch.symbolic else 0
        stated = tuple(k for k in range(first, rank) if x.shape[k] == 1)
    axes = {call.feature_axis(axis, rank) for axis in stated}
    if any(x.shape[k] != 1 for k in axes):
        raise call.invalid(f"axes {sorted(axes)} of {list(x.shape)} are not all of length 1")
    return _reshaped(call, x, [n for k, n in enumerate(x.shape) if k not in axes])


def unsqueeze(call: Call) -> Tensor:
    """Axes of length 1 inserted."""
    x = call.tensor()
    stated = call.integers("axes", 1)
    if stated is None:
        raise call.invalid("states no axes")
    rank = len(x.shape) + len(stated)
    axes = {call.feature_axis(axis, rank) for axis in stated}
    if len(axes) != len(stated):
        raise call.invalid(f"axes {list(stated)} name one axis twice")
    sizes = iter(x.shape)
    return _reshaped(call, x, [1 if k in axes else next(sizes) for k in range(rank)])


def _reshaped(call: Call, x: Tensor, shape: Sequence[int], suffix: str = "") -> Tensor:
    if tuple(shape) == x.shape:
        return x
    return call.emit(ann.Reshape, x, shape=shape, suffix=suffix)


def transpose(call: Call) -> Tensor:
    """Axes in another order; the batch stays first."""
    x = call.tensor()
    rank = len(x.shape)
    order = tuple(int(k) for k in call.attributes.get("perm", reversed(range(rank))))
    if sorted(order) != list(range(rank)):
        raise call.invalid(f"perm {list(order)} does not fit the shape {list(x.shape)}")
    if order[0] != 0:
        raise call.refusal(
            f"perm {list(order)} moves the batch axis",
            "each sample must be computed by itself; keep axis 0 as it is",
        )
    return _transposed(call, x, order)


def _transposed(call: Call, x: Tensor, order: tuple[int, ...], suffix: str = "") -> Tensor:
    if order == tuple(range(len(order))):
        return x
    return call.emit(
        ann.Transpose,
        x,
        shape=[x.shape[k] for k in order],
        suffix=suffix,
        permutation=tuple(k - 1 for k in order[1:]),
    )


def depth_to_space(call: Call) -> Tensor:
    """Channels moved into blocks of the map."""
    x, block = call.tensor(), int(call.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[1] % block**2:
        raise call.invalid(f"blocks of {block} do not fit the shape {list(x.shape)}")
    n, c, h, w = x.shape
    if _by_depth(call):
        split, order = (n, block, block, c // block**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, c // block**2, block, block, h, w), (0, 1, 4, 2, 5, 3)
    y = _transposed(call, _reshaped(call, x, split, "split"), order, "blocks")
    return _reshaped(call, y, (n, c // block**2, h * block, w * block))


def _by_depth(call: Call) -> bool:
    """Whether a channel of the map says first where in a block a value lies."""
    mode = call.attributes.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise call.invalid(f"mode '{mode}' is unknown")
    return bool(mode == "DCR")


def space_to_depth(call: Call) -> Tensor:
    """Blocks of the map moved into channels."""
    x, block = call.tensor(), int(call.attributes.get("blocksize", 0))
    if len(x.shape) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise call.invalid(f"blocks of {block} do not fit the shape {list(x.shape)}")
    n, c, h, w = x.shape
    split = (n, c, h // block, block, w // block, block)
    order = (0, 3, 5, 1, 2, 4) if _by_depth(call) else (0, 1, 3, 5, 2, 4)
    y = _transposed(call, _reshaped(call, x, split, "split"), order, "blocks")
    return _reshaped(call, y, (n, c * block**2, h // block, w // block))


def pad(call: Call) -> Tensor:
    """Zeros around the value; negative pads crop."""
    x = call.tensor()
    mode, rank = call.attributes.get("mode", "constant"), len(x.shape)
    if mode != "constant":
        raise call.refusal(f"padding of mode '{mode}' is not supported", "pad with zeros")
    value = call.constant(2) if call.has(2) else np.asarray(call.attributes.get("value", 0.0))
    if value.any():
        raise call.refusal(f"pads with {value.item():g} instead of 0", "pad with zeros")
    pads = call.integers("pads", 1)
    stated = call.constant(3, INTEGERS) if call.has(3) else range(rank)
    axes = [call.axis(int(axis), rank) for axis in stated]
    if pads is None or len(pads) != 2 * len(axes):
        raise call.invalid(f"pads do not fit the shape {list(x.shape)}")
    before, after = [0] * rank, [0] * rank
    for k, axis in enumerate(axes):
        before[axis], after[axis] = pads[k], pads[k + len(axes)]
    if before[0] or after[0]:
        raise call.refusal("pads the batch axis", "keep axis 0 as it is")
    return _padded(call, x, before, after)


def _padded(
    call: Call, x: Tensor, before: Sequence[int], after: Sequence[int], suffix: str = ""
) -> Tensor:
    if not any(before) and not any(after):
        return x
    return call.emit(
        ann.Pad,
        x,
        shape=[b + n + a for b, n, a in zip(before, x.shape, after, strict=True)],
        suffix=suffix,
        before=tuple(before[1:]),
        after=tuple(after[1:]),
    )


def slice_(call: Call) -> Tensor:
    """Part of a value along some axes."""
    x = call.tensor()
    rank = len(x.shape)
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise call.invalid("states no starts or no ends")
    axes = call.integers("axes", 3) or tuple(range(len(starts)))
    steps = call.integers("steps", 4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise call.invalid("its starts, ends, axes and steps do not fit each other")
    slices = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        slices[call.axis(axis, rank)] = slice(start, end, step)
    return _sliced(call, x, slices)


def _sliced(call: Call, x: Tensor, slices: Sequence[slice], suffix: str = "") -> Tensor:
    """A slice with bounds as Python has them; the batch must stay whole."""
    batch = 1 << 62 if call.builder.batch.symbolic else call.batch
    start, stop, step = slices[0].indices(batch)
    if start != 0 or step != 1 or stop < min(batch, (1 << 31) - 1):
        raise call.refusal("slices the batch axis", "keep axis 0 as it is")
    ranges = [range(*s.indices(n)) for s, n in zip(slices[1:], x.shape[1:], strict=True)]
    if all(r == range(n) for r, n in zip(ranges, x.shape[1:], strict=True)):
        return x
    return call.emit(
        ann.Slice,
        x,
        shape=(call.batch, *map(len, ranges)),
        suffix=suffix,
        slices=tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges),
    )


def _part(call: Call, x: Tensor, axis: int, start: int, size: int, suffix: str) -> Tensor:
    """A contiguous part along one axis."""
    slices = [slice(None)] * len(x.shape)
    slices[axis] = slice(start, start + size)
    return _sliced(call, x, slices, suffix)


def split(call: Call) -> Sequence[Tensor]:
    """Parts along one axis, as one slice each."""
    x = call.tensor()
    axis = call.feature_axis(int(call.attributes.get("axis", 0)), len(x.shape))
    size, n_parts = x.shape[axis], call.n_outputs
    stated = call.integers("split", 1)
    if call.attributes.get("num_outputs", n_parts) != n_parts:
        raise call.invalid(f"has {n_parts} outputs, and states another number of them")
    if stated is None:
        each = -(-size // n_parts)
        stated = (each,) * (n_parts - 1) + (size - each * (n_parts - 1),)
    if sum(stated) != size or len(stated) != n_parts or min(stated) < 1:
        raise call.invalid(f"{size} values cannot be split into {list(stated)}")
    starts = [sum(stated[:k]) for k in range(n_parts)]
    return [
        _part(call, x, axis, start, length, str(k))
        for k, (start, length) in enumerate(zip(starts, stated, strict=True))
    ]


def gather(call: Call) -> Tensor:
    """A single index, or a run of indices, along one axis."""
    x, indices = call.tensor(), call.constant(1, INTEGERS)
    axis = call.feature_axis(int(call.attributes.get("axis", 0)), len(x.shape))
    size = x.shape[axis]
    if indices.ndim > 1 or not ((indices >= -size) & (indices < size)).all():
        raise call.refusal(f"indices of shape {list(indices.shape)} are not supported")
    chosen = np.atleast_1d(indices) % size
    if not len(chosen) or (np.diff(chosen) != 1).any():
        raise call.refusal("gathers values in another order", "use slices instead")
    part = _part(call, x, axis, int(chosen[0]), len(chosen), "slice" if indices.ndim == 0 else "")
    if indices.ndim:
        return part
    return _reshaped(call, part, [n for k, n in enumerate(part.shape) if k != axis])


def concat(call: Call) -> Tensor:
    """Values one after the other; constants among them become padding and a shift."""
    tensors = [value for value in call.inputs if isinstance(value, Tensor)]
    first, rank = tensors[0], len(tensors[0].shape)
    axis = call.feature_axis(int(call.attributes.get("axis", 1)), rank)
    shapes = [v.shape for v in call.inputs if isinstance(v, Tensor | np.ndarray)]
    if any(
        s[:axis] + s[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :] for s in shapes
    ):
        raise call.invalid(f"shapes {[list(s) for s in shapes]} do not fit along axis {axis}")
    sizes = [shape[axis] for shape in shapes]
    shape = (*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])
    last = max(k for k, value in enumerate(call.inputs) if isinstance(value, Tensor))
    call.builder.check_size(shape, call.origin)
    shift = np.zeros(shape if len(tensors) < len(shapes) else 1, np.float32)
    pieces, constants = list[Tensor](), 0
    for k, value in enumerate(call.inputs):
        if isinstance(value, Tensor):
            after = sum(sizes[k + 1 :]) if k == last else 0
            pieces.append(_embedded(call, value, axis, constants, after, f"pad_{k}"))
            constants = 0
        else:
            place = (slice(None),) * axis + (slice(sum(sizes[:k]), sum(sizes[: k + 1])),)
            shift[place] = call.parameter(k)
            constants += sizes[k]
    joined = pieces[0]
    if len(pieces) > 1:
        suffix = "joined" if shift.any() else ""
        joined = call.emit(ann.Concat, *pieces, shape=shape, suffix=suffix, axis=axis - 1)
    return affine(call, joined, shift=shift) if shift.any() else joined


def _embedded(call: Call, x: Tensor, axis: int, before: int, after: int, suffix: str) -> Tensor:
    """A value with zeros around it along one axis."""
    widths = [(before, after) if k == axis else (0, 0) for k in range(len(x.shape))]
    return _padded(call, x, [b for b, _ in widths], [a for _, a in widths], suffix)
