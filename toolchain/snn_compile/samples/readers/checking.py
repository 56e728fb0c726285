"""From what a reader has found to samples that a network takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_compile.samples.arrays import Samples, check_samples
from snn_compile.samples.named import check_named
from snn_compile.samples.outputs import OutputShapes
from snn_compile.samples.readers.content import Content, Request, complaint
from snn_compile.samples.readers.folder import check_number


def samples_of(
    content: Content,
    path: Path,
    request: Request,
    *,
    need_labels: bool = False,
    outputs: OutputShapes | None = None,
    **reading: Any,
) -> Samples:
    """Checked samples.

    Args:
        content: as a reader has found it.
        path: of the file or folder.
        request: what has been asked for.
        need_labels: whether samples without labels are refused.
        outputs: of the network; None leaves labels unread.
        **reading: as of ``check_samples``.

    Raises:
        UsageError: they do not fit the network.
    """
    if need_labels and not content.labels:
        hint = "put files into folders of their classes, or give y"
        raise complaint(path, "it has no labels", "missing-labels", hint)
    labels = None if outputs is None or not content.labels else content.labels
    reading |= {"outputs": outputs, "source": str(path)}
    if content.are_decoded:
        reading["layout"] = "nchw"
    names, arrays = [*request.shapes], content.arrays
    if len(names) > 1:
        samples = check_named(arrays, labels, request.shapes, **reading)
    else:
        (shape,) = request.shapes.values()
        reading["raw"] = bool(reading["raw"])
        x = arrays["x"] if "x" in arrays else arrays[names[0]]
        samples = check_samples(x, labels, shape, **reading)
    if content.classes and samples.y is not None and not request.classes:
        check_number(path, len(content.classes), samples.expected[0].n_classes)
    content.check(path)
    unread = tuple(content.labels) if outputs is None else ()
    return replace(samples, classes=content.classes, unread=unread)
