"""Files as lava-dl's blocks export them, with the fields that a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CUBA = {"type": "CUBA", "iDecay": 1024, "vDecay": 128, "vThMant": 40, "refDelay": 1}
CUBA |= {"gradedSpike": False}
SDNN = {"type": "SDNN", "activation": "relu", "vThMant": 2}


def even(rng: np.random.Generator, *shape: int, most: int = 20) -> np.ndarray:
    """Weights as lava-dl trains them: even integers, stored as floats."""
    return (2 * rng.integers(-most, most + 1, shape)).astype(np.float32)


def dense(weight: np.ndarray, neuron: dict[str, Any] | None = CUBA, **more: Any) -> dict[str, Any]:
    """A dense layer."""
    n_out, n_in = weight.shape
    sizes = {"inFeatures": n_in, "outFeatures": n_out, "shape": [n_out]}
    return {"type": "dense", **sizes, "weight": weight, "neuron": neuron, **more}


def conv(
    weight: np.ndarray, shape: tuple[int, ...], neuron: dict[str, Any] | None = CUBA, **more: Any
) -> dict[str, Any]:
    """A convolution; ``shape`` is that of its result."""
    groups = more.get("groups", 1)
    return {
        "type": "conv",
        "shape": shape,
        "inChannels": weight.shape[1] * groups,
        "outChannels": len(weight),
        "kernelSize": weight.shape[2:],
        "stride": (1, 1),
        "padding": (0, 0),
        "dilation": (1, 1),
        "groups": groups,
        "weight": weight,
        "neuron": neuron,
        **more,
    }


def pool(
    kernel: tuple[int, int], weight: int, shape: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    """A pool of one weight."""
    fields = {"kernelSize": kernel, "stride": kernel, "padding": (0, 0), "dilation": (1, 1)}
    values = np.full((1, 1, *kernel), weight, np.float32)
    return {"type": "pool", "shape": shape, "weight": values, "neuron": CUBA, **fields, **more}


def write(path: Path, *layers: dict[str, Any], n_steps: int | None = None, **more: Any) -> Path:
    """Write a file; fields that are None are left out."""
    import h5py

    with h5py.File(path, "w") as file:
        for number, layer in enumerate(layers):
            _put(file.create_group(f"layer/{number}"), layer)
        if n_steps is not None:
            _put(file.create_group("simulation"), {"Ts": 1, "tSample": n_steps})
        _put(file, more)
    return path


def _put(group: Any, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        if value is None:
            continue
        if isinstance(value, dict):
            _put(group.create_group(name), value)
        elif isinstance(value, str):
            wrapped = np.array([value.encode()]) if group.name.count("/") == 2 else value.encode()
            group.create_dataset(name, data=wrapped)
        else:
            group.create_dataset(name, data=np.asarray(value))
