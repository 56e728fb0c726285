"""Writing the emitted folder: generated code, arrays, manifest."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from snn_backends.lava.plan import Plan, PopulationPlan, SynapsePlan
from snn_backends.lava.timing import timing
from snn_compile.ir.graph import Shape
from snn_compile.ir.quantized import ConvSynapses

COPIED = (
    *("layout.py", "run.py", "processes/__init__.py", "processes/neurons.py"),
    *("probing/__init__.py", "probing/sink.py"),
)
GENERATED = ("network.py", "README.md")
ARRAYS = "weights.npz"
MANIFEST = "manifest.json"
IMPORTABLE = frozenset({".py", ".so", ".pyd"})
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file raises."""


def source_files(plan: Plan) -> dict[str, str]:
    """Every text file of the emitted folder but the manifest, by relative path."""
    templates = resources.files("snn_backends.lava") / "templates"
    texts = {name: (templates / name).read_text(encoding="utf-8") for name in COPIED}
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for name in GENERATED:
        template = (templates / f"{name}.jinja").read_text(encoding="utf-8")
        texts[name] = environment.from_string(template).render(_context(plan))
    return texts


def _context(plan: Plan) -> dict[str, Any]:
    program = plan.program
    return {
        "plan": plan,
        "input": program.input,
        "window": program.window,
        "imports": _imports(plan),
        "delays": sorted({s.delay for s in plan.synapses if s.source == plan.input_name}),
        "unrolled": [s for s in plan.synapses if s.kind == "conv" and s.conv_obstacle],
        "has_conv": any(s.kind == "conv" and not s.conv_obstacle for s in plan.synapses),
        "describe": _describe,
        "shape": _shape,
        "size": prod,
        "whc": lambda shape: shape[::-1],
        "source_name": _source_name,
    }


def _source_name(name: str, delay: int) -> str:
    return f"{name}_after_{delay}" if delay else name


def _shape(shape: Shape) -> str:
    return "x".join(str(n) for n in shape)


def _describe(plan: SynapsePlan) -> str:
    node = plan.node
    text = f"{plan.kind.capitalize()} {_shape(plan.source_shape)} to {_shape(node.shape)}"
    if isinstance(node, ConvSynapses):
        text += f", kernels {_shape(node.weight.shape[2:])}"
        if node.geometry.groups > 1:
            text += f" in {node.geometry.groups} groups"
    return f"{text}, {node.weight.format.bits}-bit weights times 2**{node.exponent}"


def _imports(plan: Plan) -> list[str]:
    kinds = {s.kind for s in plan.synapses}
    has_conv = any(s.kind == "conv" and not s.conv_obstacle for s in plan.synapses)
    lines = []
    if has_conv:
        lines.append("from lava.proc.conv.process import Conv")
    if "dense" in kinds:
        lines.append("from lava.proc.dense.process import Dense")
    if any(p.stock for p in plan.populations):
        lines.append("from lava.proc.lif.process import LIFReset")
    if kinds & {"conv", "sparse"}:
        lines.append("from lava.proc.sparse.process import Sparse")
    lines += ["from lava.utils.weightutils import SignMode", ""]
    layout = {"connect", "per_neuron"}
    layout |= {"conv_kernel"} if has_conv else set()
    layout |= {"unrolled_conv"} if "conv" in kinds else set()
    layout |= {f"{kind}_matrix" for kind in kinds & {"dense", "sparse"}}
    lines.append(f"from layout import {', '.join(sorted(layout))}")
    processes = {"FileSink", "FrameSource", "ProbeSource", "Tie"}
    processes |= {p.process for p in plan.populations if not p.stock}
    if any(p.probed for p in plan.populations):
        lines.append("from probing.sink import PotentialSink")
    lines.append(f"from processes.neurons import {', '.join(sorted(processes))}")
    return lines


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
    node = program.input
    return {
        "schema": 1,
        "backend": "lava",
        "requires": {"python": "3.10", "numpy": "<2", "lava-nc": "0.10.0"},
        "coding": program.window.coding,
        "n_steps": program.window.n_steps,
        "drain": plan.drain,
        "latency": program.latency,
        "rows": f"n_stimuli * {program.window.n_steps} + {plan.drain}",
        "timing": timing(plan),
        "synapses": options.get("synapses", "sparse"),
        "input": {
            "name": plan.input_name,
            "id": node.id,
            "shape": list(node.shape),
            "low": node.low,
            "high": node.high,
            "coding": node.coding.value,
        },
        "layers": [entry for p in plan.populations for entry in _entries(p)],
        "arrays": {key: array_hash(value) for key, value in sorted(plan.arrays.items())},
        "files": dict(sorted(files.items())),
    }


def _entries(population: PopulationPlan) -> list[dict[str, Any]]:
    groups = [
        {
            "id": s.node.id,
            "name": s.name,
            "node": type(s.node).__name__,
            "process": "Dense" if s.kind == "dense" else "Sparse",
            "conv_form": s.kind == "conv" and not s.conv_obstacle,
            "kind": "stock",
            "source": s.source,
            "target": population.name,
            "delay": s.delay,
            "shape": list(s.node.shape),
            "num_weight_bits": s.weight_bits,
            "weight_exp": s.weight_exp,
        }
        for s in population.synapses
    ]
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
            "depth": population.depth,
            "first_row": population.first_row,
            "trace": population.trace,
            "form": population.form,
        },
    ]


def write(plan: Plan, folder: Path, options: Mapping[str, Any]) -> None:
    """Write everything into an existing folder."""
    texts = source_files(plan)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    np.savez_compressed(folder / ARRAYS, **plan.arrays)  # type: ignore[arg-type]
    files = {name: content_hash(text.encode()) for name, text in texts.items()}
    files[ARRAYS] = content_hash((folder / ARRAYS).read_bytes())
    (folder / MANIFEST).write_text(
        json.dumps(manifest(plan, options, files), indent=1) + "\n", encoding="utf-8"
    )


def differences(plan: Plan, folder: Path) -> list[str]:
    """Everything in a folder that is not what emitting the network again would write.

    Each line names the layer and, for arrays, the first element that differs.
    """
    found = []
    for name, text in source_files(plan).items():
        path = folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif (actual := path.read_bytes()) != text.encode():
            pairs = zip(text.encode().split(b"\n"), actual.split(b"\n"), strict=False)
            line = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), None)
            found.append(f"{name} differs" + (f", line {line}" if line else " in length"))
    code = [p for p in folder.rglob("*") if p.suffix in IMPORTABLE]
    extra = {p.relative_to(folder).as_posix() for p in code} - {*COPIED, *GENERATED}
    found += [f"{name} does not belong here" for name in sorted(extra)]
    arrays = _array_differences(plan, folder)
    return found + arrays + _manifest_differences(plan, folder, bool(arrays))


def _array_differences(plan: Plan, folder: Path) -> list[str]:
    try:
        # numpy leaves files open that it cannot read.
        with (folder / ARRAYS).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            actual = dict(file)
    except UNREADABLE as error:
        return [f"{ARRAYS} cannot be read: {error}"]
    owners = {s.name: s.node.id for s in plan.synapses}
    owners |= {p.name: p.node.id for p in plan.populations}
    found = [
        f"{ARRAYS} has an array too many: {key}" for key in sorted(set(actual) - set(plan.arrays))
    ]
    for key, expected in plan.arrays.items():
        name, _, suffix = key.rpartition(".")
        label = f"layer '{owners[name]}', array '{suffix}'"
        if key not in actual:
            found.append(f"{label} is missing")
        elif array_hash(actual[key]) != array_hash(expected):
            found.append(f"{label} {_where(expected, actual[key])}")
    return found


def _where(expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic]) -> str:
    if (expected.dtype, expected.shape) != (actual.dtype, actual.shape):
        forms = [f"{array.dtype}{list(array.shape)}" for array in (actual, expected)]
        return f"is {forms[0]}, expected {forms[1]}"
    index = tuple(int(i) for i in np.argwhere(expected != actual)[0])
    n_differing = int((expected != actual).sum())
    return f"{list(index)} is {actual[index]}, expected {expected[index]} ({n_differing} differ)"


def _manifest_differences(plan: Plan, folder: Path, arrays_differ: bool) -> list[str]:
    try:
        actual = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [f"{MANIFEST} cannot be read: {error}"]
    options = {"synapses": actual.get("synapses", "sparse")} if isinstance(actual, dict) else {}
    files = {name: content_hash(text.encode()) for name, text in source_files(plan).items()}
    # The archive's own bytes depend on what wrote it: they are only held to the manifest.
    written = actual.get("files") if isinstance(actual, dict) else None
    files[ARRAYS] = written.get(ARRAYS, "") if isinstance(written, dict) else ""
    expected = manifest(plan, options, files)
    if not isinstance(actual, dict) or actual.keys() != expected.keys():
        return [f"{MANIFEST} has other keys"]
    found = [f"{MANIFEST}: '{key}' differs" for key in expected if actual[key] != expected[key]]
    if not found and not arrays_differ:
        content = (folder / ARRAYS).read_bytes()
        if content_hash(content) != files[ARRAYS]:
            found.append(f"{ARRAYS} holds the right arrays but is not the file that was written")
    return found
