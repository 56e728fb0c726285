"""Samples of networks with several inputs: an array for each, by the input's name.

Checked arrays are joined to one, a row for each sample (``ir.inputs``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.archives import Arrays
from snn_compile.ir.graph import Shape
from snn_compile.samples.arrays import (
    Labels,
    Samples,
    as_rows,
    check_rows,
    labelled,
)
from snn_compile.samples.npz import missing_arrays, read_arrays, rows_in
from snn_compile.samples.outputs import OutputShapes
from snn_compile.samples.rows import Array, Rows, computed

ArraysLike = npt.ArrayLike | Rows | Mapping[str, npt.ArrayLike | Rows]
"""Samples of the only input, or of each input by its name."""
LABELS = ("y", "labels", "target", "class")
"""Names of the labels in a file: the first one that is no input's."""


def load_named(
    path: Path,
    shapes: Mapping[str, Shape],
    *,
    layout: str = "nchw",
    raw: bool | Collection[str] = False,
    outputs: OutputShapes | None = None,
    need_labels: bool = False,
) -> Samples:
    """Samples from an npz file with an array for each input, and labels or not.

    Args:
        path: the file; nothing in it is unpickled.
        shapes: of each input, by its name; in the order of their values in a sample.
        layout: of images in the file.
        raw: whether preprocessing is folded into the network, so that integers are accepted; or
            for which inputs.
        outputs: of the network; None leaves labels unread.
        need_labels: whether a file without labels is refused.

    Raises:
        UsageError: the file or its content is invalid; all complaints at once.
    """
    label = next((name for name in LABELS if name not in shapes), LABELS[0])
    known = {label, *(outputs.keys() if outputs is not None else ())} - {*shapes}

    def select(arrays: Arrays) -> dict[str, Rows]:
        if missing := [name for name in shapes if name not in arrays]:
            raise missing_arrays(path, missing, sorted(arrays), {*shapes, *known})
        if outputs is not None:
            others = [name for name in arrays if name not in {*shapes, *known}]
            raise_all(outputs.misspelt(others, str(path)))
        if need_labels and not known & {*arrays}:
            raise UsageError(
                f"it has no labels ('{label}')",
                code="missing-labels",
                origin=Origin(str(path)),
                hint=f"add {label}, one integer a sample",
            )
        wanted = [name for name in arrays if name in {*shapes, *known}]
        return {name: rows_in(arrays, name, path) for name in wanted}

    arrays = read_arrays(path, select)
    x = {name: arrays[name] for name in shapes}
    reading: dict[str, Any] = {"layout": layout, "raw": raw, "source": str(path)}
    y = {"y" if name == label else name: arrays[name] for name in arrays if name in known}
    return check_named(x, y, shapes, outputs=outputs, **reading)


def check_named(
    x: Mapping[str, npt.ArrayLike | Rows],
    y: Labels | None,
    shapes: Mapping[str, Shape],
    *,
    layout: str = "nchw",
    raw: bool | Collection[str] = False,
    outputs: OutputShapes | None = None,
    source: str = "x",
) -> Samples:
    """Samples from arrays by name; arguments and errors as in ``load_named``."""
    errors, checked = list[CompileError](), dict[str, Rows]()
    if missing := [name for name in shapes if name not in x]:
        errors.append(missing_arrays(source, missing, sorted(x), shapes))
    elif unknown := sorted(set(x) - set(shapes)):
        takes = ", ".join(f"'{name}'" for name in shapes)
        errors.append(
            UsageError(
                f"the network has no input '{unknown[0]}'",
                code="unknown-input",
                origin=Origin(source),
                hint=f"it takes {takes}",
            )
        )
    for name in shapes:
        if name not in x:
            continue
        try:
            checked[name] = check_rows(
                as_rows(x[name], f"'{name}'"),
                shapes[name],
                layout=layout,
                raw=raw if isinstance(raw, bool) else name in raw,
                source=source,
                name=f"'{name}'",
            )
        except CompileError as error:
            errors.append(error)
    lengths = {name: len(values) for name, values in checked.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{n:,} of '{name}'" for name, n in lengths.items())
        errors.append(
            UsageError(
                f"the inputs have different numbers of samples: {counts}",
                code="wrong-shape",
                origin=Origin(source),
                hint="a sample is one entry of each array",
            )
        )
    raise_all(errors)
    joined = _joined(checked)
    return labelled(joined, y, outputs, source)


def unnamed(shapes: Mapping[str, Shape]) -> UsageError:
    """The error for a single array where there are several inputs."""
    names = ", ".join(f"'{name}'" for name in shapes)
    named = ", ".join(f"'{name}': ..." for name in shapes)
    return UsageError(
        f"the network takes several inputs: {names}",
        code="missing-key",
        hint=f"give an array for each: {{{named}}}",
    )


def only_rows(x: ArraysLike) -> Rows:
    """The samples of a network with a single input, which has no name.

    Raises:
        UsageError: there are arrays for several inputs.
    """
    if not isinstance(x, Mapping):
        return as_rows(x)
    if len(x) != 1:
        names = ", ".join(f"'{name}'" for name in x)
        raise UsageError(
            f"the network has one input, and the data {len(x)}: {names}",
            code="unknown-input",
            hint="give one array",
        )
    return as_rows(next(iter(x.values())))


def join_named(x: ArraysLike, shapes: Mapping[str, Shape]) -> Rows:
    """Samples as one array, from one or from an array for each input.

    Raises:
        UsageError: names or shapes are not those of the inputs.
    """
    if not isinstance(x, Mapping):
        return as_rows(x)
    if len(shapes) == 1:
        (name,) = shapes
        if set(x) == {"x"}:
            return as_rows(x["x"])
        shapes = {name: shapes[name]}
    return check_named(x, None, shapes, raw=True).x


def _joined(inputs: Mapping[str, Rows]) -> Rows:
    """One row for each sample, of the type that holds all values."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    sizes = [prod(values.shape[1:]) for values in inputs.values()]

    def rows(*blocks: Array) -> Array:
        flat = [b.reshape(len(b), size) for b, size in zip(blocks, sizes, strict=True)]
        return np.concatenate(flat, axis=1)

    return computed(rows, *inputs.values())
