"""What the pages of the documentation print is made by running what they say.

    python tests/documented.py [PAGE ...]            says which pages print something else
    python tests/documented.py --write [PAGE ...]    puts what is printed into the pages
    python tests/documented.py --no-slow ...         without what takes minutes

A page is a session: its commands run in order, by bash, in a folder of the page's own, where
``examples`` and ``tests`` are found. What runs and what it prints:

    ```console             `$ command`, here-documents included, and below it what it prints
    ```python              a script; if the next fence is ```output, that is what it prints

and, unseen by the reader, in comments of their own lines:

    <!-- prepare: ... -->  commands; what they print is not shown
    <!-- print: ... -->    commands; what they print stands from here to <!-- end -->
    <!-- file: NAME -->    the fence below is that file
    <!-- needs: ... -->    what the block below needs: ``lava``, ``shared_data``, ``torch``,
                           ``slow`` (minutes)
    <!-- not checked: ... -->  the fence or table below is not the business of this module; and why

A command that fails is an error, unless the page asks for its exit code next: ``$ echo $?``. What
is said there is never rewritten. ``docs/test_pages.py`` holds the pages to all of this.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
NEEDS = ("lava", "shared_data", "torch", "slow")
WORDS = ("prepare", "print", "file", "needs", "not checked")
COMMENT = re.compile(rf"<!-- ({'|'.join(WORDS)}):\s(.+?)\s*-->\Z", re.DOTALL)
END = "<!-- end -->"
EXIT_CODE = "echo $?"

MASKS = [
    re.compile(pattern)
    for pattern in (
        r"\b\d+:\d\d:\d\d\b",  # how long a stage took
        r"\bin \d+\.\d s\b",
        r' time="\d+\.\d+"',  # of a test in JUnit's XML
        r"\b(?:native|compat) 3\.\d+ \(python .*?\)",  # Lava's environment
        r"\b(?:avx512|avx2|baseline)(?:, (?:avx2|baseline))*\b",  # the builds that this CPU can run
        r"(?<=127\.0\.0\.1):\d+/\?token=[\w-]+",  # of a page
        r"^( engine +\d+ +\d+ +)[\d,]+",  # what they compared, all of them together
        r"^( (?:call|engine alone) )[ .\d]+$",  # how long calls took
    )
]
"""What depends on the machine: not compared, except for the groups in it."""

PROGRESS = re.compile(r"  (?:[\w-]+ +(?:.* · )?\d+:\d\d:\d\d(?: · .*)?|expected +.*\d:\d\d:\d\d)")
"""A line about a stage that takes long on a slow machine, and is not there on a fast one; or about
what is expected to."""

READERS = {"as onnxruntime runs the file": "as the file states it"}
"""What readers see who have installed nothing but what ``python3 toolchain`` does."""

# What ``python3 toolchain`` does once its environment is there, which these commands run in.
PREAMBLE = """\
exec 2>&1 </dev/null
set -o pipefail
python3() { if [ "$1" = toolchain ]; then snn-compile "${@:2}"; else command python3 "$@"; fi; }
"""
SEPARATOR = "\x1e"
AFTER_EACH = r"status=$?; printf '\036%d\036' $status; (exit $status)"


class PageError(ValueError):
    """A page that does not keep to the conventions, or whose commands fail."""


@dataclass(frozen=True)
class Fence:
    """A fenced block: the lines ``first`` to ``stop`` of its content, and the marks above it."""

    info: str
    first: int
    stop: int
    marks: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """Commands, and the lines of the page that show what they print (None: nothing is shown)."""

    command: str
    line: int
    shown: range | None = None
    needs: frozenset[str] = frozenset()


@dataclass
class Page:
    """A page, taken apart."""

    path: Path
    lines: list[str]
    fences: list[Fence] = field(default_factory=list)
    tables: list[tuple[range, Mapping[str, str]]] = field(default_factory=list)
    prose: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def name(self) -> str:
        return os.path.relpath(self.path, ROOT)

    def error(self, line: int, what: str) -> PageError:
        return PageError(f"{self.name}:{line + 1}: {what}")

    def needs(self) -> frozenset[str]:
        return frozenset().union(*(step.needs for step in self.steps))

    def shown(self) -> list[str]:
        """All lines that show what is printed, without what depends on the machine."""
        return [masked(self.lines[k]) for step in self.steps for k in step.shown or ()]


def pages() -> list[Page]:
    """All pages."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [read(path) for path in paths]


def read(path: Path) -> Page:
    """Take a page apart."""
    page = Page(path, path.read_text(encoding="utf-8").split("\n"))
    lines, marks, k = page.lines, {}, 0
    while k < len(lines):
        first, k = k, k + 1
        if lines[first].startswith("```"):
            k = _closing(page, first, "```") + 1
            fence = Fence(lines[first][3:], first + 1, k - 1, marks)
            page.fences.append(fence)
            page.steps += list(_steps_of(page, fence))
        elif lines[first].startswith("<!-- "):
            while "-->" not in lines[k - 1] and k < len(lines):
                k += 1
            found = COMMENT.match("\n".join(lines[first:k]))
            if found and found[1] in ("prepare", "print"):
                shown = range(k, _closing(page, k - 1, END)) if found[1] == "print" else None
                page.steps.append(Step(found[2], first, shown, _needs(page, first, marks)))
                k = shown.stop + 1 if shown else k
            elif found:
                marks = {**marks, found[1]: found[2]}
                continue
            elif lines[first].startswith("<!-- table: "):  # what a benchmark writes between them
                continue
        elif lines[first].startswith("|"):
            while lines[k].startswith("|"):
                k += 1
            page.tables.append((range(first, k), marks))
        else:
            page.prose.append(first)
        marks = {}
    return page


def _closing(page: Page, first: int, end: str) -> int:
    try:
        return page.lines.index(end, first + 1)
    except ValueError:
        raise page.error(first, f"nothing ends this: no {end}") from None


def _needs(page: Page, line: int, marks: Mapping[str, str]) -> frozenset[str]:
    needs = frozenset(marks.get("needs", "").replace(",", " ").split())
    if needs - set(NEEDS):
        raise page.error(line, f"needs: {', '.join(NEEDS)}")
    return needs


def _steps_of(page: Page, fence: Fence) -> Iterator[Step]:
    line, needs = fence.first - 1, _needs(page, fence.first - 1, fence.marks)
    content = "\n".join(page.lines[fence.first : fence.stop])
    if "not checked" in fence.marks:
        return
    if "file" in fence.marks:
        yield Step(_here(f"cat > {fence.marks['file']}", content), line, None, needs)
    elif fence.info == "console":
        yield from _console(page, fence, needs)
    elif fence.info == "python":
        yield Step(_here("python -", content), line, None, needs)
    elif fence.info == "output":
        if len(page.fences) < 2 or page.fences[-2].info != "python" or not page.steps:
            raise page.error(line, "what printed this? There is no ```python before it")
        script = page.steps.pop()
        yield Step(script.command, line, range(fence.first, fence.stop), script.needs)


def _here(command: str, content: str) -> str:
    return f"{command} <<'END-OF-FENCE'\n{content}\nEND-OF-FENCE"


def _console(page: Page, fence: Fence, needs: frozenset[str]) -> Iterator[Step]:
    k = fence.first
    while k < fence.stop:
        first = k
        if not page.lines[k].startswith("$ "):
            raise page.error(k, "a ```console begins with a command: $ ...")
        here = re.search(r"<<'?(\w+)'?", page.lines[k])
        while here and page.lines[k] != here[1]:
            k += 1
        while page.lines[k].endswith("\\"):
            k += 1
        k = output = k + 1
        while k < fence.stop and not page.lines[k].startswith("$ "):
            k += 1
        command = "\n".join(page.lines[first:output]).removeprefix("$ ")
        yield Step(command, first, range(output, k), needs)


def run(
    page: Page,
    folder: Path,
    provided: Mapping[str, Mapping[str, str]],
    programs: Path | None = None,
) -> Iterator[tuple[Step, list[str]]]:
    """Run the steps whose needs are provided, in a folder; each with the lines that it printed.

    Args:
        page: a page.
        folder: an empty one.
        provided: for each need that is met, variables of the environment.
        programs: a folder of programs that come before others of their names.

    Raises:
        PageError: a command failed.
    """
    (folder / "tests").symlink_to(ROOT / "tests")
    # Tests import from the examples, and pages list them.
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=bytecode)
    steps = [step for step in page.steps if step.needs <= provided.keys()]
    script = PREAMBLE + "".join(f"{step.command}\n{AFTER_EACH}\n" for step in steps)
    variables = environment(provided)
    if programs:
        variables["PATH"] = f"{programs}{os.pathsep}{variables['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=False,
    )
    printed, *rest = done.stdout.split(SEPARATOR)
    for k, step in enumerate(steps):
        if not rest:
            raise page.error(step.line, f"the session ended here:\n{printed}")
        status, following, *rest = rest
        expected = "0"
        if k + 1 < len(steps) and steps[k + 1].command == EXIT_CODE:
            expected = page.lines[steps[k + 1].line + 1].strip()
        if status != expected:
            what = f"exit code {status}, not {expected}:\n{step.command}\n{printed}"
            raise page.error(step.line, what)
        for ours, theirs in READERS.items():
            printed = printed.replace(ours, theirs)
        lines = [line.rstrip() for line in printed.rstrip().splitlines()]
        yield step, [line for line in lines if not PROGRESS.fullmatch(line)]
        printed = following


def environment(provided: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """That of the commands: this Python's, no colour, nothing that depends on a terminal."""
    found = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    for variables in provided.values():
        found |= variables
    path = f"{Path(sys.executable).parent}{os.pathsep}{found.get('PATH', '')}"
    fixed = {"NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}
    return {**found, **fixed, "PATH": path}


def masked(line: str) -> str:
    """A line without what depends on the machine."""
    for mask in MASKS:
        line = mask.sub(lambda found: "".join(found.groups()) + "[...]", line)
    return line


def agrees(page: Page, step: Step, printed: Sequence[str]) -> bool:
    """Whether the page shows what was printed."""
    shown = "\n".join(masked(page.lines[k]) for k in step.shown or ())
    return step.shown is None or shown.rstrip() == "\n".join(map(masked, printed)).rstrip()


def rewritten(page: Page, printed: Sequence[tuple[Step, Sequence[str]]]) -> str:
    """The page with what was printed. Lines that agree stay as they are."""
    lines = list(page.lines)
    for step, output in reversed(printed):
        if step.shown is None:
            continue
        shown = lines[step.shown.start : step.shown.stop]
        known = {masked(line): line for line in shown}
        blank = list(takewhile(lambda line: not line, reversed(shown)))
        new = [known.get(masked(line), line) for line in output]
        lines[step.shown.start : step.shown.stop] = new + blank
    return "\n".join(lines)


def provisions(*, slow: bool) -> dict[str, dict[str, str]]:
    """What is here of what pages may need."""
    from snn_backends.lava.environment import locate

    found: dict[str, dict[str, str]] = {"slow": {}} if slow else {}
    lava = locate()
    if lava is not None:
        found["lava"] = {"LAVA_PYTHON": shlex.join(lava.command(Path())[:-1])}
    if find_spec("torch"):
        found["torch"] = {}
    shared = Path(os.environ.get("SNN_COMPILE_DATA") or ROOT.parent / "shared").absolute()
    if (shared / "manifest.json").exists():
        found["shared_data"] = {"SNN_COMPILE_DATA": str(shared)}
    return found


def main() -> int:
    """Check or write pages; the exit code is 0 if all of what was asked for could be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--write", action="store_true", help="put what is printed into the pages")
    parser.add_argument("--no-slow", action="store_true", help="without what takes minutes")
    arguments = parser.parse_args()
    provided, failed = provisions(slow=not arguments.no_slow), False
    for page in [read(p.resolve()) for p in arguments.pages] or pages():
        missing = page.needs() - provided.keys()
        if missing:
            print(f"{page.name}: left out what needs {', '.join(sorted(missing))}")
            failed |= missing != {"slow"}
        if not page.steps:
            continue
        try:
            with TemporaryDirectory() as folder:
                printed = list(run(page, Path(folder), provided))
        except PageError as error:
            print(error)
            failed = True
            continue
        wrong = [step for step, output in printed if not agrees(page, step, output)]
        verdict = "written" if arguments.write else "differs"
        for step in wrong:
            print(f"{page.name}:{step.line + 1}: {verdict}: {step.command.splitlines()[0]}")
        if arguments.write and wrong:
            page.path.write_text(rewritten(page, printed), encoding="utf-8")
        failed |= bool(wrong) and not arguments.write
    return failed


if __name__ == "__main__":
    sys.exit(main())
