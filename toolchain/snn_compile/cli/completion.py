"""``snn-compile completion``: the script with which a shell completes commands and options."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import click
from click.shell_completion import CompletionItem, get_completion_class

from snn_compile.cli.console import common

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "snn-compile", "_SNN_COMPILE_COMPLETE"
HELP = """Print the script with which SHELL completes commands, options and their values.

\b
bash    eval "$(snn-compile completion bash)"      in ~/.bashrc
zsh     eval "$(snn-compile completion zsh)"       in ~/.zshrc, after compinit
fish    snn-compile completion fish > ~/.config/fish/completions/snn-compile.fish
"""
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def plugins(kind: str) -> Complete:
    """Completes the names of installed plug-ins of a kind; none of them is imported."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        del ctx, param
        names = {entry.name for entry in entry_points(group=f"snn_compile.{kind}")}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]

    return complete


@click.command(
    "completion", help=HELP, short_help="Print the script that completes commands in a shell."
)
@click.argument("shell", type=click.Choice(SHELLS))
@common
def command(shell: str) -> None:
    """Print the script of a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise TypeError(f"click knows no {shell}")
    whole = click.get_current_context().find_root().command
    click.echo(found(whole, {}, PROGRAM, VARIABLE).source())
