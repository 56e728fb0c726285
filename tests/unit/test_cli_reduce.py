"""``snn-compile reduce`` and ``inspect --text``, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import networks
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import UsageError
from snn_compile.ir.stages import ANNGraph, SpikingGraph
from snn_compile.ir.text import dump_text
from snn_compile.reduction import passes
from snn_compile.reduction.case import Case, read, read_text, write

CHECK = "grep -q IFNeurons"


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A text with stimuli, in the working folder."""
    monkeypatch.chdir(tmp_path)
    program, frames = networks.structures(1, "subtract", 4)
    write(tmp_path / "net.snt", Case(program, frames))
    return tmp_path / "net.snt"


@pytest.fixture(scope="module")
def folder(examples, once):
    """The small perceptron, compiled."""

    def make(target):
        line = [str(examples / "digits_mlp.onnx"), "-q", "--no-emit", "-o", str(target / "mlp.snn")]
        assert main(line) == 0

    return once("reduce_mlp", make) / "mlp.snn"


def test_a_text_and_its_files_read_back(net):
    program, frames = networks.structures(1, "subtract", 4)
    assert {p.name for p in net.parent.iterdir()} == {"net.snt", "net.npz", "net.stimulus.npz"}
    case = read(net)
    assert dump_text(case.program) == dump_text(program)
    np.testing.assert_array_equal(case.frames, frames)


def test_stimuli_that_are_not_there_are_made_up(net):
    (net.parent / "net.stimulus.npz").unlink()
    one, other = read(net), read(net)
    np.testing.assert_array_equal(one.frames, other.frames)
    given = one.program.input
    assert (one.frames.min(), one.frames.max()) == (given.low, given.high)


def test_reduce_with_a_command(net, capsys):
    assert main(["reduce", "net.snt", "--check", CHECK]) == 0
    out, err = capsys.readouterr()
    assert "wrote net.reduced.snt after" in out
    assert "  network " in err
    assert read(Path("net.reduced.snt")).size.nodes == 5
    assert not Path("net.reduced.npz").exists()
    assert main(["reduce", "net.reduced.snt", "--check", CHECK, "--json", "-q"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["before"] == said["after"]
    assert said["complete"] is True
    assert said["text"] == "net.reduced.reduced.snt"


def test_a_command_gets_the_stimuli(net):
    """They stand beside the text; a command may also find its own words around the path."""
    line = "sh -c 'text=${0#@}; test -s ${text%.snt}.stimulus.npz && grep -q relay=true $text' @{}"
    assert main(["reduce", "net.snt", "--check", line, "-o", "out.snt", "-q"]) == 0
    assert any(getattr(node, "relay", False) for node in read(Path("out.snt")).program.graph)


def test_no_shell_reads_the_command(net, capsys):
    line = "cat {} ; touch pwned"
    assert main(["reduce", "net.snt", "--check", line]) == 2
    assert "error[nothing-to-reduce]" in capsys.readouterr().err
    assert not Path("pwned").exists()


def test_a_command_that_hangs_is_ended(net, capsys):
    line = "sh -c '(sleep 600; touch late) & sleep 600; touch late'"
    assert main(["reduce", "net.snt", "--check", line, "--time-limit", "0.2"]) == 2
    assert "error[timed-out]" in capsys.readouterr().err
    assert not Path("late").exists()  # nobody has waited for what hangs


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere.snt", "--check", CHECK], 2, "error[no-such-file]: no such file"),
        (["net.snt", "--check", "no-such-command"], 2, "error[bad-option]: 'no-such-command'"),
        (["net.snt", "--check", "'"], 2, "error[bad-option]"),
        (["net.snt", "--check", " "], 2, "error[bad-option]"),
        (["net.snt", "--check", "false"], 2, "error[nothing-to-reduce]"),
        (["net.snt", "--check", CHECK, "--device", "engine"], 2, "exclude each other"),
        (["net.snt", "--device", "nothing"], 2, "error[unknown-device]"),
        (["net.snt", "--check", CHECK, "--set", "a=b"], 2, "--set has no effect without --device"),
        (["net.snt", "--check", CHECK, "--config", "c.toml"], 2, "without --bisect-passes"),
        (["net.snt", "--check", CHECK, "-o", "other.snt"], 2, "other.npz: error[output-exists]"),
        (["net.snt", "--bisect-passes"], 2, "--bisect-passes needs a check"),
        (["net.npz", "--check", CHECK], 3, "net.npz: error[bad-text]: the text cannot be read"),
        (["net.snt", "--check", CHECK, "--stimulus", "net.npz"], 2, "error[unreadable-data]"),
        (["net.snt", "--check", CHECK, "-o", "folder"], 2, "error[output-exists]"),
        (["float.snt"], 2, "error[wrong-stage]: its stage is ANNGraph"),
        (["wide.snt", "--check", CHECK], 2, "error[too-large]"),
        (["odd.snt", "--check", CHECK], 3, "odd.snt:2:4: error[bad-text]: expected ': '"),
    ],
)
def test_what_is_refused(net, words, code, said, capsys):
    Path("folder").mkdir()
    head = "snn-text 1 QuantizedGraph window=("
    wide = f'{head}"rate",1)\n  x: Input 99999999x999 format=u1 low=0 high=1 coding=current\n'
    wide += "  s: SparseSynapses 1 <- x indptr=int64[0,0] indices=int64[] weight=s8[] exponent=0\n"
    Path("wide.snt").write_text(wide + "  y: Readout 1 <- s bias=u1[0]\n")
    Path("odd.snt").write_text(f'{head}"rate",1)\n  x\n')
    float_net = "snn-text 1 ANNGraph\n  x: Input 1\n  y: Output 1 <- x\n"
    Path("float.snt").write_text(float_net)
    Path("other.npz").write_bytes(b"somebody's")
    before = sorted(p.name for p in Path().iterdir())
    assert main(["reduce", *words, "-q"]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert not out
    assert sorted(p.name for p in Path().iterdir()) == before


def test_a_float_network(examples, tmp_path, monkeypatch, capsys):
    """As passes meet it: no executor runs it, and a command says what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(examples / "digits_cnn.onnx"), "--text", "cnn.snt"]) == 0
    capsys.readouterr()
    assert main(["reduce", "cnn.snt", "--check", "grep -q :.BatchNorm", "-q"]) == 0
    assert "wrote cnn.reduced.snt" in capsys.readouterr().out
    kinds = [type(node).__name__ for node in read_text(Path("cnn.reduced.snt")).graph]
    assert kinds == ["Input", "BatchNorm", "Output"]


def test_a_compiled_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for network in (folder, folder / "model.snn"):
        line = ["reduce", str(network), "--check", "grep -q relu1", "-o", "out.snt", "-q"]
        assert main(line) == 0
        assert read(Path("out.snt")).size.nodes == 3


def test_the_text_of_a_folder_and_of_a_model(folder, examples, tmp_path):
    text = tmp_path / "mlp.snt"
    assert main(["inspect", str(folder), "--text", str(text)]) == 0
    program = CompiledModel.load(folder).program
    assert dump_text(read_text(text)) == dump_text(program)
    assert main(["inspect", str(examples / "digits_mlp.onnx"), "--text", str(text)]) == 0
    assert isinstance(read_text(text), ANNGraph)


def test_the_first_pass_that_is_wrong(examples, tmp_path, monkeypatch, capsys):
    """Neurons are there from the pass that makes them; the network before it is written, too."""
    monkeypatch.chdir(tmp_path)
    line = ["reduce", str(examples / "digits_mlp.onnx"), "--bisect-passes"]
    assert main([*line, "--check", "grep -q Neurons", "-o", "at.snt"]) == 0
    out, err = capsys.readouterr()
    assert out == "first wrong after to-spiking; right after isolate-operands\n"
    assert "import: right" in err
    assert isinstance(read_text(Path("at.snt")), SpikingGraph)
    assert isinstance(read_text(Path("at.before.snt")), ANNGraph)


def test_every_step_is_asked_until_one_is_wrong():
    steps = [passes.Step(name, name) for name in ("a", "b", "c")]
    found = [(step.name, wrong) for step, wrong in passes.first_wrong(steps, "b".__eq__)]
    assert found == [("a", False), ("b", True)]
    with pytest.raises(UsageError) as caught:
        list(passes.first_wrong(steps, "d".__eq__))
    assert caught.value.code == "nothing-to-reduce"
