"""The jobs for GitHub and GitLab are well formed, and their commands are ours."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from snn_compile.cli.group import cli, with_command

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"
yaml = pytest.importorskip("yaml")

JOB = {"runs-on", "timeout-minutes", "steps"}
STEP = {"name", "uses", "run", "with", "if"}
GITLAB_JOB = {"stage", "image", "timeout", "before_script", "script", "artifacts"}
"""Keys of the formats that these jobs use."""


def read(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text())


def commands(script: str) -> list[list[str]]:
    lines = [shlex.split(line) for line in script.splitlines()]
    return [line[1:] for line in lines if line[0] == "snn-compile"]


def check_command(words: list[str]) -> None:
    """Parse a command line like the program does, without running it."""
    words = with_command(words)
    command = cli.get_command(None, words[0])
    context = command.make_context(words[0], list(words[1:]))
    assert context.params


def test_the_job_for_github():
    document = read("github.yml")
    assert set(document) == {"name", True, "permissions", "jobs"}  # on: is true in YAML 1.1
    assert set(document[True]) == {"push", "pull_request"}
    (job,) = document["jobs"].values()
    assert set(job) == JOB
    found = []
    for step in job["steps"]:
        assert set(step) <= STEP
        assert ("uses" in step) != ("run" in step)
        assert "uses" not in step or step["uses"].startswith("actions/")
        found += commands(step.get("run", ""))
    assert [words[0] for words in found] == ["compile", "verify"]
    for words in found:
        check_command(words)
    assert all("--github" in words for words in found)


def test_the_job_for_gitlab():
    document = read("gitlab.yml")
    job = document.pop("snn-compile")
    assert document == {"stages": [job["stage"]]}
    assert set(job) == GITLAB_JOB
    found = [words for line in job["script"] for words in commands(line)]
    assert [words[0] for words in found] == ["compile", "verify"]
    for words in found:
        check_command(words)
    written = {words[words.index("--junit") + 1] for words in found}
    assert set(job["artifacts"]["reports"]["junit"]) == written
