"""Maps of another size: nearest neighbours are wiring.

Interpolation by whole factors is a transposed convolution, any other a matrix along each axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from snn_compile.ir import ann
from snn_frontends.onnx.call import INTEGERS, Call
from snn_frontends.onnx.layout import view
from snn_frontends.onnx.operators.arithmetic import affine
from snn_frontends.onnx.operators.convolution import Stretch, transposed
from snn_frontends.onnx.operators.gathering import mirrored, places, take_places
from snn_frontends.onnx.values import Tensor

Float = npt.NDArray[np.float64]

ROUNDED: dict[str, Callable[[Float], Float]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


ROUNDING = 1e-5
"""Tolerance of positions at the border: relative positions are float32."""


@dataclass(frozen=True)
class _Axis:
    """Resampling of one axis.

    Attributes:
        size: of the input.
        count: of the result.
        scale: ratio of the two, from the attributes.
        start: of the region of interest, in shares of the axis.
        end: likewise.
    """

    size: int
    count: int
    scale: float
    start: float
    end: float

    @property
    def kept(self) -> bool:
        """Whether the axis is unchanged."""
        return self.size == self.count and self.scale == 1 and (self.start, self.end) == (0, 1)

    @property
    def ambiguous(self) -> bool:
        """Whether it changes but keeps its number of values."""
        whole = (self.start, self.end) == (0, 1)
        return self.size == self.count and not self.kept and not (whole and self.size == 1)

    def coordinates(self, call: Call, mode: str) -> npt.NDArray[np.floating]:
        """Position of each value of the result in the input.

        In float32, as runtimes do it: at a scale of 1/3, values lie on the border between two
        neighbours, and in float64 on one side of it.
        """
        i, n, m = np.arange(self.count, dtype=np.float32), self.size, self.count
        scale = np.float32(self.scale)
        match mode:
            case "half_pixel":
                return (i + 0.5) / scale - 0.5
            case "half_pixel_symmetric":
                adjusted = m / (scale * n)
                return n / 2 * (1 - adjusted) + (i + 0.5) / scale - 0.5
            case "pytorch_half_pixel":
                return (i + 0.5) / scale - 0.5 if m > 1 else np.zeros(1)
            case "align_corners":
                return i * (n - 1) / (m - 1) if m > 1 else np.zeros(1)
            case "asymmetric":
                return i / scale
            case "tf_half_pixel_for_nn":
                return (i + 0.5) / scale
            case "tf_crop_and_resize":
                if m == 1:
                    return np.array([0.5 * (self.start + self.end) * (n - 1)])
                step = (self.end - self.start) * (n - 1) / (m - 1)
                return self.start * (n - 1) + i * step
        raise call.invalid(f"coordinate_transformation_mode '{mode}' is unknown")


def resize(call: Call) -> Tensor:
    """Nearest neighbours, linear or cubic interpolation, to a constant size."""
    x = call.value()
    axes = _axes(call, x)
    seen = view(call, 0, [k for k, axis in enumerate(axes) if not axis.kept])
    if seen.like.axis is not None and seen.like.merged == 1:
        del axes[seen.like.axis]
    old = call.opset < 11 or call.op == "Upsample"
    mode = str(call.attributes.get("mode", "nearest"))
    how = str(
        call.attributes.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    )
    if old:
        how = "asymmetric"
    outside = float(call.attributes.get("extrapolation_value", 0.0))
    call.ignore("nearest_mode", "cubic_coeff_a", "exclude_outside", "antialias")  # of other modes
    call.builder.check_size((call.batch, *(axis.count for axis in axes)), call.origin)
    if how == "align_corners" and any(abs(a.size * a.scale - a.count) > 1e-3 for a in axes):
        raise call.refusal(
            "align_corners with a scale that gives no whole number of values has two meanings: "
            "onnx and onnxruntime disagree",
            "export it with sizes instead of scales",
        )
    if any(axis.ambiguous for axis in axes):
        raise call.refusal(
            "an axis is scaled or cropped and keeps its number of values, which has two meanings:"
            " onnx changes it, onnxruntime does not always",
            "crop it with Slice, or export it with sizes instead of scales",
        )
    where = [axis.coordinates(call, how).astype(np.float64) for axis in axes]
    beyond = [
        (at < -ROUNDING) | (at > axis.size - 1 + ROUNDING)
        if how == "tf_crop_and_resize"
        else np.zeros(len(at), bool)
        for at, axis in zip(where, axes, strict=True)
    ]
    if mode == "nearest":
        y = _nearest(call, seen.x, axes, where, beyond, old=old)
    elif mode in ("linear", "bilinear", "cubic"):
        cubic = mode == "cubic"
        steps = _steps(call, axes, how)
        if steps:
            y = _stretched(call, seen.x, axes, steps, cubic=cubic)
        else:
            y = _interpolated(call, seen.x, axes, where, beyond, cubic=cubic)
    else:
        raise call.invalid(f"mode '{mode}' is unknown")
    if outside and any(part.any() for part in beyond):
        border = np.zeros(y.shape[1:], np.float32)
        for k, part in enumerate(beyond):
            border[(slice(None),) * k + (part,)] = outside
        y = affine(call, y, shift=border[None], suffix="outside")
    return seen.restored(y)


def _nearest(
    call: Call,
    x: Tensor,
    axes: list[_Axis],
    where: list[Float],
    beyond: list[npt.NDArray[np.bool_]],
    *,
    old: bool,
) -> Tensor:
    """Each value of the result reads one of the input."""
    stated = str(call.attributes.get("nearest_mode", "round_prefer_floor"))
    if stated not in ROUNDED:
        raise call.invalid(f"nearest_mode '{stated}' is unknown")
    index = places(x)
    for k, (axis, at, gone) in enumerate(zip(axes, where, beyond, strict=True)):
        if axis.kept:
            continue
        rounded = ROUNDED[("ceil" if axis.scale < 1 else "floor") if old else stated]
        read = np.clip(rounded(at), 0, axis.size - 1).astype(np.int64)
        index = np.take(index, read, k)
        index[(slice(None),) * k + (gone,)] = -1
    return take_places(call, x, index)


@dataclass(frozen=True)
class _Step:
    """Positions ``k / factor + offset`` along an axis: the same weights in every period.

    Attributes:
        factor: number of values of the result for each of the input.
        offset: position of the first one.
    """

    factor: int
    offset: Fraction

    def borders(self, axis: _Axis, reach: int) -> tuple[int, int]:
        """Number of values read before and after the axis."""
        last = Fraction(axis.count - 1, self.factor) + self.offset
        before = reach - 1 - floor(self.offset)
        after = ceil(last + reach) - axis.size
        return max(before, 0), max(after, 0)

    def taps(self, reach: int) -> tuple[int, list[Fraction]]:
        """The first tap of the kernel, in steps of the result, and the distance at every tap."""
        first = floor(self.factor * (-reach - self.offset)) + 1
        end = ceil(self.factor * (reach - self.offset))
        return first, [Fraction(k, self.factor) + self.offset for k in range(first, end)]


UNCHANGED = _Step(1, Fraction(0))
"""Positions along an axis that is kept."""


def _steps(call: Call, axes: list[_Axis], how: str) -> list[_Step]:
    """The steps along the axes of maps, without their channels; empty if an axis has none."""
    borders = call.attributes.get("antialias", 0) or call.attributes.get("exclude_outside", 0)
    if borders or len(axes) not in (2, 3) or not axes[0].kept:
        return []
    steps = [UNCHANGED if axis.kept else _step(axis, how) for axis in axes[1:]]
    return [step for step in steps if step] if all(steps) else []


def _step(axis: _Axis, how: str) -> _Step | None:
    """The step along one axis, if its factor is whole."""
    if how == "align_corners":
        factor, rest = divmod(axis.count - 1, max(axis.size - 1, 1))
        return _Step(factor, Fraction(0)) if factor > 1 and axis.size > 1 and not rest else None
    factor = int(axis.scale)
    if factor < 2 or axis.scale != factor or axis.count != axis.size * factor:
        return None
    match how:
        case "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel":
            return _Step(factor, Fraction(1 - factor, 2 * factor))
        case "asymmetric":
            return _Step(factor, Fraction(0))
    return None


def _stretched(
    call: Call, x: Tensor, axes: list[_Axis], steps: list[_Step], *, cubic: bool
) -> Tensor:
    """Interpolation by whole factors: a transposed convolution of each channel.

    Values outside are those of the border.
    """
    coefficient = float(call.attributes.get("cubic_coeff_a", -0.75)) if cubic else None
    kernel = np.ones(1)
    stretches, borders = [], []
    for axis, step in zip(axes[1:], steps, strict=True):
        reach = 1 if coefficient is None else 2
        border = (0, 0) if axis.kept else step.borders(axis, reach)
        first, distances = (0, [Fraction(0)]) if axis.kept else step.taps(reach)
        weight = _weights(np.abs(np.array(distances, np.float64)), coefficient)
        kernel = np.multiply.outer(kernel, weight)
        borders.append(border)
        stretches.append(
            Stretch(
                size=axis.size + sum(border),
                taps=len(weight),
                stride=step.factor,
                dilation=1,
                before=border[0] * step.factor - first,
                count=axis.count,
            )
        )
    if np.any(borders):
        before, after = zip((0, 0), *borders, strict=True)
        x = mirrored(call, x, before, after, "edge", suffix="border")
    n = axes[0].count
    weight = np.repeat(kernel[None], n, axis=0)
    return transposed(call, x, weight, np.zeros(n), stretches, n)


def _interpolated(
    call: Call,
    x: Tensor,
    axes: list[_Axis],
    where: list[Float],
    beyond: list[npt.NDArray[np.bool_]],
    *,
    cubic: bool,
) -> Tensor:
    """Interpolation by one matrix per axis."""
    coefficient = float(call.attributes.get("cubic_coeff_a", -0.75))
    antialias = bool(call.attributes.get("antialias", 0))
    exclude = bool(call.attributes.get("exclude_outside", 0))
    y = x
    changed = [k for k, axis in enumerate(axes) if not axis.kept]
    for k in changed:
        call.builder.check_matrix(axes[k].count, axes[k].size, call.origin)
    for k in changed:
        axis = axes[k]
        matrix = _matrix(axis, where[k], coefficient if cubic else None, antialias, exclude)
        matrix[beyond[k]] = 0
        shape = [*y.shape[: k + 1], axis.count, *y.shape[k + 2 :]]
        suffix = "" if k == changed[-1] else f"axis{k + 1}"
        y = call.emit(ann.AxisMatrix, y, shape=shape, suffix=suffix, axis=k, matrix=matrix)
    return y


def _matrix(
    axis: _Axis, where: Float, coefficient: float | None, antialias: bool, exclude: bool
) -> Float:
    """The weights of the input for each value of the result.

    Args:
        axis: what changes.
        where: each value of the result lies.
        coefficient: of cubic interpolation; None for linear.
        antialias: whether the filter widens when values become fewer.
        exclude: whether positions outside have no weight; else they have the border's value.
    """
    narrow = min(axis.scale, 1.0) if antialias else 1.0
    reach = (1 if coefficient is None else 2) / narrow
    base = np.floor(where)
    n_taps = int(np.ceil(reach))
    taps = np.arange(1 - n_taps, n_taps + 1)
    at = base[:, None] + taps
    distance = np.abs(at - where[:, None]) * narrow
    weight = _weights(distance, coefficient)
    if exclude:
        weight = np.where((at >= 0) & (at < axis.size), weight, 0.0)
    if exclude or antialias:
        whole = weight.sum(axis=1, keepdims=True)
        weight = weight / np.where(whole == 0, 1.0, whole)
    matrix = np.zeros((axis.count, axis.size))
    rows = np.broadcast_to(np.arange(axis.count)[:, None], at.shape)
    np.add.at(matrix, (rows, np.clip(at, 0, axis.size - 1).astype(np.int64)), weight)
    return matrix


def _weights(distance: Float, coefficient: float | None) -> Float:
    """The weights of values at a distance, by linear or cubic interpolation."""
    return np.maximum(1 - distance, 0) if coefficient is None else _cubic(distance, coefficient)


def _cubic(distance: Float, a: float) -> Float:
    """The kernel of cubic convolution (Keys 1981)."""
    d, d2 = distance, distance * distance
    near = (a + 2) * d2 * d - (a + 3) * d2 + 1
    far = a * d2 * d - 5 * a * d2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _axes(call: Call, x: Tensor) -> list[_Axis]:
    """Resampling of each axis of the file's value.

    Raises:
        ModelError: sizes and scales do not fit, or there are none.
    """
    rank = len(x.shape)
    stated = call.attributes.get("axes")
    chosen = [call.axis(int(k), rank) for k in (range(rank) if stated is None else stated)]
    late = call.op == "Resize" and call.opset >= 11
    scales = _numbers(call, "scales", 2 if late else 1)
    sizes = [int(n) for n in call.constant(3, INTEGERS)] if late and call.has(3) else []
    roi = [float(v) for v in call.constant(1)] if late and call.has(1) else []
    if not scales and not sizes:
        raise call.invalid("has neither sizes nor scales")
    if len(scales or sizes) != len(chosen) or not all(0 < n < np.inf for n in (*scales, *sizes)):
        raise call.invalid(f"its {'scales' if scales else 'sizes'} do not fit {list(x.shape)}")
    policy = call.attributes.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" and stated is not None and min(stated, default=0) < 0:
        raise call.refusal(
            "keep_aspect_ratio_policy with axes that count from the end has two meanings: onnx"
            " resizes them, onnxruntime does not",
            "count its axes from the front",
        )
    if sizes:
        scales = [n / x.shape[k] for n, k in zip(sizes, chosen, strict=True)]
        if policy != "stretch":
            common = min(scales) if policy == "not_larger" else max(scales)
            scales = [common] * len(scales)
            sizes = [int(common * x.shape[k] + 0.5) for k in chosen]
    axes = [_Axis(n, n, 1.0, 0.0, 1.0) for n in x.shape]
    for place, (k, scale) in enumerate(zip(chosen, scales, strict=True)):
        n = x.shape[k]
        count = sizes[place] if sizes else int(n * scale)
        ends = (0.0, 1.0)
        if len(roi) == 2 * len(chosen):
            ends = (roi[place], roi[place + len(chosen)])
        how = call.attributes.get("coordinate_transformation_mode", "half_pixel")
        if how != "tf_crop_and_resize":
            ends = (0.0, 1.0)
        if count < 1:
            raise call.invalid(f"leaves nothing of {n} values")
        axes[k] = _Axis(n, count, scale, *ends)
    return axes


def _numbers(call: Call, name: str, index: int) -> list[float]:
    """Positive numbers from an attribute or an input; empty if absent."""
    if name in call.attributes:
        return [float(v) for v in call.attributes[name]]
    return [float(v) for v in call.constant(index)] if call.has(index) else []
