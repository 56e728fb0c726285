"""Preprocessing folded into the network, so that the compiled one reads raw values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError, raise_all
from snn_compile.ir import ann
from snn_compile.ir.graph import Graph, NodeId, Shape
from snn_compile.ir.stages import ANNGraph
from snn_compile.passes import PassResult


@dataclass(frozen=True)
class FoldPreprocessing:
    """``y = (x - mean) / scale`` per channel, in front of everything else.

    The constant part is folded into the first biases, exactly, at padded borders too.

    Attributes:
        mean_values: one per channel, or one for all; none for 0.
        scale_values: likewise; none for 1.
        input: name of the input; empty for the only one.
    """

    name: ClassVar[str] = "fold-preprocessing"
    mean_values: tuple[float, ...] = ()
    scale_values: tuple[float, ...] = ()
    input: str = ""

    def __call__(self, network: ANNGraph, /) -> PassResult[ANNGraph]:
        """Insert the scaling after the input.

        Raises:
            UsageError: as of ``complaints``; all of them at once.
        """
        if not self.mean_values and not self.scale_values:
            return PassResult(network)
        raise_all(list(self.complaints(network)))
        found = network.graph[NodeId(self.input or network.inputs[0].id)]
        source = found.changed(step=None, ends=None)  # raw values have another grid
        mean = _per_channel(self.mean_values or (0.0,), source)
        scale = _per_channel(self.scale_values or (1.0,), source)
        scaled = ann.Affine(
            id=NodeId(f"{source.id}.preprocessed"),
            inputs=(source.id,),
            shape=source.shape,
            origin=source.origin,
            scale=1 / scale,
            shift=-mean / scale,
        )
        rest = [
            replace(n, inputs=tuple(scaled.id if s == source.id else s for s in n.inputs))
            for n in network.graph
            if not isinstance(n, ann.Input)
        ]
        inputs = [source if node.id == source.id else node for node in network.inputs]
        return PassResult(network.with_graph(Graph([*inputs, scaled, *rest])))

    def of_samples(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Raw samples (N, C, ...) of its input as the model file takes them."""
        places = (-1, *(1 for _ in x.shape[2:]))
        mean, scale = self.mean_values or (0.0,), self.scale_values or (1.0,)
        y: npt.NDArray[Any] = (x - np.reshape(mean, places)) / np.reshape(scale, places)
        return y

    def complaints(self, network: ANNGraph) -> Iterator[UsageError]:
        """Reasons why the values do not fit the network's inputs."""
        names = [str(source.id) for source in network.inputs]
        given = {"mean-values": self.mean_values, "scale-values": self.scale_values}
        for option, values in given.items():
            if not values:
                continue
            if not self.input and len(names) > 1:
                yield UsageError(
                    f"{option} do not say of which input: {', '.join(names)}",
                    code="bad-option",
                    hint=f"name it: {names[0]}={','.join(f'{one:g}' for one in values)}",
                )
            elif self.input and self.input not in names:
                yield UsageError(
                    f"{option} name '{self.input}', which is no input",
                    code="unknown-input",
                    hint=f"the inputs are {', '.join(names)}",
                )
            elif len(values) not in (
                1,
                n := network.graph[NodeId(self.input or names[0])].shape[0],
            ):
                which = f" of '{self.input}'" if self.input else ""
                yield UsageError(
                    f"{option} has {len(values)} values for {n} channels{which}",
                    code="bad-option",
                    hint=f"give one value or {n}",
                )


def preprocessing_of(mean_values: Any, scale_values: Any) -> tuple[FoldPreprocessing, ...]:
    """The passes of the options, whose values come from these or from a report."""
    means, scales = _by_input(mean_values), _by_input(scale_values)
    return tuple(
        FoldPreprocessing(means.get(name, ()), scales.get(name, ()), name)
        for name in dict.fromkeys((*means, *scales))
        if means.get(name) or scales.get(name)
    )


def _by_input(values: Any) -> dict[str, tuple[float, ...]]:
    """Numbers by the name of their input, which is empty for the only one."""
    items = tuple(values or ())
    named = {item[0]: tuple(item[1]) for item in items if isinstance(item, list | tuple)}
    return named or {"": items}


def as_file_takes(
    x: npt.NDArray[Any], folds: tuple[FoldPreprocessing, ...], shapes: Mapping[str, Shape]
) -> npt.NDArray[Any]:
    """Raw samples (N, *sample shape) as the model file takes them.

    Args:
        x: raw samples; of several inputs one row each (``ir.inputs``).
        folds: preprocessing of the inputs.
        shapes: of all inputs, in order.
    """
    if not folds:
        return x
    by_name = {fold.input or next(iter(shapes)): fold for fold in folds}
    rows, start, parts = x.reshape(len(x), -1), 0, []
    for name, shape in shapes.items():
        part = rows[:, start : start + prod(shape)].reshape(len(x), *shape)
        parts.append(by_name[name].of_samples(part) if name in by_name else part)
        start += prod(shape)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.reshape(len(x), -1) for part in parts], axis=1)


def _per_channel(values: tuple[float, ...], source: ann.AnnNode) -> ann.Float:
    column = np.array(values, np.float64).reshape(-1, *[1] * (len(source.shape) - 1))
    return np.broadcast_to(column, (source.shape[0], *column.shape[1:])).copy()
