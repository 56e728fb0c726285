"""The nearest configuration that fits, where a network does not fit its target.

Configurations are tried as ``check`` does it, without data, in a fixed order: what leaves the
network alone (more chips) comes before what makes its numbers coarser (fewer bits), before what
changes how it runs (steps, coding), before what changes what it computes (dropped synapses), before
two of these together. Only changes that can help with one of the complaints are tried. The search
ends with the first that fits, or where the next one, if it took as long as the longest, would end
after ``LIMIT_S`` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from snn_compile.coding_registry import coding_names
from snn_compile.codings import coding_of
from snn_compile.errors import CapacityError, CompileError, CompileErrors
from snn_compile.mapping import MappedProgram
from snn_compile.options import CompileOptions
from snn_compile.options.declared import options_of
from snn_compile.pluralize import pluralize
from snn_compile.targets import load_target
from snn_compile.targets.target import Target

LIMIT_S = 10.0
"""Seconds of the search; at least one configuration is tried."""

Changes = Mapping[str, Any]
"""Options by name with other values."""
Check = Callable[[CompileOptions], MappedProgram]
"""Maps the network under other options, or says why it cannot be mapped."""
Complaints = tuple[CapacityError, ...]

HELPS: Mapping[str, tuple[str, ...]] = {
    "coding-supported": ("coding",),
    "neuron-supported": ("coding",),
    "payload-bits": ("coding",),
    "weight-bits-exist": ("weight_bits",),
    "state-bits": ("weight_bits", "timesteps", "coding"),
    "state-overflow": ("weight_bits", "timesteps", "coding"),
    "neurons-per-core": ("coding",),
    "synapse-memory-per-core": ("weight_bits",),
    "input-axons-per-core": ("coding", "allow_approximate"),
    "output-axons-per-core": ("weight_bits", "coding"),
    "cores-per-board": ("weight_bits", "coding"),
}
"""Options that can help with a complaint, by its code."""

_ORDER = ("weight_bits", "timesteps", "coding", "allow_approximate")


@dataclass
class _Search:
    """What was tried, and what came nearest.

    Attributes:
        check: tries a configuration.
        start: when the search began.
        tried: number of configurations.
        longest: seconds of the slowest.
        others: codes of the errors of those that were refused for other reasons than capacity.
        nearest: the excess, the changes and the worst complaint of the one with the least excess.
    """

    check: Check
    start: float = field(default_factory=time.monotonic)
    tried: int = 0
    longest: float = 0.0
    others: dict[str, int] = field(default_factory=dict)
    nearest: tuple[float, Changes, CapacityError] | None = None

    @property
    def seconds(self) -> float:
        """Time since the search began."""
        return time.monotonic() - self.start

    @property
    def is_over(self) -> bool:
        """Whether the slowest configuration would end after the limit."""
        return self.tried > 0 and self.seconds + self.longest > LIMIT_S

    def attempt(self, options: CompileOptions, changes: Changes) -> MappedProgram | Complaints:
        """The network as it is mapped with some changes, or the complaints about it."""
        start = time.monotonic()
        self.tried += 1
        try:
            return self.check(options.override(changes))
        except CompileError as error:
            complaints = _complaints(error)
            self.judge(changes, complaints)
            if not complaints:
                self.others[error.code] = self.others.get(error.code, 0) + 1
            return complaints
        finally:
            self.longest = max(self.longest, time.monotonic() - start)

    def judge(self, changes: Changes, complaints: Complaints) -> None:
        """See whether a configuration came nearer than all before it."""
        if not complaints:
            return
        worst = max(complaints, key=lambda complaint: complaint.excess)
        if self.nearest is None or worst.excess < self.nearest[0]:
            self.nearest = worst.excess, changes, worst


@contextmanager
def nearest_named(options: CompileOptions, check: Check) -> Iterator[None]:
    """Add to a refusal the configuration that fits, or how far the nearest is from the target.

    A refusal that is about something else as well stays as it is.

    Args:
        options: of the compilation.
        check: tries other options.
    """
    try:
        yield
    except CompileError as error:
        complaints = _complaints(error)
        if complaints and options.is_resolved:
            search = _Search(check)
            search.judge({}, complaints)
            target = load_target(options.target, options.chips)
            found = _found(search, options, target, complaints)
            error.nearest = found or _not_found(search)
        raise


def _found(search: _Search, options: CompileOptions, target: Target, complaints: Complaints) -> str:
    """The first configuration that fits, as it is typed; empty if none was found in time."""
    for changes in _candidates(options, target, complaints):
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
            return f"fits with {_typed(changes)} ({cores})"
    return ""


def _not_found(search: _Search) -> str:
    tried = f"{search.tried} tried in {search.seconds:.1f} s, none begun after {LIMIT_S:g} s"
    if search.others:
        tried += "; refused: " + ", ".join(f"{code} x{n}" for code, n in search.others.items())
    if search.nearest is None:
        return f"no configuration tried fits ({tried})"
    _, changes, worst = search.nearest
    where = f", {_typed(changes)}," if changes else ", as it is,"
    needs = f"{worst.needed:,} of {worst.limit:,}" if worst.needed else worst.message
    return f"no configuration tried fits ({tried}): the nearest{where} needs {needs} ({worst.code})"


def _complaints(error: CompileError) -> Complaints:
    """The refusals for capacity; none where something else is wrong, too."""
    errors = error.errors if isinstance(error, CompileErrors) else (error,)
    found = tuple(one for one in errors if isinstance(one, CapacityError))
    return found if len(found) == len(errors) else ()


def _candidates(
    options: CompileOptions, target: Target, complaints: Complaints
) -> Iterator[Changes]:
    """Configurations in the order in which they are tried, see above."""
    if chips := _chips(target, complaints):
        yield chips
    if narrower := _narrower(options, target, complaints):
        yield narrower
    wanted = {name for complaint in complaints for name in HELPS.get(complaint.code, ())}
    ways = {
        name: values
        for name in _ORDER
        if name in wanted and (values := list(_values(name, options, target)))
    }
    for name, values in ways.items():
        for value in values:
            yield {name: value}
    names = list(ways)
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            # Of bits and steps the smallest number: what does not help there helps nowhere.
            some = ways[first] if first == "coding" else ways[first][-1:]
            for one, other in product(some, ways[second]):
                yield {first: one, second: other}


def _values(name: str, options: CompileOptions, target: Target) -> Iterator[Any]:
    """Other values of an option, the nearest first."""
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


def _narrower(options: CompileOptions, target: Target, complaints: Complaints) -> Changes | None:
    """Payloads and inputs with as many bits less as the widest has too many."""
    coding = coding_of(options, target.default_coding.value)
    wide = [c.needed - c.limit for c in complaints if c.code == "payload-bits" and c.limit]
    if not wide or "payload_bits" not in coding.relevant_options:
        return None
    bits, input_bits = coding.size - max(wide), options.input_bits - max(wide)
    return {"payload_bits": bits, "input_bits": input_bits} if min(bits, input_bits) > 0 else None


def _chips(target: Target, complaints: Complaints) -> Changes | None:
    """As many chips as a network needs that lacks nothing but cores."""
    per_chip = target.cores_per_chip.value
    if [complaint.code for complaint in complaints] != ["cores-per-board"] or not per_chip:
        return None
    return {"chips": -(-complaints[0].needed // per_chip)}


def _typed(changes: Changes) -> str:
    """Options as the command line takes them."""
    declared = options_of(CompileOptions)
    words = []
    for name, value in changes.items():
        item = declared[name]
        flag = item.kind.flags.partition("/")[0]
        words.append(flag if flag and value is True else f"--{item.words} {value}")
    return " ".join(words)
