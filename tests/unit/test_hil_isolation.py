"""Devices that crash, hang or lie do no harm, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import DeviceError, UsageError, VerificationError
from snn_compile.hil.device import validate_pieces
from snn_compile.hil.isolation import IsolatedDevice

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")

DEVICES = '''
import json, os, subprocess, sys, time
from snn_compile.errors import VerificationError
from snn_compile.hil.device import Capabilities, Measured
from snn_compile.sim import reference


class Odd:
    """A device with a fault of its own: ``odd:KIND``."""

    def __init__(self, kind, options):
        self.kind, self.options = kind, options

    def load(self, program, folder):
        self.program = program
        if self.kind == "slow-to-load":
            time.sleep(600)
        if self.kind == "no-load":
            raise VerificationError("its seal is broken", code="seal-broken", hint="mend it")
        if self.kind == "unknown-layer":
            return Capabilities(layers=("nothing",))
        if self.kind == "jitter":
            return Capabilities(exact=False)
        if self.kind == "some-layers":
            return Capabilities(layers=(program.populations[1].id,), exact=False)
        return Capabilities(facts={"odd": self.kind})

    def close(self):
        pass

    def run(self, frames, time_limit):
        print("noise on standard output")
        sent = reference.run(self.program, frames, record=True).messages
        change = getattr(self, self.kind.replace("-", "_"), None)
        yield from change(sent) if change else [Measured(0, sent)]

    def jitter(self, sent):
        name = self.program.populations[0].id
        sent[name] = sent[name].copy()
        first = tuple(int(i[0]) for i in sent[name].nonzero())
        sent[name][first] = 0
        yield Measured(0, sent)

    def some_layers(self, sent):
        name = self.program.populations[1].id
        yield Measured(0, {name: sent[name]})

    def floats(self, sent):
        yield Measured(0, {k: v.astype(float) for k, v in sent.items()})

    def wide(self, sent):
        yield Measured(0, {k: v.astype("int64") + (1 << 40) for k, v in sent.items()})

    def shape(self, sent):
        yield Measured(0, {k: v[:, :, :1] for k, v in sent.items()})

    def missing(self, sent):
        yield Measured(0, dict(list(sent.items())[1:]))

    def gap(self, sent):
        yield Measured(1, {k: v[1:] for k, v in sent.items()})

    def twice(self, sent):
        yield Measured(0, sent)
        yield Measured(0, sent)

    def too_many(self, sent):
        for first in range(0, 1000, len(sent)):
            yield Measured(first, sent)

    def endless(self, sent):
        while True:
            os.write(1, b"x" * 65536)

    def raises(self, sent):
        raise ValueError("the board is on fire")
        yield

    def killed(self, sent):
        os.kill(os.getpid(), 9)
        yield

    def children(self, sent):
        code = "import time; time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, self.options["mark"]])
        yield Measured(0, {k: v[:1] for k, v in sent.items()})
        time.sleep(600)

    def deaf(self, sent):
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        yield Measured(0, {k: v[:1] for k, v in sent.items()})
        time.sleep(600)
'''


@pytest.fixture(scope="module")
def compiled(digits_folder: Callable[..., Path]) -> Path:
    return digits_folder("--no-emit")


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An outside plug-in with odd devices, found by its entry point as the built-in ones are."""
    (tmp_path / "odd_devices.py").write_text(DEVICES)
    info = tmp_path / "odd_devices-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-devices\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[snn_compile.devices]\nodd = odd_devices:Odd\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def collect(compiled: Path, name: str, time_limit: float = 60.0, n: int = 4, **options: str):
    """What an isolated device measures: (capabilities, pieces)."""
    model = CompiledModel.load(compiled)
    device = IsolatedDevice(name, options, time_limit)
    try:
        capabilities = device.load(model.program, compiled)
        layers = [p.id for p in model.program.populations]
        if capabilities.layers:
            layers = list(capabilities.layers)
        pieces = validate_pieces(
            device.run(model.stimulus[:n], time_limit), model.program, layers, n
        )
        return capabilities, list(pieces)
    finally:
        device.close()


def processes(mark: str) -> list[str]:
    """Command lines that hold a mark, but for this process's own."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError):
            continue
        if mark in text and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


def test_an_outside_device_is_found_and_runs(compiled, odd):
    capabilities, pieces = collect(compiled, "odd:right")
    assert capabilities.facts == {"odd": "right"}
    assert sum(len(next(iter(p.messages.values()))) for p in pieces) == 4


@pytest.mark.parametrize(
    "kind",
    ["floats", "wide", "shape", "missing", "gap", "twice", "too-many", "unknown-layer"],
)
def test_lies_are_found(compiled, odd, kind):
    with pytest.raises(DeviceError) as caught:
        collect(compiled, f"odd:{kind}", n=1 if kind == "too-many" else 4)
    assert caught.value.code == "bad-messages"


@pytest.mark.parametrize(
    ("kind", "limit", "said"),
    [
        ("raises", 300.0, "the board is on fire"),
        ("killed", 300.0, "SIGKILL"),
        ("deaf", 3.0, "within 3 s"),
        ("endless", 3.0, "within 3 s"),
    ],
)
def test_crashes_are_reported_with_the_last_words(compiled, odd, kind, limit, said):
    with pytest.raises(DeviceError, match=said) as caught:
        collect(compiled, f"odd:{kind}", limit)
    assert caught.value.exit_code == 8


def test_errors_of_the_device_are_those_it_raised(compiled, odd):
    with pytest.raises(VerificationError) as caught:
        collect(compiled, "odd:no-load")
    assert (caught.value.code, caught.value.hint) == ("seal-broken", "mend it")
    with pytest.raises(UsageError, match="no device named"):
        collect(compiled, "even:right")


def test_loading_may_not_take_for_ever(compiled, odd):
    begin = time.monotonic()
    with pytest.raises(DeviceError) as caught:
        collect(compiled, "odd:slow-to-load", 2.0)
    assert caught.value.code == "device-timeout"
    assert time.monotonic() - begin < 600  # which it sleeps


def test_children_of_a_device_end_with_it(compiled, odd):
    mark = f"odd-mark-{os.getpid()}-a"
    with pytest.raises(DeviceError) as caught:
        collect(compiled, "odd:children", 3.0, mark=mark)
    assert caught.value.code == "device-timeout"
    until(lambda: not processes(mark))


def until(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_tool_leaves_nothing(compiled, odd):
    mark = f"odd-mark-{os.getpid()}-b"
    code = "import sys; from snn_compile.cli import main; sys.exit(main())"
    line = ["hil", str(compiled), "--device", "odd:children", "--set", f"mark={mark}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen([sys.executable, "-c", code, *line], env=environment) as tool:
        until(lambda: len(processes(mark)) > 1)  # the tool itself, and the device's child
        tool.send_signal(signal.SIGKILL)
    until(lambda: not processes(mark))


def test_devices_that_are_not_exact_are_measured(compiled, odd, capsys):
    """This one says so, records one layer, and is right all the same."""
    import json

    line = ["hil", str(compiled), "--device", "odd:some-layers", "--stimuli", "3", "--json", "-q"]
    assert main(line) == 0
    said = json.loads(capsys.readouterr().out)
    (layer,) = said["layers"]
    assert layer["victor_purpura"] == layer["van_rossum"] == 0
    assert said["accuracy"] == {}
    assert said["equal"] is True


def test_a_tolerance_is_for_devices_that_are_not_exact(compiled, odd, capsys):
    import json

    line = ["hil", str(compiled), "--device", "odd:jitter", "--stimuli", "3", "-q"]
    assert main([*line, "--json"]) == 7
    said = json.loads(capsys.readouterr().out)
    first = said["layers"][0]
    n_trains = first["compared"]  # one step a window: a train for each message
    assert first["victor_purpura"] == pytest.approx(1 / n_trains)
    assert said["diagnoses"] == []  # nobody asks why a device that is not exact is not
    assert main([*line, "--tolerance", str(2 / n_trains)]) == 0
    assert main([*line, "--tolerance", str(0.5 / n_trains)]) == 7
    assert "apart" in capsys.readouterr().err


def test_what_comes_out_is_what_went_in(compiled, odd):
    from snn_compile.sim import reference

    model = CompiledModel.load(compiled)
    expected = reference.run(model.program, model.stimulus[:4], record=True).messages
    for name in ("reference", "odd:right"):
        _, pieces = collect(compiled, name)
        for layer, messages in expected.items():
            found = np.concatenate([piece.messages[layer] for piece in pieces])
            np.testing.assert_array_equal(found, messages)
