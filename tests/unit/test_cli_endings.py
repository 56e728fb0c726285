"""Commands that are told to end, or that nobody listens to: the exit code, and what is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from faults import write_inputs
from snn_compile.bundle import CompiledModel
from snn_compile.cli import growing, main
from snn_compile.cli.signals import signals_raise
from snn_compile.hil import isolation
from snn_compile.report import html

COMMAND = [sys.executable, "-c", "import sys; from snn_compile.cli import main; sys.exit(main())"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_inputs(folder)
    words = ["--calibrate", str(folder / "data.npz"), "--no-emit", "-q"]
    assert main([str(folder / "net.onnx"), "-o", str(folder / "net.snn"), *words]) == 0
    return folder


@pytest.fixture
def place(prepared, tmp_path, monkeypatch):
    """A folder with a small network, its data and the compiled network."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def heard():
    """The signals as in a terminal: with ``nohup``, or ``&`` in a script, some were ignored."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killing(number: int):
    """Whatever it is called with: the signal comes, and another one while everything is put right.

    A handler runs between two instructions of Python, so both have come when the second is sent.
    """

    def die(*given, **more):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)

    return die


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_signals_end_a_command_as_an_error_does(place, monkeypatch, capsys, heard, number, code):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    before = names(place), (place / "net.snn" / "model.snn").read_bytes()
    monkeypatch.setattr(html, "render", killing(number))
    compiling = ["net.onnx", "--calibrate", "data.npz", "-o", "net.snn", "-T", "4", "-q"]
    assert main([*compiling, "--coding", "rate"]) == code
    assert main([*compiling, "-o", "new/net.snn"]) == code
    assert main(["report", "net.snn"]) == code
    monkeypatch.setattr(growing.Rows, "write", killing(number))
    assert main(["run", "net.snn", "--data", "data.npz", "-o", "out.npz", "--trace", "-q"]) == code
    assert (names(place), (place / "net.snn" / "model.snn").read_bytes()) == before
    assert names(place / "net.snn") == [
        "cores.csv",
        "golden",
        "model.snn",
        "placement.toml",
        "report.html",
        "report.json",
    ]
    assert "Traceback" not in capsys.readouterr().err
    assert handlers == [
        signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ]


def test_signals_end_the_devices_process(place, monkeypatch, heard):
    children = []
    real = isolation.IsolatedDevice.run

    def run(self, *given):
        children.append(self._child)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return real(self, *given)

    monkeypatch.setattr(isolation.IsolatedDevice, "run", run)
    before = names(place)
    words = ["hil", "net.snn", "--device", "faulty:hang", "--record", "trace.npz", "-q"]
    assert main(words) == 143
    assert children[0].poll() is not None
    assert names(place) == before


def test_what_was_ignored_at_the_start_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_raise():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def shell(line: str, place: Path, **environment: str) -> tuple[int, str]:
    """The exit code of a line of bash, in which ``$TOOL`` is the tool; and all that was said."""
    tool = " ".join(f"'{word}'" for word in COMMAND)
    done = subprocess.run(
        ["bash", "-c", line.replace("$TOOL", tool)],
        cwd=place,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("$TOOL net.onnx --calibrate data.npz -o new.snn -q | head -1; exit ${PIPESTATUS[0]}", 0),
        ("$TOOL net.onnx --calibrate data.npz -o new.snn <&- >&- 2>&-", 0),
        ("$TOOL net.onnx --calibrate data.npz -o new.snn 2> /dev/full", 0),
        ("$TOOL net.onnx --calibrate data.npz -o new.snn -q --max-accuracy-drop 1 2> /dev/full", 2),
    ],
)
def test_a_folder_does_not_depend_on_who_listens(place, line, code):
    found, said = shell(line, place)
    assert found == code, said
    assert "Traceback" not in said
    assert (place / "new.snn").exists() is (code == 0)
    if not code:
        assert CompiledModel.load(place / "new.snn").report["layers"]
    assert not [name for name in names(place) if name.startswith(".")]


@pytest.mark.parametrize("command", ["targets", "inspect net.snn"])
def test_streams_that_are_full_odd_or_closed(place, command):
    ascii_only = {"PYTHONIOENCODING": "ascii:strict", "TERM": "dumb", "COLUMNS": "20"}
    for line, code in ((f"$TOOL {command}", 0), (f"$TOOL {command} > /dev/full", 2)):
        found, said = shell(line, place, LC_ALL="C", **ascii_only)
        assert (found, "Traceback" in said, "internal" in said) == (code, False, False), said
    assert "standard output: error[file]" in said
    assert shell(f"$TOOL {command} >&- 2>&-", place) == (0, "")


def test_a_verdict_reaches_the_exit_code_though_nobody_reads_the_table(place):
    (place / "net.snn" / "golden" / "messages.json").write_text("{}")
    line = "$TOOL verify net.snn --against golden -q | true; exit ${PIPESTATUS[0]}"
    assert shell(line, place)[0] == 7


def test_no_home_no_cache_no_folder(place):
    nowhere = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/proc/nope", "TMPDIR": "/nonexistent"}
    (place / "gone").mkdir()
    for line, code in (
        ("$TOOL doctor", 0),
        # The tests' own environment of Lava may lie anywhere: without a home there is no other.
        ("unset SNN_COMPILE_LAVA_ENV SNN_COMPILE_LAVA_PYTHON; $TOOL lava-env", 2),
        (f"cd gone; rmdir ../gone; $TOOL inspect {place}/net.snn", 0),
        (f"mkdir gone; cd gone; rmdir ../gone; $TOOL {place}/net.onnx", 2),
    ):
        found, said = shell(line, place, **nowhere)
        assert (found, "Traceback" in said, "internal" in said) == (code, False, False), said


def test_nobody_has_a_home(place, monkeypatch, capsys):
    """A user without an entry in the system's list."""

    def expanduser(path: Path) -> Path:
        if str(path).startswith("~"):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", expanduser)
    for name in ("HOME", "XDG_CACHE_HOME", "SNN_COMPILE_LAVA_ENV", "SNN_COMPILE_LAVA_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 0
    assert main(["lava-env"]) == 8
    assert "SNN_COMPILE_LAVA_ENV" in capsys.readouterr().err


def test_traces_need_a_file(place, capsys):
    assert main(["run", "net.snn", "--data", "data.npz", "--trace"]) == 2
    assert "error[bad-option]: --trace needs an output file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "net.snn", "--data", "data.npz", "-o"],
        ["hil", "net.snn", "--device", "reference", "--record"],
    ],
)
def test_what_is_no_file_is_not_written_over(place, words, capsys):
    (place / "link").symlink_to("net.onnx")
    content = (place / "net.onnx").read_bytes()
    for target in ("link", "net.snn", "/dev/null"):
        assert main([*words, target]) == 2
        assert f"{target}: error[output-exists]" in capsys.readouterr().err
    assert (place / "net.onnx").read_bytes() == content
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("target", [".", "/", "link", "dangling", "..", "full", "net.onnx/x"])
def test_no_folder_of_somebody_else_is_replaced(place, monkeypatch, capsys, target):
    (place / "link").symlink_to("net.snn")
    (place / "dangling").symlink_to("nothing")
    (place / "full").mkdir()
    (place / "full" / "report.json").write_text("{}")
    (place / "full" / "thesis.tex").write_text("dear")
    before = sorted(place.rglob("*"))
    for command in (["net.onnx", "-o", target, "-q"], ["conformance", target, "-q"]):
        assert main(command) == 2
        assert "error[" in capsys.readouterr().err
    assert sorted(place.rglob("*")) == before
