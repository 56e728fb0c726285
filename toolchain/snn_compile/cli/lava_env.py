"""``snn-compile lava-env``: make the environment that Lava runs in."""

from __future__ import annotations

import click

from snn_compile.cli.console import common, messages, progress_options, results


@click.command("lava-env", short_help="Create Lava's environment.")
@progress_options
@common
def command(quiet: bool, no_progress: bool) -> None:
    """Make the environment that Lava runs in.

    Lava needs Python 3.10 and older libraries than this program, so it lives in an environment of
    its own and runs as a child process.
    """
    from snn_compile.plugins import BACKENDS, NeedsEnvironment

    backend = BACKENDS.load("lava")
    if not isinstance(backend, NeedsEnvironment):
        raise TypeError("the Lava backend makes no environment")
    console = messages()
    if quiet or no_progress or not console.is_terminal:
        made = backend.create_environment()
    else:
        with console.status("making Lava's environment (about half a minute)"):
            made = backend.create_environment()
    results().print(f"Lava's environment is ready: {made}")
