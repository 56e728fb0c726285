"""The commands, found by name and imported on first use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from snn_compile import __version__
from snn_compile.cli.failures import report_failure
from snn_compile.cli.signals import Terminated, signals_raise
from snn_compile.cli.streams import robust_streams

DEFAULT = "compile"
COMMANDS = (
    "compile",
    "check",
    "inspect",
    "run",
    "tune",
    "sweep",
    "verify",
    "reproduce",
    "hil",
    "diff",
    "compare",
    "neurobench",
    "reduce",
    "conformance",
    "report",
    "ui",
    "replay",
    "targets",
    "placement",
    "doctor",
    "completion",
    "lava-env",
)
FLAGS = {"--debug", "--quiet", "-q", "--no-progress", "--json"}
"""Options without a value that may stand before the name of a command."""

GROUP_OPTIONS = {"--help", "-h", "--version"}


class CommandGroup(click.Group):
    """Imports commands on demand; any other word is a model to compile."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, from its own file."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"snn_compile.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What a shell may put after the program's name: a command, or the file of a model."""
        found = super().shell_complete(ctx, incomplete)
        if found or incomplete.startswith("-"):
            return found
        return [CompletionItem(incomplete, type="file")]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default command if none is named."""
        return super().parse_args(ctx, with_command(args))


def with_command(args: list[str]) -> list[str]:
    """The arguments with a command in front.

    Raises:
        click.UsageError: the first argument looks like a misspelled command.
    """
    first = next((i for i, arg in enumerate(args) if arg not in FLAGS), len(args))
    if first < len(args) and args[first] in COMMANDS:
        return [args[first], *args[:first], *args[first + 1 :]]
    if not args or args[0] in GROUP_OPTIONS:
        return args
    if first < len(args) and args[first].replace("-", "").isalpha() and args[first][0] != "-":
        _refuse_misspelling(args[first])
    return [DEFAULT, *args]


def _refuse_misspelling(word: str) -> None:
    from difflib import get_close_matches

    close = get_close_matches(word, COMMANDS, n=1)
    if close and not Path(word).exists():
        raise click.UsageError(f"no command or file '{word}'; did you mean {close[0]}?")


HELP = """Compile a trained ONNX network into a bit-accurate, fixed-point spiking network.

\b
snn-compile MODEL.onnx                      compile it (the default command)
snn-compile MODEL.onnx --calibrate D.npz    ... with thresholds from data
snn-compile compile --help                  every option of compile
snn-compile tune MODEL.onnx --train D.npz   compile it, then train the spiking network
"""

EPILOG = """\b
Exit codes: 0 ok, 1 internal error, 2 usage, 3 model unreadable,
4 unsupported operator, 5 does not fit, 6 accuracy drop, 7 a bit differs,
8 device missing or lost, 128 + N ended by signal N (130: interrupted).
"""


@click.group(
    cls=CommandGroup,
    name="snn-compile",
    help=HELP,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="snn-compile", message="%(prog)s %(version)s")
def cli() -> None:
    """Choose a command."""


def run(argv: Sequence[str] | None) -> int:
    """Run a command line and return its exit code; never raises."""
    args = list(sys.argv[1:] if argv is None else argv)
    with robust_streams(), signals_raise():
        try:
            result = cli.main(
                args=args, prog_name="snn-compile", standalone_mode=False, obj=tuple(args)
            )
            sys.stdout.flush()
        except (Exception, KeyboardInterrupt, Terminated) as error:  # noqa: BLE001  (the last resort)
            return report_failure(error, debug="--debug" in args)
    return result if isinstance(result, int) else 0
