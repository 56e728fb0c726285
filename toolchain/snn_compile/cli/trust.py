"""The options that sign compiled folders and verify their signer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snn_compile.cli.console import messages, results

if TYPE_CHECKING:
    from snn_compile.bundle import CompiledModel
    from snn_compile.signing import SigningKey

signer = click.option(
    "--signer",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Public keys, one of which must have signed DIR.",
)
"""For commands that read a compiled folder."""
sign = click.option(
    "--sign",
    "key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="Sign the folder: a private key, Ed25519, of OpenSSH or in PEM.",
)
"""For commands that write one."""


def signing_key(path: Path | None) -> SigningKey | None:
    """The signing key, if one is named; its passphrase is read from a terminal.

    Raises:
        UsageError: the key is not usable.
    """
    if path is None:
        return None
    from snn_compile.signing import SigningKey
    from snn_compile.signing.keys import passphrase_of_environment

    def ask_passphrase() -> str | None:
        known = passphrase_of_environment()
        if known is not None or not sys.stdin.isatty():
            return known
        prompt = f"passphrase of {path}"
        return str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True))

    return SigningKey.read(path, ask_passphrase)


def show_key(key: SigningKey | None, *, as_json: bool) -> None:
    """Print the key that signed the folder written, if any."""
    if key is not None and not as_json:
        from snn_compile.report.terminal import row

        results().print(row("signed", f"by {key.public}"))


def open_folder(folder: Path, signer: Path | None = None) -> CompiledModel:
    """A compiled folder; if a signer is required, it is verified before anything else is read.

    Prints a warning about an older schema on standard error.

    Raises:
        CompileError: as ``CompiledModel.load``.
    """
    from snn_compile.bundle import CompiledModel

    compiled = CompiledModel.load(folder, signer=signer)
    if compiled.findings:
        from snn_compile.report.progress import TerminalObserver

        observer = TerminalObserver(messages())
        for finding in compiled.findings:
            observer.finding(finding)
    return compiled


def signature_of(folder: Path, signer: Path | None) -> str:
    """A sentence on the signature of an opened folder; empty without one."""
    from snn_compile.errors import VerificationError
    from snn_compile.signing import claimed_key, is_signed

    if not is_signed(folder):
        return ""
    try:
        by = claimed_key(folder)
    except VerificationError as error:
        return f"a signature that cannot be read: {error.message}"
    if signer is None:
        return f"a signature of {by} is present but has not been verified (use --signer FILE)"
    return f"signed by {by}, and nothing has changed since"


def print_signer(folder: Path, signer: Path | None, *, quiet: bool) -> None:
    """Print the signer on standard error; with ``quiet`` only if the signature is unverified."""
    sentence = signature_of(folder, signer)
    if sentence and not (quiet and signer):
        messages().print(sentence, soft_wrap=True)
