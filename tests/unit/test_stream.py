"""One sample at a time: answers of ``run``, state that is kept, pipes, latency."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import networks
import several_inputs
from lif_networks import chain
from network_builder import INPUT, Builder
from scheduled_networks import SCHEDULED, scheduled
from snn_compile import load
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.ir.fixedpoint import QFormat, QTensor
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.spiking import InputCoding
from snn_compile.samples import pipe
from snn_compile.sim import abi, latency, reference
from snn_compile.sim.engine import engine_for
from snn_compile.sim.session import Session

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from snn_compile.cli import main; sys.exit(main())",
    "run",
]
"""In a process of its own."""


@pytest.fixture(params=["engine", "off"])
def simulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both simulators."""
    if request.param == "off":
        monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    else:
        request.getfixturevalue("compiled_engine")
    return str(request.param)


@pytest.fixture(scope="module")
def folder(once: Callable[[str, Callable[[Path], None]], Path], examples: Path) -> Path:
    """The small example, compiled."""

    def make(folder: Path) -> None:
        line = [str(examples / "digits_cnn.onnx"), "-o", str(folder), "--quiet", "--no-emit"]
        assert main([*line, "--calibrate", str(examples / "digits_calibrate.npz")]) == 0

    return once("stream.snn", make)


@pytest.fixture(scope="module")
def digits(examples: Path) -> np.ndarray:
    """Samples (20, 1, 8, 8)."""
    with np.load(examples / "digits_evaluate.npz") as arrays:
        return arrays["x"][:20]


def programs() -> Iterator[tuple[str, QuantizedGraph, np.ndarray]]:
    """A network of each coding, of random spikes, of events and of several inputs."""
    for coding in SCHEDULED:
        made = scheduled(coding, "branches", 3, 7)
        yield coding, made.program, made.frames
    yield "rate", *networks.structures(1, "subtract", 40)
    yield "poisson", *networks.structures(1, "signed", 5, poisson=True)
    yield "graded", *networks.mlp(2, "graded", 1)
    yield "neurons of the chip", *chain(1, 12)
    yield "events", *several_inputs.random_network(4, "subtract", 40, InputCoding.EVENTS)


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize(("program", "frames"), [pytest.param(*p[1:], id=p[0]) for p in programs()])
def test_answers_are_those_of_a_run(program: QuantizedGraph, frames: np.ndarray) -> None:
    expected = reference.run(program, frames)
    session = Session(program)
    for _ in range(2):
        for k, frame in enumerate(frames):
            found = session(frame[None])
            assert set(found.outputs) == set(expected.outputs)
            for name, values in found.outputs.items():
                assert np.array_equal(values, expected.outputs[name][k : k + 1]), (name, k)
        session.reset()


@pytest.mark.parametrize("kind", ["subtract", "zero", "stock", "leaky", "signed"])
@pytest.mark.parametrize("n_steps", [2, 40])
def test_kept_state_is_one_long_stimulus(
    build: str, kind: str, n_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neurons go on from sample to sample as if no sample had ended, and saturate if they must."""
    monkeypatch.setenv("SNN_COMPILE_ENGINE", build)
    program, frames = several_inputs.random_network(9, kind, n_steps, InputCoding.EVENTS)
    frames = np.concatenate([frames] * 3)
    at_once = frames.reshape(1, -1, *frames.shape[2:])
    long = QuantizedGraph(program.graph, replace(program.window, n_steps=at_once.shape[1]))
    expected = reference.run(long, at_once, record=True)
    assert any(np.count_nonzero(a) for a in expected.activity.values())
    for shared in (False, True):
        engine_for(program).shared = shared
        session = Session(program, keep_state=True, threads=2)
        for k, frame in enumerate(frames):
            for name, values in session(frame[None]).outputs.items():
                after = expected.messages[name][:, n_steps * (k + 1) - 1]
                assert np.array_equal(values, after), (name, k)
        session.reset()
        first = session(frames[:1]).outputs
        assert all(
            np.array_equal(v, expected.messages[k][:, n_steps - 1]) for k, v in first.items()
        )


def test_potentials_that_no_window_bounds_saturate(
    build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is proven of one window does not hold for many of them."""
    monkeypatch.setenv("SNN_COMPILE_ENGINE", build)
    n_steps = 9
    net = Builder(3, (2, 1, 1), n_steps=n_steps, coding=InputCoding.EVENTS, high=1)
    synapses = net.dense(INPUT, (1, 1, 1), exponent=10)
    down_or_up = QTensor(np.array([[-127, 127]]), QFormat(8))
    net.nodes[-1] = replace(net.nodes[-1], weight=down_or_up)
    neurons = net.neurons("subtract", synapses)
    net.neurons("readout", net.dense(neurons, (1, 1, 1)))
    program = net.build()
    events = np.zeros((40, n_steps, 2, 1, 1), np.int64)
    events[:20, :, 0] = 1
    events[20:, :, 1] = 1
    long = QuantizedGraph(program.graph, replace(program.window, n_steps=n_steps * len(events)))
    expected = reference.run(long, events.reshape(1, -1, 2, 1, 1), record=True)
    assert not abi.may_saturate(program, program.populations[0])
    assert abi.may_saturate(long, long.populations[0])
    session = Session(program, keep_state=True)
    (readout,) = expected.outputs
    found = [int(session(frame[None]).outputs[readout].item()) for frame in events]
    assert found == expected.messages[readout][0, n_steps - 1 :: n_steps].ravel().tolist()
    assert found[-1] != found[0]


@pytest.mark.parametrize("poisson", [False, True])
def test_frames_that_follow_each_other_without_a_reset(
    build: str, poisson: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each frame is held for its window, or drawn as random spikes."""
    monkeypatch.setenv("SNN_COMPILE_ENGINE", build)
    n_steps = 6
    program, frames = networks.structures(5, "leaky", n_steps, poisson=poisson)
    sent = reference.input_messages(program, frames)
    at_once = sent.reshape(1, -1, *sent.shape[2:])
    long = QuantizedGraph(program.graph, replace(program.window, n_steps=at_once.shape[1]))
    expected = reference.run_messages(long, at_once, record=True)
    session = Session(program, keep_state=True)
    for k, frame in enumerate(frames):
        for name, values in session(frame[None]).outputs.items():
            assert np.array_equal(values, expected.messages[name][:, n_steps * (k + 1) - 1])


@pytest.mark.usefixtures("compiled_engine")
def test_state_is_kept_where_there_is_one() -> None:
    made = scheduled("sync", "branches", 3, 7).program
    for program in (networks.mlp(0, "graded", 1)[0], made):
        with pytest.raises(UsageError, match="no state to keep") as raised:
            Session(program, keep_state=True)
        assert raised.value.code == "no-state"


def test_the_reference_keeps_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    program, _ = several_inputs.random_network(1, "subtract", 3, InputCoding.EVENTS)
    monkeypatch.setenv("SNN_COMPILE_ENGINE", "off")
    with pytest.raises(UsageError, match="switched off"):
        Session(program, keep_state=True)


# In Python.


def test_a_stream_in_python(folder: Path, digits: np.ndarray) -> None:
    compiled = load(folder)
    expected = compiled.run(digits)
    with compiled.stream() as stream:
        assert np.array_equal(list(stream.answers(digits)), expected)
        assert stream.latency.calls == len(digits)
        figures = stream.latency.call
        assert 0 < figures.p50 <= figures.p90 <= figures.p99 <= figures.max
        assert stream.latency.engine.p50 < figures.p50
        assert np.array_equal(stream({"x": digits[3]}), expected[3])


@pytest.mark.parametrize(
    ("sample", "code"),
    [
        (np.zeros((1, 1, 8, 8)), "wrong-shape"),
        (np.zeros((1, 8)), "wrong-shape"),
        (np.full((1, 8, 8), "a"), "wrong-shape"),
        (np.full((1, 8, 8), np.nan), "not-finite"),
        ({"y": np.zeros((1, 8, 8))}, "missing-key"),
    ],
)
def test_samples_that_are_none(folder: Path, sample: object, code: str) -> None:
    stream = load(folder).stream()
    with pytest.raises(UsageError) as raised:
        stream(sample)  # type: ignore[arg-type]
    assert raised.value.code == code
    with pytest.raises(UsageError, match="no sample"):
        _ = stream.latency


def test_percentiles_are_of_calls_that_were_made() -> None:
    durations = latency.Durations()
    for k in range(1, 1001):
        durations.add(k * 1_000_000, k * 1000)
    found = durations.latency()
    assert found.calls == 1000
    assert found.call == latency.Percentiles(500, 900, 990, 1000)
    assert found.engine.p99 == 0.99


def test_a_stream_without_an_end_keeps_the_latest_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "KEPT", 512)
    durations = latency.Durations()
    for k in range(2000):
        durations.add(k, k)
    found = durations.latency()
    assert (found.calls, found.call.max) == (512, 1999 / 1e6)
    assert found.call.p50 == (1999 - 256) / 1e6


# On the command line.


def run(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own, with something on its standard input."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=given, capture_output=True, check=False
    )


def npy(*arrays: np.ndarray) -> bytes:
    """Arrays as a sensor writes them."""
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["out.npz", "out.csv", "out.jsonl"])
def test_files_hold_what_those_of_a_run_hold(
    folder: Path, examples: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["run", str(folder), "--data", str(examples / "digits_evaluate.npz"), "-q"]
    assert main([*data, "-o", str(tmp_path / "run" / name)]) == 2  # no such folder
    for one in ("run", "stream"):
        (tmp_path / one).mkdir()
        more = ["--stream", "--json"] if one == "stream" else ["--json"]
        assert main([*data, *more, "-o", str(tmp_path / one / name)]) == 0
    whole, streamed = capsys.readouterr().out.split("}\n{")
    said = json.loads("{" + streamed)
    assert said["top1"] == json.loads(whole + "}")["top1"]
    assert {*said["latency"]} == {"unit", "calls", "call", "engine"}
    if name != "out.npz":
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "stream" / name).read_bytes()
        return
    with np.load(tmp_path / "run" / name) as run, np.load(tmp_path / "stream" / name) as stream:
        kept = {key for key in run.files if not key.startswith("spikes/")}
        assert {*stream.files} == kept
        assert all(np.array_equal(run[key], stream[key]) for key in kept)


def test_a_sensor_on_a_pipe(folder: Path, digits: np.ndarray) -> None:
    """Single samples and several, in any order of memory, answered line by line."""
    sent = npy(digits[0], digits[1:3], np.asfortranarray(digits[3]), digits[4].astype(">f8"))
    done = run(folder, "--stream", "--data", "-", "-o", "-", "--top", "1", given=sent)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["sample"] for line in lines] == [0, 1, 2, 3, 4]
    assert [line["top1"] for line in lines] == load(folder).run(digits[:5]).argmax(1).tolist()
    assert b"engine alone" in done.stderr


def test_an_answer_is_there_before_the_next_sample(folder: Path, digits: np.ndarray) -> None:
    call = [*COMMAND, str(folder), "--stream", "--data", "-", "-o", "-"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(call, **pipes) as process:  # type: ignore[call-overload]
        for k in range(3):
            process.stdin.write(npy(digits[k]))
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["sample"] == k
        process.stdin.close()
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "standard input: error[empty-data]"),
        (b"garbage", "error[unreadable-data]: member 'frame 0' is not an array"),
        (npy(np.zeros((1, 8, 8)))[:-3], "error[unreadable-data]: frame 0 ends after 509 of 512"),
        (npy(np.zeros((1, 8, 8))) + b"x", "error[unreadable-data]: member 'frame 1'"),
        (npy(np.zeros((1, 9, 9))), "standard input, frame 0: error[wrong-shape]"),
        (
            npy(np.zeros((3, 1, 8, 8))) + npy(np.full((1, 8, 8), np.inf)),
            "standard input, frame 1: error[not-finite]",
        ),
        (npy(np.array("text")), "error[unreadable-data]"),
        (
            npy(np.zeros(1)).replace(b"(1,),", b"(99999999999, 1, 8, 8),", 1)[:128],
            "error[",
        ),
    ],
)
def test_what_no_sensor_sends(
    folder: Path,
    tmp_path: Path,
    given: bytes,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(given))))
    output = tmp_path / "out.csv"
    line = ["run", str(folder), "--stream", "--data", "-", "-o", str(output)]
    assert main(line) == 2
    assert said in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    "more",
    [
        ["--data", "-"],
        ["--data", "x.npz", "-o", "-"],
        ["--data", "x.npz", "--keep-state"],
        ["--stream", "--data", "x.npz", "--trace"],
        ["--stream", "--data", "x.npz", "--host-tail"],
        ["--stream", "--data", "-", "-o", "-", "--json"],
        ["--stream", "--data", "-", "--top", "3"],
    ],
)
def test_options_without_a_meaning(
    folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(folder), *more]) == 2
    assert "error[bad-option]" in capsys.readouterr().err


def test_frames_wait_for_all_of_their_bytes() -> None:
    """A pipe delivers what it has, in pieces of any size."""

    class Slow(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.content = content

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            piece, self.content = self.content[:3], self.content[3:]
            buffer[: len(piece)] = piece
            return len(piece)

    arrays = [np.arange(6).reshape(2, 3), np.ones(4, np.float32)]
    found = list(pipe.frames(io.BufferedReader(Slow(npy(*arrays))), "pipe"))
    assert [array.tolist() for array in found] == [array.tolist() for array in arrays]
