"""Signatures of compiled folders: authenticity and integrity.

A seal detects damage; anyone can compute a new one. A signature requires a key that the reader
trusts. It has the form of ``ssh-keygen -Y sign`` over a list of ``sha256sum``, so that both
programs can check a folder without this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from snn_compile.errors import Origin, UsageError, VerificationError
from snn_compile.files.documents import DAMAGE, DamagedError, describe_error, inside, read_bytes
from snn_compile.signing import sshsig
from snn_compile.signing.keys import PublicKey, SigningKey, public_keys
from snn_compile.signing.manifest import (
    MANIFEST,
    SIGNATURE,
    UNSIGNED,
    VERIFICATION,
    difference,
    entries,
    manifest,
    parse_hashes,
)

__all__ = [
    "UNSIGNED",
    "VERIFICATION",
    "PublicKey",
    "SigningKey",
    "check",
    "claimed_key",
    "entries",
    "is_signed",
    "public_keys",
    "sign",
    "trusted_keys",
]

_MAX_MANIFEST_SIZE, _MAX_SIGNATURE = 16 << 20, 64 << 10
_HINT = "do not trust its contents: get the folder again from its signer, or recompile"


def sign(folder: Path, key: SigningKey, seal: str) -> None:
    """Write the list of all files into a folder, and its signature.

    Args:
        folder: the complete folder.
        key: the signer's key.
        seal: seal of the network in it.
    """
    content = manifest(folder, seal)
    (folder / MANIFEST).write_bytes(content)
    (folder / SIGNATURE).write_bytes(sshsig.armor(key.sign(content)).encode())


def is_signed(folder: Path) -> bool:
    """Whether a signature is present; nothing is checked."""
    return any(os.path.lexists(folder / name) for name in (MANIFEST, SIGNATURE))


def claimed_key(folder: Path) -> PublicKey:
    """The claimed signing key of a folder, not verified.

    Raises:
        VerificationError: the signature is missing, or cannot be read.
    """
    return PublicKey(_signature(folder).key)


def trusted_keys(folder: Path, path: str | Path) -> tuple[PublicKey, ...]:
    """The keys in a file, which must be outside the folder that they verify.

    Raises:
        UsageError: it is inside, or the keys are not usable.
    """
    if Path(path).resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            "the keys are inside the folder that they verify, so anyone who altered it chose them",
            code="bad-key",
            origin=Origin(str(path)),
            hint="use a key from an independent source",
        )
    return public_keys(path)


def check(folder: Path, signers: Sequence[PublicKey]) -> PublicKey:
    """Verify that one of several keys signed a folder, and that it is unchanged.

    Returns:
        The key.

    Raises:
        VerificationError: ``not-signed``, ``wrong-signer``, or ``signature-broken``, which names
            the files that differ.
    """
    signature = _signature(folder)
    known = next((key for key in signers if key.content == signature.key), None)
    if known is None:
        by = PublicKey(signature.key)
        raise _refused(folder, f"it is signed by {by}, which is none of the keys", "wrong-signer")
    with _reading(folder, MANIFEST):
        content = read_bytes(inside(folder, MANIFEST), _MAX_MANIFEST_SIZE)
        if not known.has_signed(signature, content):
            raise DamagedError(f"{MANIFEST} is not what {known} signed")
        hashes = parse_hashes(content)
        found = difference(folder, hashes)
    if found:
        raise _refused(folder, f"it is not the folder that {known} signed: {found}")
    return known


def _signature(folder: Path) -> sshsig.Signature:
    if not os.path.lexists(folder / SIGNATURE):
        raise VerificationError(
            "it is not signed",
            code="not-signed",
            origin=Origin(str(folder)),
            hint="sign it when compiling: snn-compile MODEL --sign KEY",
        )
    with _reading(folder, SIGNATURE):
        text = read_bytes(inside(folder, SIGNATURE), _MAX_SIGNATURE).decode("ascii")
        return sshsig.parse_signature(text)


@contextmanager
def _reading(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise _refused(
            folder, f"the signature is broken: {name}: {describe_error(error)}"
        ) from error


def _refused(folder: Path, message: str, code: str = "signature-broken") -> VerificationError:
    return VerificationError(message, code=code, origin=Origin(str(folder)), hint=_HINT)
