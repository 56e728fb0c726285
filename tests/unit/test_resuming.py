"""After an interruption the last line is the command that goes on from there."""

from __future__ import annotations

import click
import pytest

from snn_compile.cli.failures import report_failure
from snn_compile.cli.resuming import naming_resumption
from snn_compile.cli.signals import Terminated
from snn_compile.errors import DeviceError, UsageError


def last_line(
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    words: tuple[str, ...] | None,
    *options: str,
    kept: bool = True,
) -> str:
    """The last line after an error in a command with these words."""
    with click.Context(click.Command("tune"), obj=words) as root:
        with click.Context(click.Command("tune"), parent=root):
            with pytest.raises(type(error)), naming_resumption(lambda: kept, *options):
                raise error
    report_failure(error, debug=False)
    return capsys.readouterr().err.splitlines()[-1]


WORDS = ("tune", "my net.onnx", "--train", "t.npz")


SURROUNDINGS = [DeviceError("lost", code="scheduler-lost"), UsageError("full", code="worker-disk")]


@pytest.mark.parametrize(
    "error", [Terminated(2), KeyboardInterrupt(), MemoryError(), OSError(28), *SURROUNDINGS]
)
def test_the_last_line_is_the_command(
    capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    again = "resume with: snn-compile tune 'my net.onnx' --train t.npz"
    assert last_line(capsys, error, WORDS) == again


def test_an_option_is_added_once(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("a.onnx",), ("a.onnx", "--resume")):
        shown = last_line(capsys, Terminated(15), words, "--resume")
        assert shown == "resume with: snn-compile a.onnx --resume"


def test_nothing_is_named_where_nothing_is_kept_or_the_input_is_wrong(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert last_line(capsys, Terminated(2), WORDS, kept=False) == "interrupted"
    assert "resume" not in last_line(capsys, UsageError("bad", code="bad-option"), WORDS)


def test_outside_a_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = last_line(capsys, Terminated(2), None, "--resume")
    assert shown == "resume with: the same command --resume"
