"""``python3 tests``: set everything up, then check everything.

    python3 tests                      all checks: ruff, mypy, import-linter, the site, then pytest
    python3 tests --slow               with the tests that take minutes
    python3 tests --no-lava            without Lava's environment and the tests that need it
    python3 tests --no-lint            only pytest
    python3 tests --torch              with torch, and the tests of tuning that need it
    python3 tests tests/unit -k graph  any other argument goes to pytest, and nothing else runs

Makes the same ``.venv`` as ``python3 toolchain``, with the ``test`` extra, and Lava's own
environment. Where Lava's cannot be made, its tests skip and say so; with ``CI`` set that fails.
torch is large (gigabytes, where the index has no build without CUDA), so tests that need it skip
unless ``--torch`` has installed it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CI = bool(os.environ.get("CI"))
SITE = ("-q", "-W", "--keep-going", "-E", "-c", "docs", ".", "build/site")
"""Of sphinx-build; ``-E``, because a page that is not read again warns of nothing."""
WORKERS = min(2, os.cpu_count() or 1) + 1  # tests wait for processes that they start


def load_bootstrap() -> Any:
    """``toolchain/__main__.py`` as a module; it belongs to no package."""
    path = ROOT / "toolchain" / "__main__.py"
    spec = importlib.util.spec_from_file_location("snn_compile_bootstrap", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


class Steps:
    """Runs one step after the other and remembers how each went."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failed = False

    def run(self, name: str, action: Callable[[], int], *, required: bool = True) -> None:
        """Run a step; an optional one that fails is a warning."""
        print(f"== {name}", flush=True)
        start = time.perf_counter()
        passed = action() == 0
        self.failed |= required and not passed
        verdict = "ok" if passed else "FAILED" if required else "failed, its tests skip"
        self.lines.append(f"{name:<14} {time.perf_counter() - start:6.1f} s  {verdict}")


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; the exit code is 0 only if all of it passed."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    bootstrap, steps = BOOTSTRAP, Steps()
    own = {"--slow", "--no-lava", "--no-lint", "--torch"}
    chosen, rest = own & set(arguments), [word for word in arguments if word not in own]
    # The workers of pytest share the cores; a pool of BLAS threads in each would only contend.
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ}
    # Tests start hundreds of processes: without bytecode each would compile the sources anew.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # glibc returns memory at once, and each array of some hundred kilobytes is mapped anew.
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 27))
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 25))

    commands: Path = bootstrap.prepare(["test", *(["tune"] if "--torch" in chosen else [])])

    def start(name: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [bootstrap.command(commands, name), *words], cwd=ROOT, env=environment
        )

    def call(name: str, *words: str) -> int:
        return start(name, *words).wait()

    def pytest(*words: str) -> int:
        options = ["--slow"] if "--slow" in chosen else []
        options += ["-m", "not lava"] if "--no-lava" in chosen else []
        return call("python", "-m", "pytest", *options, *words)

    if rest:
        return pytest(*rest)

    # Made while the code is checked: each uses one core.
    lava_env = None if "--no-lava" in chosen else start("snn-compile", "lava-env")
    if "--no-lint" not in chosen:
        site = start("sphinx-build", *SITE)
        steps.run("ruff check", lambda: call("ruff", "check", "--quiet", "."))
        steps.run("ruff format", lambda: call("ruff", "format", "--check", "--quiet", "."))
        steps.run("mypy", lambda: call("mypy"))
        steps.run("import-linter", lambda: call("lint-imports", "--no-logo"))
        steps.run("site", site.wait)
    if lava_env is not None:
        steps.run("lava-env", lava_env.wait, required=CI)
    # A worker that is done takes tests from the other: some take half a minute.
    parallel = ("-n", str(WORKERS), "--dist", "worksteal", "--slowest-files", "10")
    steps.run("pytest", lambda: pytest(*parallel))

    print("\n" + "\n".join(steps.lines))
    return 1 if steps.failed else 0


BOOTSTRAP = load_bootstrap()

if __name__ == "__main__":
    sys.exit(BOOTSTRAP.start(main))
