"""The input of a network trained with spikes: how it arrives, and how it is encoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.ir.encoding import Encoding, InputEncoding
from snn_compile.ir.graph import Graph, Shape, maps_shape
from snn_compile.ir.spiking import InputCoding, Synapses
from snn_compile.ir.stages import SpikingGraph
from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.plugins import ImportedSpiking
from snn_compile.samples.arrays import Samples
from snn_compile.samples.readers import Request
from snn_compile.samples.rows import blocks
from snn_compile.samples.spike_trains import TrainData

MAX_INTEGER = 1 << 15
"""Whole numbers up to this size are not rescaled."""


def train_request(name: str, shape: Shape, n_steps: int, options: CompileOptions) -> Request:
    """What a network that spikes already takes: its input's name, shape and steps."""
    samples, step_us = options.samples or 0, options.event_step
    return Request(
        {name: shape}, None, options.labels, samples, options.seed, n_steps=n_steps, step_us=step_us
    )


def input_coding_of(
    imported: ImportedSpiking, options: CompileOptions, trains: bool | None
) -> InputCoding:
    """Input coding: from the data, else from the options, else spikes.

    Raises:
        UsageError: options that do not apply, or that contradict the data.
    """
    assumed = InputCoding.CURRENT if imported.encoding is not None else InputCoding.EVENTS
    return chosen_coding(imported.network.window.coding, assumed, options, trains)


def chosen_coding(
    coding: str, assumed: InputCoding, options: CompileOptions, trains: bool | None
) -> InputCoding:
    """Input coding: from the data, else from the options, else the assumed one.

    Args:
        coding: of the network.
        assumed: input coding of the file.
        options: of the compilation.
        trains: whether samples have a frame for each step; None without samples.

    Raises:
        UsageError: options that do not apply, or that contradict the data.
    """
    allowed = {c.value: c for c in (InputCoding.EVENTS, InputCoding.CURRENT)}
    if options.coding not in (None, coding):
        raise UsageError(
            f"the network is already a spiking one: coding {options.coding} does not apply",
            code="bad-option",
            hint="omit --coding",
        )
    if not options.is_resolved:
        raise UsageError(
            "auto is for converted networks; the steps of this one are fixed by its training",
            code="bad-option",
            hint="use numbers: -T as in training, --weight-bits",
        )
    if options.neurons == "stock":
        raise UsageError(
            "--neurons stock restricts converted networks; the parameters of this one are fixed",
            code="not-stock",
            hint="omit it: lava/manifest.json lists its stock neurons",
        )
    if options.input is not None and options.input not in allowed:
        raise UsageError(
            f"--input {options.input} is for converted networks",
            code="bad-option",
            hint=f"for a network trained with spikes, use {' or '.join(allowed)}",
        )
    wanted = allowed.get(options.input or "")
    if trains is None:
        return wanted or assumed
    found = InputCoding.EVENTS if trains else InputCoding.CURRENT
    if wanted not in (None, found):
        raise UsageError(
            f"--input {options.input}, but the data are {found.value}", code="bad-option"
        )
    return found


def encoding_of(
    imported: ImportedSpiking,
    data: TrainData,
    arrival: InputCoding,
    options: CompileOptions,
) -> tuple[InputEncoding, list[Finding]]:
    """Encoding of the input: that of the file, if it states one; else by the calibration samples.

    The identity for whole numbers, else levels over their range.

    Raises:
        UsageError: samples are integers, and the network takes real values.
    """
    encoding, findings = _encoding_of(imported, data, arrival, options)
    raise_all(_of_unknown_scale(imported, data, encoding))
    return encoding, findings


def _encoding_of(
    imported: ImportedSpiking,
    data: TrainData,
    arrival: InputCoding,
    options: CompileOptions,
) -> tuple[InputEncoding, list[Finding]]:
    if _is_stated(imported, arrival):
        return _stated(imported, data)
    samples = data.calibrate
    shape = imported.input_shape
    maps = maps_shape(shape)
    if arrival is InputCoding.EVENTS:
        n_steps = imported.network.window.n_steps
        shape, maps = (n_steps, *shape), (n_steps, *maps)
    findings = []
    if samples is None:
        spikes = arrival is InputCoding.EVENTS
        low, high, whole = 0.0, 1.0, spikes
        what = "spikes, 0 or 1" if spikes else "currents from 0 to 1"
        findings = [
            Finding(
                f"no calibration data: the input is assumed to be {what}",
                code="not-calibrated",
                hint="set --calibrate to a few hundred samples",
                warning=not spikes,
            )
        ]
    else:
        low, high, is_whole = range_of(samples)
        whole = is_whole and max(-low, high) <= MAX_INTEGER
    if whole:
        return InputEncoding(np.ones(1), int(min(low, 0)), int(max(high, 1)), shape, maps), findings
    ends = np.array([min(low, 0.0)]), np.array([max(high, 0.0)])
    return InputEncoding.spanning(*ends, options.input_bits, shape, maps), findings


def _is_stated(imported: ImportedSpiking, arrival: InputCoding) -> bool:
    """Whether the file states the encoding of such input."""
    return imported.encoding is not None and arrival is InputCoding.CURRENT


def _stated(imported: ImportedSpiking, data: TrainData) -> tuple[InputEncoding, list[Finding]]:
    """The encoding of the file; where it lacks the unit, the samples are to cover its range."""
    encoding = imported.encoding
    if encoding is None:
        raise TypeError("the file states no encoding")
    samples = data.calibrate or data.evaluate
    if imported.stated or samples is None:
        return encoding, []
    low, high, is_whole = range_of(samples)
    if is_whole and encoding.low <= low and encoding.high / 2 <= high <= encoding.high:
        return encoding, []
    unit = max(high / encoding.high, low / min(encoding.low, -1), np.finfo(np.float32).tiny)
    text = (
        f"the file takes whole numbers from {encoding.low} to {encoding.high}, and the samples go"
        f" from {low:.4g} to {high:.4g}: they are taken as multiples of {unit:.4g}"
    )
    hint = "export the file again, which states the unit; or store whole numbers"
    found = Finding(text, code="input-rescaled", hint=hint, warning=True)
    return replace(encoding, unit=np.array([unit])), [found]


def _of_unknown_scale(
    imported: ImportedSpiking, data: TrainData, encoding: InputEncoding
) -> list[CompileError]:
    """Errors for integers where the network takes real values, as for data that ``run`` reads."""
    unit = float(encoding.unit[0])
    asks = data.calibrate is None and imported.encoding is None
    other = "set --calibrate to integers like these, or " if asks else ""
    integers = [
        samples
        for samples in (data.calibrate, data.evaluate)
        if samples is not None and samples.x.dtype.kind in "iu"
    ]
    if unit == 1:
        return []
    return [
        UsageError(
            f"x has the type {samples.x.dtype}, but the network takes multiples of {unit:.6g} from"
            f" {encoding.low * unit:.4g} to {encoding.high * unit:.4g}",
            code="wrong-dtype",
            origin=Origin(samples.file) if samples.file else None,
            hint=f"{other}store x as float32 in the network's range",
        )
        for samples in integers
    ]


def driven(
    imported: ImportedSpiking, encoding: InputEncoding, arrival: InputCoding
) -> SpikingGraph:
    """The network for encoded input, with the unit of a step folded into the first weights.

    A network whose file states the encoding takes the encoded integers themselves.
    """
    network = imported.network
    unit = 1.0 if _is_stated(imported, arrival) else float(encoding.unit[0])
    source = network.input
    nodes = [
        replace(node, weight=node.weight * unit)
        if isinstance(node, Synapses) and node.inputs == (source.id,)
        else node
        for node in network.graph
        if node.id != source.id
    ]
    encoded_input = replace(
        source,
        unit=np.full(source.shape[0], unit),
        low=encoding.low,
        high=encoding.high,
        coding=arrival,
    )
    return SpikingGraph(Graph([encoded_input, *nodes]), network.window)


def range_of(samples: Samples) -> tuple[float, float, bool]:
    """The smallest value and the largest, and whether all are whole numbers."""
    low = min(float(block.min()) for block in blocks(samples.x))
    high = max(float(block.max()) for block in blocks(samples.x))
    is_whole = samples.x.dtype.kind in "iu" or all(
        bool((block == np.rint(block)).all()) for block in blocks(samples.x)
    )
    return low, high, is_whole


def n_crowded(samples: Samples, encoding: Encoding) -> int:
    """Number of event counts above the largest input of the network."""
    limit = encoding.high * float(encoding.unit.max())
    return sum(int((block > limit).sum()) for block in blocks(samples.x))


def counts_cut(
    samples: Samples | None, encoding: InputEncoding, arrival: InputCoding
) -> list[Finding]:
    """A warning if evaluation samples hold more spikes at once than the input takes."""
    if samples is None or arrival is not InputCoding.EVENTS:
        return []
    crowded = n_crowded(samples, encoding)
    if not crowded:
        return []
    occupied = sum(int((block > 0).sum()) for block in blocks(samples.x))
    return [
        Finding(
            f"{crowded:,} of {occupied:,} event counts exceed {encoding.high}, the largest input of"
            " the network, and are cut to it",
            Origin(samples.file) if samples.file else None,
            "counts-cut",
            "set --calibrate to recordings, whose largest count becomes the range of the input",
            warning=True,
        )
    ]
