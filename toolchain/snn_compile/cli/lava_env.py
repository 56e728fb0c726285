"""``snn-compile lava-env``: make the environment that Lava runs in."""

from __future__ import annotations

import click

from snn_compile.cli.console import common, progress_observer, progress_options, results


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
    observer = progress_observer(quiet=quiet, no_progress=no_progress)
    made = backend.environment_status()
    if made is None:
        observer.stage("lava-env", "a Python 3.10 and its packages, about a minute")
        with observer.activity("installing"):
            made = backend.create_environment()
    results().print(f"Lava's environment is ready: {made}")
