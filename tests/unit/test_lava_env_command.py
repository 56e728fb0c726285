"""``lava-env`` says what it does before it does it, and nothing where there is nothing to do."""

from __future__ import annotations

import pytest

from snn_backends.lava import LavaBackend
from snn_compile.cli import main
from snn_compile.report import heartbeat


@pytest.fixture
def made(monkeypatch):
    calls = []
    monkeypatch.setattr(LavaBackend, "environment_status", lambda self: None)
    monkeypatch.setattr(LavaBackend, "create_environment", lambda self: calls.append(1) or "made")
    return calls


def test_it_says_what_it_makes_first(made, capsys):
    assert main(["lava-env"]) == 0
    said = capsys.readouterr()
    assert "Python 3.10 and its packages" in said.err
    assert said.out == "Lava's environment is ready: made\n"
    assert made == [1]


def test_it_goes_on_saying_so(made, monkeypatch, capsys):
    monkeypatch.setattr(heartbeat, "SILENCE", 0.0)
    monkeypatch.setattr(heartbeat, "SHARE", 0.0)
    monkeypatch.setattr(heartbeat, "_POLL", 0.001)
    said = []

    def create(self):
        while "installing" not in "".join(said):
            said.append(capsys.readouterr().err)
        return "made"

    monkeypatch.setattr(LavaBackend, "create_environment", create)
    assert main(["lava-env"]) == 0


@pytest.mark.parametrize("option", ["--quiet", "--no-progress"])
def test_it_is_silent_if_asked(made, capsys, option):
    assert main(["lava-env", option]) == 0
    assert "installing" not in capsys.readouterr().err


def test_what_is_there_is_not_made_again(made, monkeypatch, capsys):
    monkeypatch.setattr(LavaBackend, "environment_status", lambda self: "there")
    assert main(["lava-env"]) == 0
    assert capsys.readouterr().err == ""
    assert made == []
