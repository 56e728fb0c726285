"""A network as the emulators' programs read it (``children/read_network.py``)."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile.errors import CompileError, DeviceError
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.models.answers import LIF
from snn_compile.ir.quantized import (
    Population,
    QuantizedGraph,
    Readout,
    Synapses,
    along_channels,
)
from snn_compile.sim.reference import SynapseOperator, input_messages

BATCH_SIZE = 256
"""Sources of a synapse group that are unrolled together."""


def refusals(program: QuantizedGraph) -> list[CompileError]:
    """Everything that the emulators have no form for, all at once."""
    found: list[CompileError] = []
    for given in program.inputs:
        low, high = given.messages
        if low < 0 or high > 1:
            text = f"sends {low} to {high}; the emulators take spikes, 0 or 1"
            found.append(_refusal(given, text))
    found += [
        _refusal(given, "is a further input; the emulators take one")
        for given in program.inputs[1:]
    ]
    for node in program.populations:
        if isinstance(form := node.as_lif, str):
            found.append(_refusal(node, f"has {form}"))
    return found


def _refusal(node: Any, text: str) -> DeviceError:
    return DeviceError(
        f"'{node.id}' {text}",
        code="not-expressible",
        origin=node.origin,
        hint="--neurons stock --input poisson; or compare with Lava: --device lava",
    )


def write(program: QuantizedGraph, frames: Int, folder: Path) -> None:
    """Write a network that nothing refuses, and its input for some stimuli, into a folder."""
    places = {node.id: index for index, node in enumerate(program.populations)}
    places[program.input.id] = -1
    layers: list[dict[str, Any]] = []
    groups: list[dict[str, int]] = []
    arrays: dict[str, npt.NDArray[np.integer]] = {}
    for index, node in enumerate(program.populations):
        form = node.as_lif
        if not isinstance(form, LIF):
            raise TypeError(form)
        layers.append(_layer(program, node, form))
        arrays[f"layer{index}.threshold"] = along_channels(form.threshold, node.shape).ravel()
        arrays[f"layer{index}.bias"] = along_channels(form.bias, node.shape).ravel()
        for group in program.synapses_into(node):
            source = program.graph[group.inputs[0]]
            pre, post, weight = unroll(group, source.shape)
            prefix = f"group{len(groups)}"
            arrays |= {f"{prefix}.pre": pre, f"{prefix}.post": post, f"{prefix}.weight": weight}
            groups.append(
                {"source": places[source.id], "target": index, "exponent": group.exponent}
            )
    messages = input_messages(program, frames)
    arrays["spikes"] = messages.reshape(-1, prod(program.input.shape)).astype(np.int8)
    facts = {
        "n_steps": program.window.n_steps,
        "n_stimuli": len(frames),
        "layers": layers,
        "groups": groups,
    }
    (folder / "network.json").write_text(json.dumps(facts), encoding="utf-8")
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]


def _layer(program: QuantizedGraph, node: Population, form: LIF) -> dict[str, Any]:
    return {
        "name": node.id,
        "size": prod(node.shape),
        "depth": program.depth[node.id],
        "du": form.du,
        "dv": form.dv,
        "readout": isinstance(node, Readout),
    }


def unroll(group: Synapses, source: tuple[int, ...]) -> tuple[Int, Int, Int]:
    """Every synapse of a group that has a weight: source, target, mantissa; sorted by source."""
    sums = SynapseOperator(replace(group, exponent=0), (0, 1))
    n = prod(source)
    found = []
    for first in range(0, n, BATCH_SIZE):
        count = min(BATCH_SIZE, n - first)
        one_each = np.zeros((n, count), np.int64)
        one_each[first + np.arange(count), np.arange(count)] = 1
        columns: npt.NDArray[np.int64] = sums(one_each.reshape(*source, 1, count))
        columns = columns.reshape(-1, count)
        pre, post = np.nonzero(columns.T)
        found.append((first + pre, post, columns[post, pre]))
    pre, post, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    return pre, post, weight
