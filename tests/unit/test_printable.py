"""Nothing that comes from a file reaches a terminal, a report or a message unescaped."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import hostile
from snn_compile.bundle import MODEL, CompiledModel
from snn_compile.cli import main
from snn_compile.cli.console import messages
from snn_compile.errors import CompileError, ModelError, Origin
from snn_compile.ir.graph import Graph, Node, NodeId
from snn_compile.passes import Finding
from snn_compile.printable import printable, printable_json, printable_lines
from snn_compile.report import html, schema
from snn_compile.report.progress import TerminalObserver

NAMES = hostile.BREAKS | hostile.TERMINAL
ALL = "".join(NAMES.values())
FAKE = "\nerror[fake]: all is well\nhint: run this"


def assert_harmless(text: str) -> None:
    """Lines of printable characters."""
    for line in text.split("\n"):
        assert line.isprintable(), line


@pytest.mark.parametrize("name", NAMES)
def test_text_becomes_printable_once(name):
    text = printable(f"a{NAMES[name]}b")
    assert_harmless(text)
    assert "\n" not in text
    assert printable(text) == text
    assert text.startswith("a")
    assert text.endswith("b")


@pytest.mark.parametrize(
    "text", ["relu_1", "/features/conv.0/Conv", "Größe 42 µs", "層", "a\\nb", ""]
)
def test_printable_text_stays_as_it_is(text):
    assert printable(text) == text


def test_only_indented_lines_follow_a_message():
    assert printable_lines("failed:\n  one\n  two") == "failed:\n  one\n  two"
    assert "\n" not in printable_lines(f"'{FAKE}'")


def test_json_means_the_same():
    value = {ALL: ["\ud800", "\U000e0001", 1, None, "µ"]}
    text = printable_json(value)
    assert_harmless(text)
    assert "µ" in text
    assert json.loads(text) == value


def test_errors_findings_and_origins_are_printable():
    name = ALL + FAKE
    error = CompileError(name, origin=Origin(name, name, name), hint=name)
    finding = Finding(name, Origin(name, name, name), hint=name)
    lines = str(error).split("\n")
    assert len(lines) == 2
    assert_harmless(str(error))
    assert str(finding).isprintable()


def test_a_graph_takes_printable_ids_alone():
    for name in (ALL, "\n", 7, None):
        with pytest.raises(ValueError, match="is not an id"):
            Graph([Node(id=NodeId(name), inputs=(), shape=(1,), origin=Origin("f"))])


# ------------------------------------------------------------------------------- through the tool


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    hostile.write_model(folder / "net.onnx", ALL + FAKE)
    np.savez(folder / "x.npz", x=np.random.default_rng(0).random((8, 3), np.float32))
    line = [str(folder / "net.onnx"), "--evaluate", str(folder / "x.npz"), "--emit", "lava,nir"]
    options = ["--coding", "rate", "-T", "4", "--reset", "zero", "-o", str(folder / "net.snn")]
    assert main([*line, *options, "-q"]) == 0
    return folder / "net.snn"


def said(capsys, *words: str) -> str:
    main([str(word) for word in words])
    captured = capsys.readouterr()
    text: str = captured.out + captured.err
    assert text
    assert_harmless(text)
    assert "\nerror[fake]" not in text
    assert "\nhint: run this" not in text
    return text


def test_every_command_shows_names_escaped(compiled, tmp_path, capsys):
    model = compiled.parent / "net.onnx"
    data = compiled.parent / "x.npz"
    shown = [
        said(capsys, "check", model),
        said(capsys, "check", model, "--json"),
        said(capsys, "inspect", model),
        said(capsys, "inspect", compiled),
        said(capsys, "report", compiled),
        said(capsys, "report", compiled, "--json"),
        said(capsys, "run", compiled, "--data", data),
        said(capsys, "run", compiled, "--data", data, "--json"),
        said(capsys, model, "-o", tmp_path / "again.snn", "-T", "4", "--dump-after", "all"),
        said(capsys, "verify", compiled, "--against", "golden,nir", "--no-progress"),
        said(capsys, "hil", compiled, "--device", "faulty:stuck", "--no-progress"),
        said(capsys, "hil", compiled, "--device", "faulty:stuck", "--json"),
        said(capsys, "hil", compiled, "--device", "reference", "--record", tmp_path / "a.npz"),
        said(capsys, "diff", compiled, tmp_path / "a.npz"),
    ]
    assert sum("\\x1b[2J" in text for text in shown) > 5


def test_files_hold_names_escaped(compiled):
    page = (compiled / "report.html").read_text(encoding="utf-8")
    assert_harmless(page)
    assert page.count("<script") == page.count(html.SCRIPT) == 1
    assert page.count("<img") == page.count('<img src="data:image/png;base64,')
    assert "&lt;script&gt;" in page
    for path in compiled.rglob("*.json"):
        assert_harmless(path.read_text(encoding="utf-8"))
    assert json.loads((compiled / "report.json").read_text(encoding="utf-8"))["layers"]


def test_refusals_show_names_escaped(tmp_path, capsys):
    hostile.write_model(tmp_path / "net.onnx", ALL + FAKE)
    model = onnx.load(str(tmp_path / "net.onnx"))
    model.graph.node[1].op_type = "Strange" + ALL + FAKE
    model.graph.node[2].input[1] = "nothing" + ALL + FAKE
    onnx.save(model, str(tmp_path / "net.onnx"))
    for words in (["check"], ["check", "--json"], ["compile"]):
        text = said(capsys, words[0], tmp_path / "net.onnx", *words[1:])
        assert "Strange" in text
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n; rm -rf ~" + FAKE
    onnx.save(model, str(tmp_path / "net.onnx"))
    (stated,) = [
        line
        for line in said(capsys, "check", tmp_path / "net.onnx").splitlines()
        if "--input-shape" in line
    ]
    words = stated.rpartition("--input-shape x=1,")[2]
    assert words.startswith("NRMRF")
    assert words.isalnum()


def test_names_that_become_the_same_are_refused(tmp_path, capsys):
    hostile.write_model(tmp_path / "net.onnx", "\n")
    model = onnx.load(str(tmp_path / "net.onnx"))
    model.graph.node[0].output[0] = "hidden\\n"
    model.graph.node[1].input[0] = "hidden\\n"
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert main(["check", str(tmp_path / "net.onnx")]) == 3
    assert "is defined twice" in capsys.readouterr().err


def test_arguments_and_files_that_are_missing_are_shown_escaped(tmp_path, capsys):
    for words in (["check", f"{tmp_path}/{ALL}{FAKE}.onnx".replace("\0", "")], ["targets", ALL]):
        assert "error[" in said(capsys, *words)


def test_names_of_files_are_shown_escaped(compiled, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"net\x1b[2J\u202e{FAKE}.onnx".replace("/", "")
    shutil.copy(compiled.parent / "net.onnx", name)
    for words in (["check"], ["check", "--json"], ["inspect"], ["compile", "-o", "b.snn"]):
        assert "net\\" in said(capsys, words[0], name, *words[1:])


def test_a_strangers_report_is_shown_escaped(compiled, tmp_path, capsys):
    folder = shutil.copytree(compiled, tmp_path / "net.snn")
    path = folder / "report.json"

    def spoiled(value):
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return value + ALL + FAKE if isinstance(value, str) else value

    report = spoiled(json.loads(path.read_text(encoding="utf-8")))
    for words in (["report"], ["report", "--json"], ["inspect"], ["verify"]):
        path.write_text(json.dumps(report))
        assert "internal error" not in said(capsys, words[0], folder, *words[1:])
    assert_harmless(html.render(report))
    page = html.render(report)
    assert page.count("<script") == page.count(html.SCRIPT) == 1
    assert_harmless(schema.dumps(report))


def test_a_strangers_network_has_printable_ids(compiled, tmp_path):
    """Sealed anew, as anybody can."""
    folder = shutil.copytree(compiled, tmp_path / "net.snn")
    with zipfile.ZipFile(folder / MODEL) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members["program.json"])
    content["program"]["nodes"][-1]["id"] += "\x1b[2J"
    text = json.dumps(content)
    members |= {"program.json": text.encode()}
    members |= {"seal": hashlib.sha256(text.encode()).hexdigest().encode()}
    with zipfile.ZipFile(folder / MODEL, "w") as archive:
        for name, value in members.items():
            archive.writestr(name, value)
    with pytest.raises(ModelError, match="damaged"):
        CompiledModel.load(folder)


SSH = f"""#!{sys.executable}
import sys
sys.stdin.buffer.read()
sys.stderr.write({"no such thing " + ALL + FAKE!r})
sys.exit(3)
"""


def test_what_another_host_says_is_shown_escaped(compiled, tmp_path, capsys):
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH, encoding="utf-8")
    ssh.chmod(0o755)
    words = ["--device", "remote:me@host", "--set", f"ssh={ssh}", "-q"]
    text = said(capsys, "hil", compiled, *words)
    assert "error[remote-failed]" in text
    assert "no such thing" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_consoles_take_no_markup_and_no_sequences(monkeypatch, terminal):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    console = messages()
    console.width = 400
    console._force_terminal = terminal
    console.no_color = True
    observer = TerminalObserver(console)
    observer.stage("import", ALL)
    with observer.progress("evaluate {task}", f"{ALL} {{task}}", 3) as advance:
        advance(3)
    observer.finding(Finding(ALL, Origin(ALL, ALL), hint=ALL, warning=True))
    text = stream.getvalue()
    ours = re.sub(r"\x1b\[(\d+(;\d+)*)?[mKAl]|\x1b\[\?25[lh]|\r", "", text)  # rich's own
    assert_harmless(ours)
    assert "\x1b[2J" not in text
    assert "\x1b]" not in text
    assert "[bold red on white]equal[/] [link=https://example.org]x[/link]" in ours
