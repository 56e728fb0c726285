"""What stands on the disk when a file operation fails, or the process dies there.

    python tests/faults.py [--every N] [--markdown] [COMMAND ...]

Runs each command again and again, with a fault at its first file operation, its second, and so
on: the operation fails, the disk is full from there on, or the process dies. Afterwards every
output has to be what it was before or what the command writes, byte for byte; a command that fails
has to say so with exit code 2 and a code, and leave nothing else; and what one that died has left
has to be gone when the next one is done. Prints a table; the exit code is 1 if anything else
happened.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))
from faulty_files import DEAD, DIE, FAIL, FULL, Shim
from onnx_models import model, node
from snn_compile.cli import main as snn_compile
from snn_compile.files.claims import claimed_by
from snn_compile.report import stage_usage

Content = dict[str, bytes]
HOWS = (FAIL, FULL, DIE)
OLD, NEW, MIXED, GAP = "old", "new", "new and old", "between two names"
MUST_SAY = ("write", "fsync", "close", "rename", "exchange")
"""What nobody can do without. The others may be tried in another way, or are no matter: leftovers
go with the next start, and some file systems have no locks."""


@dataclass(frozen=True)
class Scenario:
    """A command that writes.

    Attributes:
        name: for the table.
        words: the command.
        outputs: what it writes: each of them is old or new by itself.
        before: commands that make what is there before.
        spoiled: files that hold something else by then.
        patch: changes the process that the command runs in.
        gap: whether a name may be missing for a moment.
        tells: outputs that say how the command ended: what they say of a fault is new, too, if it
            is whole.
    """

    name: str
    words: tuple[str, ...]
    outputs: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    spoiled: tuple[str, ...] = ()
    patch: Callable[[], None] = field(default=lambda: None)
    gap: bool = False
    tells: tuple[str, ...] = ()


def without_exchange() -> None:
    """A system that cannot exchange two names."""
    from snn_compile.files import folders

    folders._exchanged = lambda one, other: False  # type: ignore[assignment]


def near_device() -> None:
    """A device in this process: a start of Python for each fault would take minutes."""
    from snn_compile.hil import isolation
    from snn_compile.plugins import open_device

    isolation.IsolatedDevice = lambda name, options, limit: open_device(name, options)  # type: ignore[assignment,misc]


def few_vectors() -> None:
    """Two of the conformance vectors."""
    from snn_compile.conformance import vectors as module

    some = module.vectors()[:2]
    module.vectors = lambda: some  # type: ignore[assignment]


COMPILE = ("compile", "net.onnx", "--calibrate", "data.npz", "-o", "net.snn", "-q")
OLDER = (*COMPILE, "--coding", "rate", "-T", "4", "--no-emit")
RUN = ("run", "net.snn", "--data", "data.npz", "-o", "out.npz", "--trace", "-q")
TABLE = ("run", "net.snn", "--data", "data.npz", "-o", "out.csv", "-q")
COMPARE = ("compare", "net.snn", "rate.snn", "--data", "data.npz", "-o", "page.html", "-q")
RATE = tuple("rate.snn" if word == "net.snn" else word for word in OLDER)
SUMMARY = ("compare", "net.snn", "rate.snn", "--summary", "page.md", "-q")
JUNIT = ("verify", "net.snn", "--against", "golden", "--junit", "ci.xml", "-q")
HIL = ("hil", "net.snn", "--device", "reference", "--record", "trace.npz", "-q")
TUNE = (
    *("tune", "net.snn", "--train", "data.npz", "-o", "tuned.snn", "--checkpoint", "kept"),
    *("--epochs", "1", "--threads", "1", "-q"),
)
REDUCE = (
    *("reduce", "net.snn", "--device", "faulty:weight-bit", "-o", "small.snt"),
    *("--time-limit", "1e-9", "-q"),
)
REDUCED = ("small.snt", "small.npz", "small.stimulus.npz")
REPORTS = ("net.snn/report.json", "net.snn/report.html")
SCENARIOS = (
    Scenario("compile, no folder yet", COMPILE, ("net.snn",)),
    Scenario("compile, over an older folder", COMPILE, ("net.snn",), (OLDER,)),
    Scenario(
        "the same, names cannot be exchanged",
        COMPILE,
        ("net.snn",),
        (OLDER,),
        patch=without_exchange,
        gap=True,
    ),
    Scenario("verify", ("verify", "net.snn", "--against", "golden", "-q"), REPORTS, (COMPILE,)),
    Scenario("report", ("report", "net.snn"), REPORTS[1:], (COMPILE,), REPORTS[1:]),
    Scenario("run --trace -o, over an older file", RUN, ("out.npz",), (COMPILE, RUN[:-2])),
    Scenario("run -o .csv, no file yet", TABLE, ("out.csv",), (COMPILE,)),
    Scenario(
        "compare -o, over an older page",
        COMPARE,
        ("page.html",),
        (COMPILE, RATE, (*COMPARE[:3], *COMPARE[5:])),
    ),
    Scenario("compare --summary", SUMMARY, ("page.md",), (COMPILE, RATE), ("page.md",)),
    Scenario(
        "verify --junit, over another file",
        JUNIT,
        ("ci.xml", *REPORTS),
        (COMPILE,),
        ("ci.xml",),
        tells=("ci.xml",),
    ),
    Scenario(
        "hil --record, over an older trace",
        HIL,
        ("trace.npz", *REPORTS),
        (COMPILE, (*HIL, "--stimuli", "3")),
        patch=near_device,
    ),
    Scenario(
        "reduce, over an older text", REDUCE, REDUCED, (COMPILE, (*REDUCE, "--time-limit", "60"))
    ),
    Scenario("tune, no folder yet", TUNE, ("tuned.snn", "kept"), (COMPILE,)),
    Scenario("conformance", ("conformance", "set", "-q"), ("set",), patch=few_vectors),
)


@dataclass
class Row:
    """What came of the faults in one command.

    Attributes:
        name: of the scenario.
        kinds: how many operations of each kind there are.
        found: how often what stood there afterwards, by the kind of fault.
        wrong: everything that should not be.
    """

    name: str
    kinds: Counter[str] = field(default_factory=Counter)
    found: dict[str, Counter[str]] = field(default_factory=lambda: {h: Counter() for h in HOWS})
    wrong: list[str] = field(default_factory=list)


class Bench:
    """Runs one scenario in folders of its own.

    Args:
        scenario: what to run.
        root: an empty folder.
    """

    def __init__(self, scenario: Scenario, root: Path) -> None:
        self.scenario, self.root = scenario, root
        self.start, self.place = root / "start", root / "place"
        self.said, self.operations = root / "said", root / "operations"
        self.start.mkdir()
        write_inputs(self.start)

    def run(self, every: int = 1, hows: Sequence[str] = HOWS) -> Row:
        """Put faults at every n-th operation, and where names are given."""
        row = Row(self.scenario.name)
        for words in self.scenario.before:
            self._must(self.start, words)
        for name in self.scenario.spoiled:
            (self.start / name).write_text("of another network")
        self.old = self._content(self.start)
        shutil.copytree(self.start, self.place)
        self._must(self.place, self.scenario.words, count=True)
        self.new, self.names = self._content(self.place), names(self.place)
        operations = self.operations.read_text().splitlines()
        row.kinds = Counter(operation.split()[0] for operation in operations)
        for number, operation in enumerate(operations, 1):
            decisive = operation.startswith(("rename", "exchange")) and "/" not in operation
            chosen = decisive or not number % every
            for how in hows if chosen else ():
                state, wrong = self._with_fault(number, how, operation.split()[0])
                row.found[how][state] += 1
                row.wrong += [f"{row.name}: {how} at {number} ({operation}): {w}" for w in wrong]
        return row

    def _with_fault(self, number: int, how: str, kind: str) -> tuple[str, list[str]]:
        shutil.rmtree(self.place)
        shutil.copytree(self.start, self.place)
        status = self._child(self.place, self.scenario.words, number, how)
        said = self.said.read_text()
        wrong = [] if "Traceback" not in said else [f"a traceback: {said[-400:]}"]
        state = self._state()
        if state == GAP and not (self.scenario.gap and how == DIE):
            wrong.append("an output is gone")
        if not state:
            wrong.append("an output is neither what it was nor what it was to be")
        left = names(self.place) - self.names - names(self.start)
        if how == DIE:
            if status != DEAD:
                wrong.append(f"it went on: exit status {status}")
            wrong += self._next_start(left)
            return state or "broken", wrong
        cleaning = kind == "remove"
        if status not in ((2,) if how == FAIL and kind in MUST_SAY else (0, 2)):
            wrong.append(f"exit status {status}: {said[-300:]}")
        if status == 2 and "error[" not in said:
            wrong.append(f"no code: {said[-300:]}")
        if status == 0 and state != NEW:
            wrong.append("it says that all is well")
        if left and not cleaning:
            wrong.append(f"leftovers: {sorted(left)}")
        elif left:
            wrong += self._next_start(left)
        return state or "broken", wrong

    def _next_start(self, left: set[str]) -> list[str]:
        """The command once more, without a fault: it puts everything right."""
        wrong = [f"a leftover of an odd name: {name}" for name in left if not is_leftover(name)]
        status = self._child(self.place, self.scenario.words, 0, FAIL)
        if status or self._state() != NEW:
            wrong.append(f"the next start: {status}, {self.said.read_text()[-300:]}")
        elif more := names(self.place) - self.names:
            wrong.append(f"the next start leaves {sorted(more)}")
        return wrong

    def _state(self) -> str:
        """Which of old and new the outputs are; nothing if they are neither."""
        found = set()
        now = self._content(self.place)
        for output in self.scenario.outputs:
            told = output in self.scenario.tells and is_whole_xml(now[output].get("", b""))
            same = {OLD: now[output] == self.old[output]}
            same[NEW] = now[output] == self.new[output] or (told and not same[OLD])
            if not any(same.values()):
                return "" if now[output] else GAP
            if not all(same.values()):
                found.add(OLD if same[OLD] else NEW)
        return MIXED if len(found) > 1 else next(iter(found), NEW)

    def _content(self, folder: Path) -> dict[str, Content]:
        return {output: content(folder / output) for output in self.scenario.outputs}

    def _must(self, folder: Path, words: tuple[str, ...], *, count: bool = False) -> None:
        status = self._child(folder, words, 0, FAIL, count=count)
        if status:
            raise RuntimeError(f"{words} ended with {status}: {self.said.read_text()}")

    def _child(
        self, folder: Path, words: tuple[str, ...], number: int, how: str, *, count: bool = False
    ) -> int:
        """The exit status of a command in a child of this process, which has imported it all."""
        child = os.fork()
        if not child:
            status = 1
            try:
                status = self._in_child(folder, words, number, how, count)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _in_child(
        self, folder: Path, words: tuple[str, ...], number: int, how: str, count: bool
    ) -> int:
        said = os.open(self.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))
        operations = os.open(self.operations, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.chdir(folder)
        # Reports are the same each time.
        time.perf_counter = time.process_time = lambda: 0.0
        stage_usage._take_mark = lambda: False
        self.scenario.patch()

        def log(kind: str) -> None:
            if count:
                os.write(operations, f"{kind}\n".encode())

        if number or count:
            Shim(folder, number, how, log).install()
        status = snn_compile(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
        return status


def write_inputs(folder: Path) -> None:
    """A network of two small layers, and samples."""
    random = np.random.default_rng(1)
    weights = {
        "a": random.normal(0, 1, (6, 5)).astype(np.float32),
        "b": random.normal(0, 1, (5, 3)).astype(np.float32),
    }
    nodes = [node("MatMul", "x a", "u"), node("Relu", "u", "s"), node("MatMul", "s b", "v")]
    onnx.save(model(nodes, ("N", 6), weights, outputs="v"), folder / "net.onnx")
    x = random.random((48, 6)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=random.integers(0, 3, 48))


def content(path: Path) -> Content:
    """The bytes of a file, or of every file in a folder; nothing if it is not there."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def is_whole_xml(content: bytes) -> bool:
    """Whether this is an XML document from its beginning to its end."""
    try:
        ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return False
    return True


def names(folder: Path) -> set[str]:
    """Everything that is in a folder and in the folders that are always there."""
    inner = [folder / "net.snn"] if (folder / "net.snn").is_dir() else []
    return {str(p.relative_to(folder)) for one in (folder, *inner) for p in one.iterdir()}


def is_leftover(name: str) -> bool:
    """Whether something is called as what is only there while another thing is written."""
    return bool(claimed_by(Path(name).name))


def warm_up(scenarios: list[Scenario]) -> None:
    """Import what the commands import, so that no child has to."""
    with TemporaryDirectory() as folder:
        here, stdout, stderr = Path.cwd(), os.dup(1), os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        os.chdir(folder)
        try:
            write_inputs(Path(folder))
            for words in dict.fromkeys(w for s in scenarios for w in (*s.before, s.words)):
                if words[0] != "hil":
                    snn_compile(list(words))
        finally:
            os.chdir(here)
            os.dup2(stdout, 1), os.dup2(stderr, 2)
            for number in (stdout, stderr, nowhere):
                os.close(number)


def rows(scenarios: list[Scenario], every: int = 1) -> Iterator[Row]:
    """The outcome of each scenario."""
    warm_up(scenarios)
    for scenario in scenarios:
        with TemporaryDirectory() as folder:
            yield Bench(scenario, Path(folder)).run(every)


def shown(row: Row) -> list[str]:
    """A line of the table."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(row.kinds.items()))

    def counts(how: str) -> str:
        return ", ".join(f"{n} {state}" for state, n in sorted(row.found[how].items()))

    return [row.name, str(row.kinds.total()), kinds, *(counts(how) for how in HOWS)]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help="only these")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th operation")
    parser.add_argument("--markdown", action="store_true", help="for the documentation")
    args = parser.parse_args()
    chosen = [s for s in SCENARIOS if not args.commands or s.words[0] in args.commands]
    head = ["command", "places", "operations", "it failed", "the disk was full", "it died"]
    lines, wrong = [head], []
    for row in rows(chosen, args.every):
        lines.append(shown(row))
        wrong += row.wrong
        if not args.markdown:
            print(" | ".join(lines[-1]), flush=True)
    if args.markdown:
        lines.insert(1, ["---", "---:", *["---"] * 4])
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    print(*wrong, sep="\n", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
