"""A placement as a file, ``placement.toml``: written, read back, and layers pinned by hand.

``[[block]]`` tables state a whole placement. A ``[pin]`` table states only where some layers go:
``"conv1" = { cores = [0, 1] }`` or ``{ chip = 2 }``; the rest is placed as ever.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.files.documents import (
    MAX_TOML_SIZE,
    DamagedError,
    describe_error,
    parse_toml,
    read_bytes,
)
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping.block import Block, Part, Placement, as_map
from snn_compile.mapping.resources import CoreResources
from snn_compile.targets.target import Target

PLACEMENT, CORES = "placement.toml", "cores.csv"
SPANS = ("channels", "rows", "columns")
KEYS = ("layer", *SPANS, "core", "chip")
MAX_CORE = 100_000_000
_HINT = "a compiled folder holds its own: placement.toml"


@dataclass(frozen=True)
class PlacedBlock:
    """One ``[[block]]``."""

    layer: str
    block: Block
    core: int
    chip: int


@dataclass(frozen=True)
class PlacementFile:
    """The content of a file.

    Attributes:
        file: its name.
        blocks: of a whole placement.
        pins: the cores of layers, or None and their chip.
    """

    file: str
    blocks: tuple[PlacedBlock, ...] = ()
    pins: Mapping[str, tuple[tuple[int, ...] | None, int]] = field(default_factory=dict)


def to_toml(placements: Sequence[Placement], target: Target) -> str:
    """The text of a placement."""
    lines = [
        f"# Blocks of neurons on the cores of {json.dumps(target.name)}; ranges are half open.",
        "",
    ]
    for placement in placements:
        spans = zip(SPANS, placement.block.spans, strict=True)
        lines += [
            "[[block]]",
            f"layer = {json.dumps(placement.population, ensure_ascii=True)}",
            *(f"{name} = [{start}, {stop}]" for name, (start, stop) in spans),
            f"core = {placement.core}",
            f"chip = {placement.chip}",
            "",
        ]
    return "\n".join(lines)


def to_csv(cores: Iterable[CoreResources]) -> str:
    """The figures of each core."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = ("core", "chip", "neurons", "synapse_memory_bits", "input_axons", "output_axons")
    writer.writerow([*names, "percent", "populations"])
    for core in cores:
        figures = [getattr(core, name) for name in names]
        writer.writerow([*figures, f"{core.percent:.1f}", " ".join(core.populations)])
    return stream.getvalue()


def read_placement(path: Path) -> PlacementFile:
    """Read a file; its words and types are checked, not what they mean for a network.

    Raises:
        UsageError: it cannot be read, or is not of this form (``CompileErrors`` if several).
    """
    try:
        document = parse_toml(read_bytes(path, MAX_TOML_SIZE))
    except (OSError, DamagedError, ValueError) as error:
        raise UsageError(
            f"cannot read the placement: {describe_error(error)}",
            code="unreadable-placement",
            origin=Origin(str(path)),
            hint=_HINT,
        ) from error
    reader = _Reader(str(path))
    found = reader.file(document)
    raise_all(reader.errors)
    return found


class _Reader:
    """Collects everything that is wrong with a file."""

    def __init__(self, file: str) -> None:
        self.name = file
        self.errors: list[CompileError] = []

    def complain(self, message: str, hint: str = _HINT) -> None:
        """Record one error."""
        origin = Origin(self.name)
        self.errors.append(UsageError(message, code="bad-placement", origin=origin, hint=hint))

    def file(self, document: Mapping[str, Any]) -> PlacementFile:
        """The content of a document."""
        for key in sorted(set(document) - {"block", "pin"}):
            self.complain(f"unknown key '{key}'", "known: [[block]], [pin]")
        tables, pins = document.get("block", []), document.get("pin", {})
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self.complain("'block' must be [[block]] tables")
            tables = []
        if not isinstance(pins, dict):
            self.complain("'pin' must be a table of layers")
            pins = {}
        if bool(tables) == bool(pins):
            self.complain("a placement has [[block]] tables, or a [pin] table")
        blocks = [self.block(k, table) for k, table in enumerate(tables)]
        read = {name: self.pin(name, pin) for name, pin in pins.items()}
        return PlacementFile(
            self.name,
            tuple(block for block in blocks if block is not None),
            {name: pin for name, pin in read.items() if pin is not None},
        )

    def block(self, index: int, table: Mapping[str, Any]) -> PlacedBlock | None:
        """One block; None, with complaints, if it is not of the form."""
        where, before = f"block {index}", len(self.errors)
        for key in sorted(set(table) ^ set(KEYS)):
            what = "unknown key" if key in table else "lacks"
            self.complain(f"{where}: {what} '{key}'", f"a block has {', '.join(KEYS)}")
        spans: list[tuple[int, int]] = []
        for name in [n for n in SPANS if n in table]:
            value = table[name]
            pair = isinstance(value, list) and len(value) == 2 and all(map(_is_index, value))
            if pair and value[0] < value[1]:
                spans.append((value[0], value[1]))
            else:
                self.complain(f"{where}: {name} is {value!r}, not [start, stop]")
        numbers = [table.get(name) for name in ("core", "chip")]
        if not all(map(_is_index, numbers)) or not isinstance(table.get("layer"), str):
            self.complain(f"{where}: layer must be a text, core and chip whole numbers")
        if len(self.errors) > before:
            return None
        return PlacedBlock(table["layer"], Block(*spans), table["core"], table["chip"])

    def pin(self, name: str, table: Any) -> tuple[tuple[int, ...] | None, int] | None:
        """Where a layer is pinned."""
        form = "{ cores = [0, 1] } or { chip = 0 }"
        if isinstance(table, dict) and len(table) == 1:
            cores, chip = table.get("cores"), table.get("chip")
            if isinstance(cores, list) and cores and all(map(_is_index, cores)):
                if len(set(cores)) == len(cores):
                    return tuple(cores), -1
            if _is_index(chip):
                return None, int(chip)  # type: ignore[arg-type]
        self.complain(f"[pin] '{name}' is {table!r}, not {form}")
        return None


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_CORE


def placed_as(
    found: PlacementFile, program: QuantizedGraph, target: Target
) -> list[tuple[Part, int]]:
    """The blocks of a whole placement with their cores, still without demands.

    Raises:
        UsageError: it names layers that are not in the network, does not hold every neuron exactly
            once, or puts a core on another chip than the target's (``CompileErrors`` if several).
    """
    reader = _Reader(found.file)
    populations = {str(node.id): node for node in program.populations}
    held = {name: np.zeros(as_map(p.shape), dtype=np.int64) for name, p in populations.items()}
    parts = []
    for index, block in enumerate(found.blocks):
        if not _known(reader, block.layer, populations, f"block {index}: "):
            continue
        size = as_map(populations[block.layer].shape)
        if any(stop > n for (_, stop), n in zip(block.block.spans, size, strict=True)):
            shape = " x ".join(map(str, size))
            reader.complain(f"block {index}: outside of '{block.layer}', which is {shape}")
            continue
        chip = chip_of(block.core, target)
        if target.cores is not None and block.core >= target.cores:
            reader.complain(
                f"block {index}: {target.name} has no core {block.core}",
                f"its cores are 0 to {target.cores - 1}; --chips states more",
            )
        if block.chip != chip:
            reader.complain(
                f"block {index}: core {block.core} is on chip {chip} of {target.name}, not"
                f" {block.chip}"
            )
        held[block.layer][block.block.slices] += 1
        parts.append((Part(NodeId(block.layer), block.block), block.core))
    for name, times in held.items():
        if twice := int((times > 1).sum()):
            reader.complain(f"{twice} neurons of '{name}' are placed more than once")
        if never := int((times == 0).sum()):
            reader.complain(f"{never} neurons of '{name}' are not placed")
    raise_all(reader.errors)
    return parts


def pins_of(
    found: PlacementFile, program: QuantizedGraph, target: Target
) -> dict[NodeId, tuple[int, ...]]:
    """The cores that each pinned layer may use.

    Raises:
        UsageError: a pin names a layer or a core that does not exist, or two layers are pinned to
            sets of cores that overlap without being equal (``CompileErrors`` if several).
    """
    reader = _Reader(found.file)
    populations = {str(node.id): node for node in program.populations}
    pins: dict[NodeId, tuple[int, ...]] = {}
    per_chip = target.cores_per_chip.value
    for name, (cores, chip) in found.pins.items():
        if not _known(reader, name, populations, "[pin] "):
            continue
        if cores is None:
            if per_chip is None:
                reader.complain(f"[pin] '{name}': {target.name} has no chips", "pin it to cores")
                continue
            cores = tuple(range(chip * per_chip, (chip + 1) * per_chip))
        if target.cores is not None and max(cores) >= target.cores:
            reader.complain(
                f"[pin] '{name}': {target.name} has no core {max(cores)}",
                f"its cores are 0 to {target.cores - 1}; --chips states more",
            )
        pins[NodeId(name)] = cores
    for name, cores in pins.items():
        for other, others in pins.items():
            if name < other and set(cores) != set(others) and set(cores) & set(others):
                reader.complain(
                    f"[pin] '{name}' and '{other}' share some of their cores",
                    "pin them to the same cores, or to others",
                )
    raise_all(reader.errors)
    return pins


class Moved(TypedDict):
    """One layer in two placements."""

    layer: str
    blocks_a: int
    blocks_b: int
    cores_a: int
    cores_b: int
    moved: int
    chips_moved: int


def compared(a: PlacementFile, b: PlacementFile) -> list[Moved]:
    """The layers of two whole placements.

    Raises:
        UsageError: one of them only pins layers, or they are of different networks
            (``CompileErrors`` if several).
    """
    readers = _Reader(a.file), _Reader(b.file)
    layers: list[dict[str, list[PlacedBlock]]] = []
    for reader, found in zip(readers, (a, b), strict=True):
        if found.pins:
            reader.complain("pins layers, and states no whole placement")
        layers.append({})
        for block in found.blocks:
            layers[-1].setdefault(block.layer, []).append(block)
    raise_all([error for reader in readers for error in reader.errors])
    rows = []
    for name, blocks in layers[0].items():
        others = layers[1].get(name, [])
        if sum(x.block.size for x in blocks) != sum(y.block.size for y in others):
            readers[1].complain(f"its layer '{name}' has another size than in '{a.file}'")
            continue
        same, same_chip = 0, 0
        for one in blocks:
            for other in others:
                shared = one.block.shared(other.block)
                same += shared * (one.core == other.core)
                same_chip += shared * (one.chip == other.chip)
        size = sum(each.block.size for each in blocks)
        cores = (len({each.core for each in each_of}) for each_of in (blocks, others))
        rows.append(
            Moved(
                layer=name,
                blocks_a=len(blocks),
                blocks_b=len(others),
                cores_a=next(cores),
                cores_b=next(cores),
                moved=size - same,
                chips_moved=size - same_chip,
            )
        )
    for name in sorted(set(layers[1]) - set(layers[0])):
        readers[0].complain(f"has no layer '{name}', as '{b.file}' does")
    raise_all([error for reader in readers for error in reader.errors])
    return rows


def _known(reader: _Reader, name: str, populations: Mapping[str, Any], where: str) -> bool:
    if name not in populations:
        shown = ", ".join(list(populations)[:5])
        reader.complain(f"{where}the network has no layer '{name}'", f"its layers: {shown}, ...")
    return name in populations


def chip_of(core: int, target: Target) -> int:
    """The chip of a core."""
    per_chip = target.cores_per_chip.value
    return 0 if per_chip is None else core // per_chip
