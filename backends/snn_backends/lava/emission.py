"""Writing the emitted folder: constant code, arrays, manifest; and what differs from that."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_backends.emitted import superfluous
from snn_backends.lava.plan import Plan, PopulationPlan, SynapsePlan
from snn_backends.lava.timing import timing
from snn_compile.files.archives import Archive, Arrays, unequal
from snn_compile.files.documents import DAMAGE, describe_error, read_bytes, read_json, sha256
from snn_compile.ir.quantized import ConvSynapses

COPIED = (
    *("README.md", "run.py", "network.py", "layout.py"),
    *("processes/__init__.py", "processes/neurons.py", "probing/__init__.py", "probing/sink.py"),
    *("streams/__init__.py", "streams/data.py"),
)
RENAMED = {"network.py": "layers.py", "several_inputs.py": "network.py"}
"""What templates are called in the folder of a network with several inputs."""
FORMS = ("sparse", "conv")
"""Of convolutions, best first."""
ARRAYS = "weights.npz"
MANIFEST = "manifest.json"
MAX_TEXT_SIZE = 1 << 20


def source_files(plan: Plan) -> dict[str, str]:
    """Every text file of the emitted folder but the manifest, by relative path.

    They are the same for every network, with one input or with several: nothing that comes from a
    user's file is ever part of code.
    """
    templates = resources.files("snn_backends.lava") / "templates"
    names = {name: name for name in COPIED}
    if len(plan.input_names) > 1:
        names |= RENAMED
    return {
        name: (templates / template).read_text(encoding="utf-8") for template, name in names.items()
    }


def array_hash(array: npt.NDArray[np.generic]) -> str:
    """SHA-256 of type, shape and elements."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def content_hash(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def manifest(plan: Plan, options: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """What ``manifest.json`` holds; ``files`` maps the other files to their hashes."""
    program = plan.program
    shape, coding = program.inputs.shape, program.input_coding.value
    entries = [
        {
            "name": name,
            "id": node.id,
            "shape": list(node.shape),
            "low": node.low,
            "high": node.high,
            "coding": coding,
        }
        for name, node in zip(plan.input_names, program.inputs, strict=True)
    ]
    given: dict[str, Any] = {"input": entries[0]}
    if len(entries) > 1:
        starts = accumulate((prod(node.shape) for node in program.inputs), initial=0)
        inputs = [{**entry, "first": start} for entry, start in zip(entries, starts, strict=False)]
        given = {"input": {"shape": list(shape), "coding": coding}, "inputs": inputs}
    return {
        "schema": 2,
        "backend": "lava",
        "requires": {"python": "3.10", "numpy": "<2", "lava-nc": "0.10.0"},
        "coding": program.window.coding,
        "n_steps": program.window.n_steps,
        "drain": plan.drain,
        "latency": program.latency,
        "rows": f"n_stimuli * {program.window.n_steps} + {plan.drain}",
        "timing": timing(plan),
        "synapses": options.get("synapses", FORMS[0]),
        **given,
        "layers": [entry for p in plan.populations for entry in _entries(p)],
        "arrays": {key: array_hash(value) for key, value in sorted(plan.arrays.items())},
        "files": dict(sorted(files.items())),
    }


def _entries(population: PopulationPlan) -> list[dict[str, Any]]:
    groups = [_group(group, population.name) for group in population.synapses]
    return [
        *groups,
        {
            "id": population.node.id,
            "name": population.name,
            "node": type(population.node).__name__,
            "process": population.process,
            "kind": "stock" if population.stock else "custom",
            "reason": population.custom_reason,
            "recorded": "v >> 6" if population.probed else "s_out",
            "shape": list(population.node.shape),
            "constants": population.constants,
            "arrays": list(population.arrays),
            "depth": population.depth,
            "first_row": population.first_row,
            "trace": population.trace,
            "form": population.form,
        },
    ]


def _group(group: SynapsePlan, target: str) -> dict[str, Any]:
    entry = {
        "id": group.node.id,
        "name": group.name,
        "node": type(group.node).__name__,
        "process": "Dense" if group.kind == "dense" else "Sparse",
        "kind": "stock",
        "kernel": group.kind,
        "source": group.source,
        "target": target,
        "delay": group.delay,
        "source_shape": list(group.source_shape),
        "shape": list(group.node.shape),
        "exponent": group.node.exponent,
        "num_weight_bits": group.weight_bits,
        "grid_shift": group.grid_shift,
        "weight_exp": group.weight_exp,
        "conv_form": group.kind == "conv" and not group.conv_obstacle,
    }
    if isinstance(group.node, ConvSynapses):
        geometry = group.node.geometry
        entry |= {
            "conv_obstacle": group.conv_obstacle,
            "stride": list(geometry.stride),
            "padding": list(geometry.padding),
            "dilation": list(geometry.dilation),
            "groups": geometry.groups,
        }
    return entry


def write(plan: Plan, folder: Path, options: Mapping[str, Any]) -> None:
    """Write everything into an existing folder."""
    texts = source_files(plan)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    np.savez_compressed(folder / ARRAYS, **plan.arrays)  # type: ignore[arg-type]
    files = {name: content_hash(text.encode()) for name, text in texts.items()}
    files[ARRAYS] = sha256(folder / ARRAYS)
    (folder / MANIFEST).write_text(
        json.dumps(manifest(plan, options, files), indent=1) + "\n", encoding="utf-8"
    )


def differences(plan: Plan, folder: Path) -> list[str]:
    """Everything in a folder that is not what emitting the network again would write.

    Each line names the layer and, for arrays, the first element that differs.
    """
    texts = source_files(plan)
    found = [text for name in texts if (text := _text_difference(folder / name, name, texts[name]))]
    found += superfluous(folder, {ARRAYS, MANIFEST, *texts})
    if any((folder / name).is_symlink() for name in (ARRAYS, MANIFEST)):
        return found  # each is reported as not emitted
    arrays = array_differences(plan, folder)
    return found + arrays + _manifest_differences(plan, folder, bool(arrays))


def _text_difference(path: Path, name: str, text: str) -> str:
    if not path.is_file():
        return f"{name} is missing"
    expected = text.encode()
    try:
        actual = read_bytes(path, MAX_TEXT_SIZE)
    except DAMAGE as error:
        return f"{name} cannot be read: {describe_error(error)}"
    if actual == expected:
        return ""
    pairs = zip(expected.split(b"\n"), actual.split(b"\n"), strict=False)
    line = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), None)
    return f"{name} differs" + (f", line {line}" if line else " in length")


def array_differences(
    plan: Plan, folder: Path, called: Mapping[str, str] | None = None
) -> list[str]:
    """The arrays that are not those of the plan.

    Args:
        plan: what should be there.
        folder: the emitted one.
        called: what layers are called there, by their id, if not as in the plan.
    """
    try:
        with Archive(folder / ARRAYS) as archive:
            members, actual = archive.names, dict(Arrays(archive))
    except DAMAGE as error:
        return [f"{ARRAYS} cannot be read: {describe_error(error)}"]
    owners = {s.name: s.node.id for s in plan.synapses}
    owners |= {p.name: p.node.id for p in plan.populations}
    keys = {key: key for key in plan.arrays}
    if called is not None:
        keys = {
            key: f"{called.get(owners[name], '')}.{suffix}"
            for key in plan.arrays
            for name, _, suffix in [key.rpartition(".")]
        }
    named = {f"{key}.npy" for key in keys.values()}
    found = [f"{ARRAYS} has an unexpected member: {name}" for name in sorted({*members} - named)]
    for key, expected in plan.arrays.items():
        name, _, suffix = key.rpartition(".")
        label = f"layer '{owners[name]}', array '{suffix}'"
        if (there := actual.get(keys[key])) is None:
            found.append(f"{label} is missing")
        elif array_hash(there) != array_hash(expected):
            found.append(f"{label} {_where(expected, there)}")
    return found


def _where(expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic]) -> str:
    if (expected.dtype, expected.shape) != (actual.dtype, actual.shape):
        forms = [f"{array.dtype}{list(array.shape)}" for array in (actual, expected)]
        return f"is {forms[0]}, expected {forms[1]}"
    count, first = unequal(expected, actual)
    return f"{list(first)} is {actual[first]}, expected {expected[first]} ({count} differ)"


def _manifest_differences(plan: Plan, folder: Path, arrays_differ: bool) -> list[str]:
    try:
        actual = read_json(folder / MANIFEST)
    except DAMAGE as error:
        return [f"{MANIFEST} cannot be read: {describe_error(error)}"]
    chosen = actual.get("synapses") if isinstance(actual, dict) else None
    options = {"synapses": chosen} if chosen in FORMS else {}
    files = {name: content_hash(text.encode()) for name, text in source_files(plan).items()}
    # The archive's own bytes depend on what wrote it: they are only held to the manifest.
    written = actual.get("files") if isinstance(actual, dict) else None
    files[ARRAYS] = written.get(ARRAYS, "") if isinstance(written, dict) else ""
    expected = manifest(plan, options, files)
    if not isinstance(actual, dict) or actual.keys() != expected.keys():
        return [f"{MANIFEST} has unexpected keys"]
    found = [f"{MANIFEST}: '{key}' differs" for key in expected if actual[key] != expected[key]]
    if not found and not arrays_differ:
        if sha256(folder / ARRAYS) != files[ARRAYS]:
            found.append(f"{ARRAYS} contains the right arrays but differs from the emitted file")
    return found
