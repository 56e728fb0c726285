"""SSHSIG, the format of ``ssh-keygen -Y sign`` (PROTOCOL.sshsig of OpenSSH), for Ed25519.

Only the framing is here: the arithmetic is done by the package ``cryptography``.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass

from snn_compile.files.documents import DamagedError

NAMESPACE = "snn-compile"
"""Namespace of signatures: one made for mail or for a commit is invalid here."""
KEY_TYPE = "ssh-ed25519"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
_MAGIC, _VERSION = b"SSHSIG", 1
_HASHES = {"sha512": hashlib.sha512, "sha256": hashlib.sha256}
_HASH = "sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_LINE = 70


@dataclass(frozen=True)
class Signature:
    """A parsed signature, not verified.

    Attributes:
        key: its claimed public key, 32 bytes.
        value: the signature itself, 64 bytes.
        hash: name of the hash of the message.
    """

    key: bytes
    value: bytes
    hash: str = _HASH


def signed_bytes(message: bytes, hash: str = _HASH) -> bytes:
    """The bytes that a key signs instead of the message itself."""
    digest = _HASHES[hash](message).digest()
    parts = (NAMESPACE.encode(), b"", hash.encode(), digest)
    return _MAGIC + b"".join(map(_string, parts))


def armor(signature: Signature) -> str:
    """The text of a signature's file."""
    value = _string(KEY_TYPE.encode()) + _string(signature.value)
    parts = (blob(signature.key), NAMESPACE.encode(), b"", signature.hash.encode(), value)
    content = _MAGIC + struct.pack(">I", _VERSION) + b"".join(map(_string, parts))
    text = base64.b64encode(content).decode()
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def parse_signature(text: str) -> Signature:
    """The signature in a file.

    Raises:
        DamagedError: it is not a signature of this kind.
    """
    lines = text.split()
    begin, end = _BEGIN.split(), _END.split()
    if lines[: len(begin)] != begin or lines[-len(end) :] != end:
        raise DamagedError("it is not an SSH signature")
    reader = _Reader(_decoded("".join(lines[len(begin) : -len(end)])))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != _VERSION:
        raise DamagedError("it is not an SSH signature of version 1")
    key = key_of(reader.string())
    namespace, _, hash = (reader.string().decode("ascii", "replace") for _ in range(3))
    value = reader.string()
    reader.end()
    if namespace != NAMESPACE:
        raise DamagedError(f"it was made for {namespace!r}")
    if hash not in _HASHES:
        raise DamagedError(f"its hash is {hash!r}")
    inner = _Reader(value)
    kind, made = inner.string(), inner.string()
    inner.end()
    if kind != KEY_TYPE.encode() or len(made) != SIGNATURE_BYTES:
        raise DamagedError("it is not an Ed25519 signature")
    return Signature(key, made, hash)


def blob(key: bytes) -> bytes:
    """A public key as OpenSSH packs it."""
    return _string(KEY_TYPE.encode()) + _string(key)


def key_of(packed: bytes) -> bytes:
    """The 32 bytes of a public key as OpenSSH packs it.

    Raises:
        DamagedError: it is another kind of key.
    """
    reader = _Reader(packed)
    kind, key = reader.string(), reader.string()
    reader.end()
    if kind != KEY_TYPE.encode() or len(key) != KEY_BYTES:
        raise DamagedError(f"a key of type {kind.decode('ascii', 'replace')!r}")
    return key


def decoded_key(text: str) -> bytes:
    """The 32 bytes of a public key as it stands in a line of a file; errors as of ``key_of``."""
    return key_of(_decoded(text))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DamagedError("it is not base64") from error


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


class _Reader:
    """Reads fields in OpenSSH's packing."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def take(self, size: int) -> bytes:
        if size > len(self._rest):
            raise DamagedError("it ends too early")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._rest:
            raise DamagedError("it continues beyond its end")
