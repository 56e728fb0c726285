"""Samples for a compiled network, read like the data of its compilation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from snn_compile.bundle import CompiledModel
from snn_compile.ir.spiking import InputCoding
from snn_compile.pipeline.inputs import Labelled, folds_preprocessing, read_samples
from snn_compile.recipes import read_recipe
from snn_compile.report import figures
from snn_compile.samples.arrays import Samples, check_samples
from snn_compile.samples.class_names import class_names
from snn_compile.samples.npz import array_names
from snn_compile.samples.outputs import OutputShapes, stated_kinds
from snn_compile.samples.readers import Request
from snn_compile.samples.readers.kinds import NPZ, kind_of
from snn_compile.samples.spike_trains import read_trains


def samples_for(
    compiled: CompiledModel,
    given: Path | Labelled,
    outputs: OutputShapes | None = None,
    *,
    need_labels: bool = False,
) -> Samples:
    """Samples for a compiled network, read like the data of its compilation.

    Args:
        compiled: the network.
        given: an npz file with ``x`` (of several inputs an array for each, by its name) and
            optionally ``y``, or of recorded events if the network reads events; or x and y as
            arrays.
        outputs: that labels are of; None for those of the network.
        need_labels: whether samples without labels are refused.

    Returns:
        The samples. Of a network that is cut, labels are read of stated outputs only; others are
        named as unread.

    Raises:
        UsageError: the file or what it holds cannot be used.
    """
    said = [figures.option(compiled.report, name) for name in ("mean_values", "scale_values")]
    whole = bool((compiled.encoding.unit == 1).all())  # whole numbers are not rescaled
    shapes = compiled.input_shapes
    is_cut = compiled.tail is not None and compiled.tail.cut
    if outputs is None and (need_labels or not is_cut):
        outputs = _outputs_of(compiled)
    reading: dict[str, Any] = {
        "layout": figures.option(compiled.report, "layout") or "nchw",
        "raw": whole or folds_preprocessing(*said),
        "outputs": outputs,
    }
    stated = figures.option(compiled.report, "preprocess")
    recipe = None if stated is None else read_recipe(stated)
    request = Request(shapes, recipe, class_names(compiled.report))
    events = compiled.program.input_coding is InputCoding.EVENTS
    if not isinstance(given, Path) or not events or len(shapes) > 1:
        samples = read_samples(given, request, need_labels, reading)
        if outputs is None and isinstance(given, Path) and not samples.unread:
            samples = replace(samples, unread=_labels_of_file(compiled, given))
        return samples
    ((name, shape),) = shapes.items()
    step_us = figures.option(compiled.report, "event_step")
    request = replace(request, shapes={name: shape[1:]}, n_steps=shape[0], step_us=step_us)
    found = read_trains(given, request, outputs, need_labels=need_labels)
    return check_samples(found.x, found.labels, shape, raw=True, outputs=outputs, source=str(given))


def _outputs_of(compiled: CompiledModel) -> OutputShapes:
    """The outputs of a compiled network."""
    return OutputShapes(
        {compiled.output_names[n]: one.shape for n, one in compiled.decodings.items()},
        stated_kinds(figures.option(compiled.report, "output_kind") or ()),
        compiled.encoding.shape,
        {one["name"] for one in compiled.report.get("outputs") or () if one.get("threshold")},
    )


def _labels_of_file(compiled: CompiledModel, path: Path) -> tuple[str, ...]:
    """Arrays of an npz file that may be labels of the outputs before which a network is cut."""
    if path.is_dir() or kind_of(path) != NPZ or compiled.tail is None:
        return ()
    outputs = OutputShapes(dict.fromkeys(compiled.tail.outputs, ()), {})
    known = {*outputs.keys()} - {*compiled.input_shapes}
    return tuple(name for name in array_names(path) if name in known)
