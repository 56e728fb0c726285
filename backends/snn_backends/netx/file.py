"""The HDF5 file for netx, and a note with its reading instructions."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from snn_backends.netx.layers import NEVER, Layer
from snn_compile.files import hdf5
from snn_compile.files.documents import DAMAGE, describe_error, read_json
from snn_compile.ir.quantized import QuantizedGraph

FILE, HOW = "network.net", "network.json"
Value = npt.NDArray[np.generic]


def entries(program: QuantizedGraph, layers: list[Layer]) -> dict[str, Value]:
    """Every dataset of the file, by its path."""
    found: dict[str, Value] = {}
    listed: list[tuple[str, dict[str, Any]]] = [("input", {"shape": program.input.shape})]
    for layer in layers:
        maps = listed[-1][1]["shape"]
        if layer.kind == "dense" and len(maps) == 3:
            size = int(np.prod(maps))
            listed.append(("flatten", {"shape": (size, 1, 1)}))
        listed.append((layer.kind, _entry(layer)))
    for index, (kind, values) in enumerate(listed):
        found[f"layer/{index}/type"] = np.array([kind.encode()], "S10")
        for key, value in values.items():
            found[f"layer/{index}/{key}"] = np.asarray(value)
    return found


def _entry(layer: Layer) -> dict[str, Any]:
    weight = layer.weight.astype(np.float32)
    values: dict[str, Any] = {"shape": layer.shape, "weight": weight, **layer.geometry}
    if layer.kind == "dense":
        values |= {"inFeatures": weight.shape[1], "outFeatures": weight.shape[0]}
    else:
        groups = layer.geometry["groups"]
        values |= {"inChannels": weight.shape[1] * groups, "outChannels": weight.shape[0]}
    if layer.bias is not None:
        # One per neuron: in netx's order of axes.
        values["bias"] = layer.bias.T.astype(np.float32)
    neuron = {
        "type": np.bytes_("CUBA"),
        "iDecay": layer.current_decay,
        "vDecay": layer.voltage_decay,
        "vThMant": layer.threshold.T,
        "refDelay": 1,
        "gradedSpike": False,
    }
    return values | {f"neuron/{key}": value for key, value in neuron.items()}


def how(program: QuantizedGraph, layers: list[Layer]) -> dict[str, Any]:
    """Reading instructions that the file format cannot express."""
    low, high = program.input.messages
    return {
        "file": FILE,
        "reader": "lava.lib.dl.netx.hdf5.Network, lava-dl 0.6.0",
        "arguments": {
            "input_message_bits": 0 if (low, high) == (0, 1) else 24,
            "reset_interval": program.window.n_steps,
            "reset_offset": 1,
        },
        "input": {
            "shape": list(program.input.shape[::-1]),
            "order": "width, height, channel",
            "flattened": layers[0].kind == "dense",
            "low": low,
            "high": high,
        },
        "n_steps": program.window.n_steps,
        "latency": program.latency,
        "layers": [layer.node.id for layer in layers],
        "output": f"v >> 6 of the last layer after the window; its threshold {NEVER} is never met",
    }


def write(program: QuantizedGraph, layers: list[Layer], folder: Path) -> None:
    """Write both files."""
    content = io.BytesIO()  # HDF5 ignores a full disk and crashes later
    with h5py.File(content, "w") as file:
        for path, value in entries(program, layers).items():
            file.create_dataset(path, data=value)
    (folder / FILE).write_bytes(content.getvalue())
    text = json.dumps(how(program, layers), indent=1) + "\n"
    (folder / HOW).write_text(text, encoding="utf-8")


def compare(program: QuantizedGraph, layers: list[Layer], folder: Path) -> tuple[int, list[str]]:
    """The number of compared values, and the differences."""
    expected, faults, compared = entries(program, layers), list[str](), 0
    try:
        found = dict(_flat(hdf5.read(folder / FILE)))
        said = read_json(folder / HOW)
    except DAMAGE as error:
        return 0, [f"the file cannot be read: {describe_error(error)}"]
    for path in sorted({*expected, *found}):
        if path not in found or path not in expected:
            faults.append(f"{path} is {'missing' if path in expected else 'unexpected'}")
            continue
        compared += expected[path].size
        if not np.array_equal(expected[path], found[path]):
            faults.append(f"{path} differs")
    if said != how(program, layers):
        faults.append(f"{HOW} differs")
    return compared, faults


def _flat(group: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Value]]:
    """The datasets of a group and of those within, by their paths."""
    for name, value in group.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}/")
        else:
            yield above + name, np.asarray(value.encode() if isinstance(value, str) else value)
