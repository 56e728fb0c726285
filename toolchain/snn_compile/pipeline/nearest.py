"""Search for the nearest configuration that fits, for a network that exceeds its target.

Configurations are checked without data, as by ``check``, in order of increasing change: more chips
leave the network as it is, fewer bits quantize it more coarsely, other steps or another coding
change its execution, and pruned synapses change its function. Pairs of these come last. Only
options that can resolve one of the violations are varied. The search ends with the first
configuration that fits, or when another one as slow as the slowest so far would end after
``LIMIT_S`` seconds.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from snn_compile.coding_registry import coding_names
from snn_compile.codings import coding_of
from snn_compile.errors import CapacityError, CompileError, CompileErrors
from snn_compile.ir.graph import Shape
from snn_compile.mapping import MappedProgram
from snn_compile.options import CompileOptions
from snn_compile.options.declared import options_of
from snn_compile.pluralize import pluralize
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

LIMIT_S = 10.0
"""Time limit of the search in seconds; at least one configuration is tried."""

Changes = Mapping[str, Any]
"""New values of options, by name."""
Check = Callable[[CompileOptions], MappedProgram]
"""Maps the network under other options; raises ``CompileError`` if it cannot be mapped."""
Complaints = tuple[CapacityError, ...]

HELPS: Mapping[str, tuple[str, ...]] = {
    "coding-supported": ("coding",),
    "neuron-supported": ("coding",),
    "payload-bits": ("coding",),
    "weight-bits-exist": ("weight_bits",),
    "state-bits": ("weight_bits", "timesteps", "coding"),
    "state-overflow": ("weight_bits", "timesteps", "coding"),
    "neurons-per-core": ("coding",),
    "synapse-memory-per-core": ("weight_bits", "input_shape"),
    "input-axons-per-core": ("coding", "input_shape", "allow_approximate"),
    "output-axons-per-core": ("weight_bits", "coding", "input_shape"),
    "cores-per-board": ("weight_bits", "coding", "input_shape"),
}
"""Options that can resolve a violation, by its error code."""

_ORDER = ("weight_bits", "timesteps", "coding", "input_shape", "allow_approximate")

EIGHTHS = range(7, 0, -1)
"""Heights and widths that are tried, in eighths of the model's."""
MAX_STEP = 32
"""Sizes are multiples of the largest power of two up to this, and up to a quarter of the map, that
divides the model's own: strides divide them again."""

NamedShape = tuple[str, Shape]
InputMap = Callable[[], NamedShape | None]
"""The only input and its shape, if it is a map of channels whose size can be stated."""


@dataclass
class _Search:
    """State of the search.

    Attributes:
        check: checks a configuration.
        start: start of the search on the monotonic clock, in seconds.
        tried: number of configurations.
        longest: time of the slowest one in seconds.
        others: number of refusals for reasons other than capacity, by error code.
        nearest: the configuration with the least excess: its excess, changes and worst violation.
        takes_other_maps: whether no map of another size was refused for other reasons.
    """

    check: Check
    start: float = field(default_factory=time.monotonic)
    tried: int = 0
    longest: float = 0.0
    others: dict[str, int] = field(default_factory=dict)
    nearest: tuple[float, Changes, CapacityError] | None = None
    takes_other_maps: bool = True

    @property
    def seconds(self) -> float:
        """Time since the start of the search."""
        return time.monotonic() - self.start

    @property
    def is_over(self) -> bool:
        """Whether another configuration as slow as the slowest would exceed the time limit."""
        return self.tried > 0 and self.seconds + self.longest > LIMIT_S

    def attempt(self, options: CompileOptions, changes: Changes) -> MappedProgram | Complaints:
        """The network mapped with some changes, or the violations if it does not fit."""
        start = time.monotonic()
        self.tried += 1
        try:
            return self.check(options.override(changes))
        except CompileError as error:
            complaints = _complaints(error)
            self.record(changes, complaints)
            if not complaints and "input_shape" in changes:
                self.takes_other_maps = False
            elif not complaints:
                self.others[error.code] = self.others.get(error.code, 0) + 1
            return complaints
        finally:
            self.longest = max(self.longest, time.monotonic() - start)

    def record(self, changes: Changes, complaints: Complaints) -> None:
        """Record a configuration if its excess is the least so far."""
        if not complaints:
            return
        worst = max(complaints, key=lambda complaint: complaint.excess)
        if self.nearest is None or worst.excess < self.nearest[0]:
            self.nearest = worst.excess, changes, worst


@contextmanager
def name_nearest(
    options: CompileOptions, check: Check, input_map: InputMap = lambda: None
) -> Iterator[None]:
    """Add the nearest configuration that fits, or the closest one tried, to a refusal.

    Sets ``CompileError.nearest`` if all errors concern capacity. The error is raised again in
    every case.

    Args:
        options: of the compilation.
        check: checks the network under other options.
        input_map: reads the model's input; only called if its size can resolve a violation.
    """
    try:
        yield
    except CompileError as error:
        complaints = _complaints(error)
        if complaints and options.is_resolved:
            search = _Search(check)
            search.record({}, complaints)
            target = load_target(options.target, options.chips)
            found = _first_fit(
                search, _candidates(options, target, complaints, input_map), target, options
            )
            error.nearest = found or _failure(search)
        raise


def _first_fit(
    search: _Search, candidates: Iterator[Changes], target: Target, options: CompileOptions
) -> str:
    """The first configuration that fits, as command-line options; empty if none was found."""
    for changes in candidates:
        if "input_shape" in changes and not search.takes_other_maps:
            continue
        if search.is_over:
            return ""
        found = search.attempt(options, changes)
        if isinstance(found, tuple) and not search.is_over and (more := _chips(target, found)):
            changes = {**changes, **more}
            found = search.attempt(options, changes)
        if not isinstance(found, tuple):
            of = found.target.cores
            cores = (
                pluralize(found.cores, "core") if of is None else f"{found.cores:,} of {of:,} cores"
            )
            return f"fits with {_command_line(changes)} ({cores})"
    return ""


def _failure(search: _Search) -> str:
    tried = f"{search.tried} tried in {search.seconds:.1f} s, limit {LIMIT_S:g} s"
    if search.others:
        tried += "; other errors: " + ", ".join(f"{code} x{n}" for code, n in search.others.items())
    if search.nearest is None:
        return f"no configuration found that fits ({tried})"
    _, changes, worst = search.nearest
    closest = _command_line(changes) if changes else "the given options"
    excess = worst.message
    if worst.needed:
        excess = f"needs {worst.needed:,}, the limit is {worst.limit:,}"
    return (
        f"no configuration found that fits ({tried}); closest: {closest} ({worst.code}: {excess})"
    )


def _complaints(error: CompileError) -> Complaints:
    """The capacity violations of a refusal; none if it contains any other error."""
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    found = tuple(one for one in errors if isinstance(one, CapacityError))
    return found if len(found) == len(errors) else ()


def _candidates(
    options: CompileOptions, target: Target, complaints: Complaints, input_map: InputMap
) -> Iterator[Changes]:
    """Configurations in the order of the search."""
    if chips := _chips(target, complaints):
        yield chips
    if narrower := _narrower(options, target, complaints):
        yield narrower
    relevant = {name for complaint in complaints for name in HELPS.get(complaint.code, ())}
    ways: dict[str, list[Any]] = {}
    for name in (name for name in _ORDER if name in relevant):
        is_map = name == "input_shape"
        values = list(_sizes(input_map()) if is_map else _values(name, options, target))
        if values:
            ways[name] = values
    for name, tried in ways.items():
        for value in tried:
            yield {name: value}
    names = list(ways)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            # The smallest number of bits or steps suffices: if it does not help, no other does.
            some = ways[first] if first == "coding" else ways[first][-1:]
            for one, other in product(some, ways[second]):
                yield {first: one, second: other}


def _values(name: str, options: CompileOptions, target: Target) -> Iterator[Any]:
    """Other values of an option, nearest first."""
    coding = coding_of(options, target.default_coding.value)
    if name == "coding":
        first, have = target.default_coding.value, target.codings.value or coding_names()
        known = [one for one in coding_names() if one in have and one != coding.name]
        yield from sorted(known, key=lambda one: one != first)
    elif name == "allow_approximate" and not options.allow_approximate:
        yield True
    elif name == "weight_bits":
        given = options.number(name)
        yield from (b for b in sorted(target.weight_bits.value, reverse=True) if 2 <= b < given)
    elif name == "timesteps" and name in coding.relevant_options:
        steps = coding.size // 2
        while steps:
            yield steps
            steps //= 2


def _sizes(known: NamedShape | None) -> Iterator[tuple[str, ...]]:
    """Shapes of smaller maps with as many channels, largest first."""
    if known is None:
        return
    name, (channels, *sizes) = known
    step = min(MAX_STEP, *(size & -size for size in sizes))
    while step > max(1, min(sizes) // 4):
        step //= 2
    smaller = (tuple(size * k // 8 // step * step for size in sizes) for k in EIGHTHS)
    for height, width in dict.fromkeys(smaller):
        if height and width:
            yield (f"{name}=1,{channels},{height},{width}",)


def _narrower(options: CompileOptions, target: Target, complaints: Complaints) -> Changes | None:
    """Payloads and inputs narrowed by the largest excess of bits; None if that cannot help."""
    coding = coding_of(options, target.default_coding.value)
    wide = [c.needed - c.limit for c in complaints if c.code == "payload-bits" and c.limit]
    if not wide or "payload_bits" not in coding.relevant_options:
        return None
    bits, input_bits = coding.size - max(wide), options.input_bits - max(wide)
    return {"payload_bits": bits, "input_bits": input_bits} if min(bits, input_bits) > 0 else None


def _chips(target: Target, complaints: Complaints) -> Changes | None:
    """The chips that a network needs, if cores are its only violation; else None."""
    per_chip = target.cores_per_chip.value
    if [complaint.code for complaint in complaints] != ["cores-per-board"] or not per_chip:
        return None
    return {"chips": -(-complaints[0].needed // per_chip)}


def _command_line(changes: Changes) -> str:
    """Changes as command-line options."""
    declared = options_of(CompileOptions)
    words = []
    for name, value in changes.items():
        item = declared[name]
        flag = item.kind.flags.partition("/")[0]
        for one in value if isinstance(value, tuple) else [value]:
            text = f"--{item.words} {shlex.quote(str(one))}"
            words.append(flag if flag and one is True else text)
    return " ".join(words)
