"""The outcome of a command in the forms that build servers read."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from snn_compile.errors import CompileError
from snn_compile.printable import printable
from snn_compile.report.outcome import Check, Outcome
from snn_compile.report.tables import Row, Table, markdown

_TAGS = {"failed": "failure", "error": "error"}


def junit(outcome: Outcome) -> str:
    """JUnit's XML: a test case for each check, as Jenkins, GitLab and others read it."""
    verdicts = [check.verdict for check in outcome.checks]
    seconds = sum(check.seconds or 0.0 for check in outcome.checks[:1])
    counts = {
        "name": f"snn-compile {outcome.command}",
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count("failed")),
        "errors": str(verdicts.count("error")),
        "skipped": str(verdicts.count("skipped")),
        "time": f"{seconds:.3f}",
    }
    root = ET.Element("testsuites", {key: counts[key] for key in counts if key != "skipped"})
    suite = ET.SubElement(root, "testsuite", counts)
    for check in outcome.checks:
        suite.append(_case(check, outcome))
    if outcome.warnings:
        out = ET.SubElement(suite, "system-out")
        out.text = "\n".join(
            f"warning[{_text(one.get('code'))}]: {_text(one.get('message'))}"
            for one in outcome.warnings
        )
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(check: Check, outcome: Outcome) -> ET.Element:
    name = f"snn-compile.{outcome.command}"
    words = {"classname": name, "name": f"{check.name}: {outcome.subject}"}
    if check.seconds is not None:
        words["time"] = f"{check.seconds:.3f}"
    case = ET.Element("testcase", {key: _text(value) for key, value in words.items()})
    for error in check.complaints:
        found = ET.SubElement(case, _TAGS[check.verdict])
        found.set("type", _text(error.code))
        found.set("message", _text(error.message))
        found.text = _text(str(error))
    if check.verdict == "skipped":
        ET.SubElement(case, "skipped").set("message", _text(check.skipped))
    return case


def _text(value: object) -> str:
    """A text that XML can hold: of what is not printable, only line breaks stay."""
    return printable(str(value), keep="\n")


def workflow_commands(outcome: Outcome) -> Iterator[str]:
    """Workflow commands of GitHub Actions: each error and each warning, in a line."""
    for error in outcome.complaints:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        yield _command("error", error.code, error.message + hint, _file_of(error))
    for warning in outcome.warnings:
        hint = f"\nhint: {warning['hint']}" if warning.get("hint") else ""
        yield _command("warning", str(warning.get("code")), f"{warning.get('message')}{hint}", "")


def _file_of(error: CompileError) -> str:
    return error.origin.file if error.origin else ""


def _command(kind: str, code: str, message: str, file: str) -> str:
    properties = {"file": file, "title": f"snn-compile: {code}"}
    words = ",".join(f"{k}={_property(_text(v))}" for k, v in properties.items() if v)
    return f"::{kind} {words}::{_data(_text(message))}"


def _data(text: str) -> str:
    """A message without meaning to the runner."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(outcome: Outcome) -> str:
    """A page in Markdown: the verdict, the checks, tables and warnings."""
    verdict = "passed" if outcome.passed else "failed"
    title = Table(f"snn-compile {outcome.command} {outcome.subject}: {verdict}", (), ())
    heading = markdown(title).split("\n", 1)[0].strip("*")
    parts = [f"## {heading}", ""]
    if len(outcome.checks) > 1 or not outcome.passed:
        parts.append(markdown(outcome.checks_table()))
    if outcome.notes:
        rows = tuple(Row((note,)) for note in outcome.notes)
        parts.append(markdown(Table("conclusions", ("",), rows)))
    parts += [markdown(table) for table in outcome.tables]
    if outcome.warnings:
        rows = tuple(
            Row((str(one.get("code") or "note"), str(one.get("message") or "")))
            for one in outcome.warnings
        )
        parts.append(markdown(Table("warnings", ("code", "message"), rows, numeric=False)))
    return "\n".join(parts)
