"""What all tests share: the ``--slow`` option, and the shared models and data."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, settings

import browser as browsers
import effort
from engine_equality import BUILDS
from snn_backends.lava.environment import LavaEnvironment, locate
from snn_compile.cli import main
from snn_compile.sim import native

# A background job of a shell that is not interactive ignores Ctrl-C, and so would its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--slowest-files", type=int, default=0, help="say which N files took longest")


def pytest_configure(config: pytest.Config) -> None:
    effort.take(everything=config.getoption("--slow"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What compiles C++ takes a minute at a stretch: first, so that no worker is left alone with it.
    items.sort(key=lambda item: "packaging" not in item.path.parts)
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    seconds: Counter[str] = Counter()
    n_tests: Counter[str] = Counter()
    for report in (one for kind in terminalreporter.stats.values() for one in kind):
        if isinstance(report, pytest.TestReport):
            name = report.nodeid.partition("::")[0]
            seconds[name] += report.duration
            n_tests[name] += report.when == "call"
    slowest = seconds.most_common(config.getoption("--slowest-files"))
    if not slowest:
        return
    terminalreporter.section(f"{len(slowest)} slowest of {len(seconds)} files")
    for name, taken in [*slowest, ("all files", seconds.total())]:
        share = taken / seconds.total()
        count = n_tests[name] if name in n_tests else n_tests.total()
        terminalreporter.write_line(f"{taken:7.1f} s {share:5.0%} {count:5d} tests  {name}")


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the example models."""
    return ROOT / "examples"


@pytest.fixture(scope="session")
def compiled_engine() -> tuple[str, ...]:
    """The builds of the compiled engine that run here, the fastest first.

    A test that needs one skips where there is none. In CI, all that are made on such a machine have
    to be there: one that is missing is a failure.
    """
    missing = set(BUILDS) - set(native.status().installed)
    if missing and os.environ.get("CI"):
        pytest.fail(f"the engine lacks {', '.join(sorted(missing))}", pytrace=False)
    builds = native.builds()
    if not builds:
        pytest.skip(f"no compiled engine: {native.status().why}")
    return builds


@pytest.fixture(scope="session", params=BUILDS)
def build(request: pytest.FixtureRequest, compiled_engine: tuple[str, ...]) -> str:
    """Each build of the engine; a skip names the one that this CPU cannot run."""
    name: str = request.param
    if name not in compiled_engine:
        installed = name in native.status().installed
        pytest.skip(f"engine {name}: {'this CPU cannot run it' if installed else 'not installed'}")
    return name


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the shared models and data.

    It is too large for the repository. A test that needs it skips where it is absent, except in
    CI, where that is a failure.
    """
    folder = Path(os.environ.get("SNN_COMPILE_DATA") or ROOT.parent / "shared").absolute()
    if not (folder / "manifest.json").exists():
        reason = f"no shared models and data in {folder}: set SNN_COMPILE_DATA (see CONTRIBUTING)"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return folder


@dataclass(frozen=True)
class ModelData:
    """A shared model with its data, in the layout that the model states.

    Attributes:
        model: the ONNX file.
        calibrate: npz with ``x``.
        evaluate: npz with ``x`` and ``y``.
    """

    model: Path
    calibrate: Path
    evaluate: Path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder that all workers share: ``once("vggbn.snn", make)``.

    The first who comes has ``make`` fill it; another worker waits, and finds it there. Nobody
    changes it afterwards.
    """
    # pytest-xdist gives every worker a folder of its own; the parent of those is the session's.
    session = tmp_path_factory.getbasetemp()
    session = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        made = session / name
        with (session / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                building = Path(mkdtemp(dir=session))
                make(building)
                building.rename(made)
        return made

    return folder


@pytest.fixture(scope="session")
def digits_folder(
    examples: Path,
    once: Callable[[str, Callable[[Path], None]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """A compiled folder of the digits CNN, to be changed at will: ``digits_folder("-T", "4")``.

    It is compiled once for all workers and copied for each who asks.
    """

    def copied(*options: str) -> Path:
        def make(folder: Path) -> None:
            data = ("--calibrate", str(examples / "digits_calibrate.npz"))
            words = [str(examples / "digits_cnn.onnx"), *data, "-o", str(folder / "cnn.snn")]
            assert main([*words, "--quiet", *options]) == 0

        made = once("_".join(["digits", *options]).replace("-", ""), make)
        return shutil.copytree(made / "cnn.snn", tmp_path_factory.mktemp("digits") / "cnn.snn")

    return copied


@pytest.fixture(scope="session")
def model_data(
    shared_data: Path, once: Callable[[str, Callable[[Path], None]], Path]
) -> Callable[..., ModelData]:
    """Prepare a labelled shared model: ``model_data("fashion_vggbn", evaluate=500)``."""

    def prepare(name: str, *, calibrate: int = 1024, evaluate: int = 10000) -> ModelData:
        def make(folder: Path) -> None:
            counts = ["--calibrate", str(calibrate), "--evaluate", str(evaluate)]
            script = shared_data / "prepare_data.py"
            subprocess.run([sys.executable, script, name, "-o", folder, *counts], check=True)

        folder = once(f"{name}-{calibrate}-{evaluate}", make)
        model = shared_data / "models" / f"{name}.onnx"
        return ModelData(model, folder / "calibrate.npz", folder / "evaluate.npz")

    return prepare


@pytest.fixture(scope="session")
def lava_environment() -> LavaEnvironment:
    """The environment that Lava runs in.

    A test that needs it skips where there is none, except in CI, where that is a failure.
    """
    found = locate()
    if found is None:
        reason = "no Lava environment: make one with 'snn-compile lava-env'"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[browsers.Browser]:
    """A browser without a window (``tests/support/browser.py``).

    A test that needs one skips where Chromium or the packages that drive it are missing.
    """
    if reason := browsers.missing():
        pytest.skip(reason)
    with browsers.started() as found:
        yield found


@pytest.fixture(scope="session")
def nir_python() -> Path:
    """A Python with the runtimes that read and write NIR: torch, nir, norse, snntorch and others.

    They are too large for every environment: a test that needs one of them skips without.
    ``docs/reference/nir.md`` says what to install.
    """
    imports = "import nir, nirtorch, norse, rockpool, sinabs, snntorch, spikingjelly"
    return _python("SNN_COMPILE_NIR_PYTHON", imports)


@pytest.fixture(scope="session")
def neurobench_python() -> Path:
    """A Python with torch, NeuroBench's harness and what this project needs (not itself)."""
    imports = "import click, neurobench, onnx, rich, scipy, threadpoolctl, torch"
    return _python("SNN_COMPILE_NEUROBENCH_PYTHON", imports)


@pytest.fixture(scope="session")
def netx_python() -> Path:
    """A Python with lava-nc and lava-dl, whose reader takes ``.net`` files; torch is not needed."""
    imports = "import h5py, lava.proc; from importlib.metadata import version; version('lava-dl')"
    return _python("SNN_COMPILE_NETX_PYTHON", imports)


@pytest.fixture(scope="session")
def emulators() -> dict[str, Path]:
    """Pythons with nengo-loihi and brian2-loihi, by the names of the devices; those that are there.

    ``docs/reference/cli.md`` says what to install.
    """
    found = {}
    for name in ("nengo-loihi", "brian2-loihi"):
        variable = f"SNN_COMPILE_{name.replace('-', '_').upper()}_PYTHON"
        if os.environ.get(variable):
            found[name] = _python(variable, f"import {name.replace('-', '_')}")
    return found


def _python(variable: str, imports: str) -> Path:
    found = os.environ.get(variable)
    if not found:
        pytest.skip(f"set {variable} to a Python that can: {imports}")
    done = subprocess.run([found, "-c", imports], capture_output=True, text=True, check=False)
    assert not done.returncode, f"{variable}: {done.stderr.strip().splitlines()[-1:]}"
    return Path(found)
