"""What is said while a compilation runs, and to whom."""

from __future__ import annotations

import io

from rich.console import Console

from snn_compile.errors import Origin
from snn_compile.passes import Finding
from snn_compile.report.observer import Observer, SilentObserver
from snn_compile.report.progress import TerminalObserver


def consoles(*, tty: bool = False) -> tuple[Console, Console]:
    return tuple(  # type: ignore[return-value]
        Console(file=io.StringIO(), force_terminal=tty, width=120, color_system=None)
        for _ in range(2)
    )


def text(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


def work(observer: Observer) -> None:
    observer.stage("model", "net.onnx   opset 13 · 3 conv")
    observer.stage("target", "target loihi2 · coding graded")
    observer.stage("import", "118 nodes -> 30, nothing left out")
    with observer.progress("evaluate", "10,000 images", 10_000) as advance:
        advance(4_000)
        advance(6_000)
    observer.finding(Finding("folded into conv1"))
    observer.finding(
        Finding("wide", Origin("n.onnx", "c1", "Conv"), code="odd", hint="narrow it", warning=True)
    )
    observer.dump("fold-batch-norm", "GRAPH")


def test_the_header_is_a_result_and_the_rest_is_not() -> None:
    messages, results = consoles()
    work(TerminalObserver(messages, results))
    assert text(results) == "net.onnx   opset 13 · 3 conv\ntarget loihi2 · coding graded\n"
    lines = text(messages).splitlines()
    assert lines[1] == "  import        118 nodes -> 30, nothing left out"
    assert lines[2].startswith("  evaluate      10,000 images")
    assert lines[2].endswith("0:00:00")
    assert lines[3:] == ["n.onnx: node 'c1' (Conv): warning[odd]: wide", "hint: narrow it"]


def test_quiet_keeps_warnings() -> None:
    messages, results = consoles()
    work(TerminalObserver(messages, results, quiet=True))
    assert text(messages).splitlines()[0].startswith("n.onnx")


def test_json_on_standard_output_leaves_no_room_for_a_header() -> None:
    messages, _ = consoles()
    observer = TerminalObserver(messages, None)
    work(observer)
    assert "opset" not in text(messages)
    assert not observer.headed


def test_a_bar_on_a_terminal() -> None:
    messages, results = consoles(tty=True)
    work(TerminalObserver(messages, results))
    assert "━" in text(messages)
    plain, _ = consoles(tty=True)
    work(TerminalObserver(plain, results, bars=False))
    assert "━" not in text(plain)


def test_dumps_are_given_on_request() -> None:
    for wanted, dumped in (("fold-batch-norm", True), ("all", True), ("other", False)):
        messages, _ = consoles()
        work(TerminalObserver(messages, dump_after=(wanted,), show=str))
        assert ("GRAPH" in text(messages)) is dumped


def test_silence() -> None:
    work(SilentObserver())
