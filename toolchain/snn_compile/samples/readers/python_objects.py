"""Data sets, loaders and iterators of Python as samples: taken once, item by item.

Augmentation makes another sample each time, so items are kept: in memory, or in a temporary file
once they are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import UsageError
from snn_compile.files.documents import DamagedError
from snn_compile.samples.arrays import EVENT_KEYS
from snn_compile.samples.readers.events import fields_of
from snn_compile.samples.rows import Rows
from snn_compile.samples.stored import Spool

Array = npt.NDArray[Any]
_FORM = "give arrays, or an iterable of (x, y): one sample and its label, or a batch of both"


def is_iterable(data: Any) -> bool:
    """Whether samples have to be taken from an object one after the other."""
    known = (Mapping, str, Path, tuple, list, Rows)
    if data is None or isinstance(data, known) or hasattr(data, "__array__"):
        return False
    return hasattr(data, "__iter__") or hasattr(data, "__getitem__")


def collected(data: Any) -> tuple[Rows | Mapping[str, Rows], Rows | None]:
    """Samples and labels of a data set, of a loader of batches, or of any iterable.

    Items may be recordings of events, structured arrays as tonic has them; these are collected as
    the arrays of a file of recordings.

    Raises:
        UsageError: the items are neither samples nor batches, or differ in shape.
    """
    x, y = Spool("samples"), Spool("labels")
    shape: tuple[int, ...] | None = None
    dtypes: list[np.dtype[Any]] = []
    labelled: set[bool] = set()
    for item in (items := _items(data)):
        if _is_recording(item):
            return _recordings(chain([item], items))
        values, labels = _split(item, data)
        if shape is None:
            shape, dtypes = values.shape[1:], [values.dtype]
        if values.shape[1:] != shape:
            raise _error(f"samples have the shapes {shape} and {values.shape[1:]}", "wrong-shape")
        labelled.add(labels is not None)
        x.append(values.astype(dtypes[0], copy=False))
        if labels is not None:
            y.append(labels)
    if shape is None:
        raise _error("it holds no samples", "empty-data")
    if len(labelled) > 1:
        raise _error("some samples have labels, and others do not", "bad-labels")
    return x.rows(), y.rows() if labelled == {True} else None


def _is_recording(item: Any) -> bool:
    """Whether an item is the events of a recording, with a label or not."""
    first = item[0] if isinstance(item, tuple | list) and item else item
    return getattr(getattr(first, "dtype", None), "names", None) is not None


def _recordings(items: Iterable[Any]) -> tuple[Mapping[str, Rows], Rows | None]:
    """The events of recordings, one after the other, and the labels."""
    events = {key: Spool("events") for key in EVENT_KEYS}
    offsets, labels = [0], list[int]()
    for item in items:
        if not _is_recording(item):
            raise _error("some items are recordings of events, and others are not", "wrong-dtype")
        recording, *rest = item if isinstance(item, tuple | list) else (item,)
        try:
            fields = fields_of(np.asarray(recording))
        except DamagedError as error:
            raise _error(f"a recording cannot be used: {error}", "wrong-dtype") from error
        for key, values in fields.items():
            events[key].append(values.astype(np.int64))
        offsets.append(offsets[-1] + len(fields["x"]))
        for label in map(np.asarray, rest[:1]):
            if label.ndim or label.dtype.kind not in "iub":
                raise _error(f"a label is {label.dtype}{label.shape}", "bad-labels")
            labels.append(int(label))
    if labels and len(labels) < len(offsets) - 1:
        raise _error("some recordings have labels, and others do not", "bad-labels")
    found: dict[str, Rows] = {key: spool.rows() for key, spool in events.items()}
    found["offsets"] = np.array(offsets)
    return found, np.array(labels, np.int64) if labels else None


def _items(data: Any) -> Iterator[Any]:
    """All items; of what has numbers and a length, no more than these."""
    if hasattr(data, "__iter__"):
        yield from data
    else:
        for k in range(len(data)):
            yield data[k]


def _split(item: Any, data: Any) -> tuple[Array, Array | None]:
    """An item as a batch of samples, and of labels if there are any."""
    if isinstance(item, tuple | list) and len(item) == 2:
        x, y = _array(item[0]), _array(item[1])
        if not y.ndim:
            return x[None], y[None]
        if x.ndim and len(x) == len(y):
            return x, y
        raise _error(f"an item has {x.shape} and {y.shape}", "wrong-shape")
    if isinstance(item, tuple | list) and len(item) == 1:
        item = item[0]
    x = _array(item)
    if getattr(data, "batch_size", None):
        return x, None
    if hasattr(data, "__getitem__"):
        return x[None], None
    raise _error("nothing tells whether an item is a sample or a batch", "bad-argument")


def _array(value: Any) -> Array:
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise _error(f"an item holds {found.dtype}", "wrong-dtype")
    return found


def _error(message: str, code: str) -> UsageError:
    return UsageError(message, code=code, hint=_FORM)
