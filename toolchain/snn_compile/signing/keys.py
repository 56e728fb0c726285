"""Ed25519 keys in the common file formats: OpenSSH and PEM."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_compile.errors import CompileError, Origin, UsageError, raise_all
from snn_compile.extras import missing
from snn_compile.files.documents import DamagedError, describe_error, read_bytes
from snn_compile.signing import sshsig

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "SNN_COMPILE_SIGN_PASSPHRASE"
"""Environment variable with the passphrase of a private key, for use without a terminal."""
MAX_BYTES = 1 << 20
"""Most bytes of a key file."""
_PEM = b"-----BEGIN "
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PRIVATE_HINT = "make one: ssh-keygen -t ed25519 -f KEY"
_PUBLIC_HINT = "use a .pub file, a list of allowed signers, or a public key in PEM"


def passphrase_of_environment() -> str | None:
    """The passphrase in the environment, if any."""
    return os.environ.get(PASSPHRASE)


@dataclass(frozen=True)
class PublicKey:
    """A public key.

    Attributes:
        content: its 32 bytes.
        owner: a principal or comment of its file; may be empty.
    """

    content: bytes
    owner: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint, as of ``ssh-keygen -l``."""
        digest = hashlib.sha256(sshsig.blob(self.content)).digest()
        return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.owner})" if self.owner else self.fingerprint

    def has_signed(self, signature: sshsig.Signature, message: bytes) -> bool:
        """Whether a signature of a message is this key's.

        Raises:
            UsageError: the package ``cryptography`` is missing.
        """
        _require_package()
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            key = Ed25519PublicKey.from_public_bytes(self.content)
            key.verify(signature.value, sshsig.signed_bytes(message, signature.hash))
        except (InvalidSignature, ValueError):
            return False
        return signature.key == self.content


class SigningKey:
    """A private key; make one with ``read``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @property
    def public(self) -> PublicKey:
        """The matching public key."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> sshsig.Signature:
        """The signature of a message."""
        return sshsig.Signature(self.public.content, self._key.sign(sshsig.signed_bytes(message)))

    @staticmethod
    def read(
        path: str | Path, passphrase: Callable[[], str | None] = passphrase_of_environment
    ) -> SigningKey:
        """A private key from its file, OpenSSH's or PEM.

        Args:
            path: of the file.
            passphrase: prompts for it if the file is encrypted; None without a terminal.

        Raises:
            UsageError: it cannot be read, is not an Ed25519 key, or the passphrase is missing or
                wrong.
        """
        _require_package()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        content = _content(path)
        try:
            try:
                key = _loaded(content, None)
            except TypeError:  # it is encrypted
                given = passphrase()
                if given is None:
                    raise _locked(path) from None
                key = _loaded(content, given.encode())
        except UnsupportedAlgorithm as error:
            _require_package("bcrypt")
            raise _unusable(path, str(error)) from error
        except (ValueError, TypeError) as error:
            wrong = "it is damaged, of an unknown kind, or the passphrase is wrong"
            raise _unusable(path, wrong) from error
        if not isinstance(key, Ed25519PrivateKey):
            kind = type(key).__name__.removesuffix("PrivateKey").lstrip("_")
            raise _unusable(path, f"it is of type {kind}")
        return SigningKey(key)


def public_keys(path: str | Path) -> tuple[PublicKey, ...]:
    """The Ed25519 keys of a file: a public key of OpenSSH or in PEM, or a list of several.

    A list has the form of ``authorized_keys`` or of ``allowed_signers``. Keys of other types are
    skipped: they cannot make these signatures.

    Raises:
        UsageError: it cannot be read, has no such key, or has unsupported content; all errors at
            once.
    """
    content = _content(path)
    if b"PRIVATE KEY-----" in content:
        raise _unusable(path, "it is a private key, which must not be shared", _PUBLIC_HINT)
    if content.startswith(_PEM):
        return (_from_pem(path, content),)
    keys: list[PublicKey] = []
    errors: list[CompileError] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        try:
            keys.extend(_of_line(line.strip()))
        except ValueError as error:
            errors.append(_unusable(path, f"line {number}: {describe_error(error)}", _PUBLIC_HINT))
    if not keys and not errors:
        errors.append(_unusable(path, "it holds no Ed25519 key", _PUBLIC_HINT))
    raise_all(errors)
    return tuple(keys)


def _of_line(line: str) -> Iterator[PublicKey]:
    """The key of a line: [principals [options]] type key [comment]."""
    if not line or line.startswith("#"):
        return
    words = _words(line)
    at = next((k for k, word in enumerate(words[:3]) if _is_type(word)), None)
    if at is None or at + 1 >= len(words):
        raise DamagedError("it is not a public key")
    if words[at] != sshsig.KEY_TYPE:
        return
    if at and not _allows(words[1] if at == 2 else words[0], certain=at == 2):
        return
    owner = words[0] if at == 2 or (at == 1 and "=" not in words[0]) else " ".join(words[at + 2 :])
    yield PublicKey(sshsig.decoded_key(words[at + 1]), owner)


def _words(line: str) -> list[str]:
    """The words of a line; quotation marks hold blanks together."""
    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    lexer.quotes = '"'
    return list(lexer)


def _is_type(word: str) -> bool:
    return word.startswith(("ssh-", "ecdsa-", "sk-"))


def _allows(options: str, *, certain: bool) -> bool:
    """Whether the options of a line allow signatures of compiled folders.

    Args:
        options: separated by commas.
        certain: whether they are options; a single word before the key may be principals.

    Raises:
        DamagedError: they restrict the key in a way that is not checked here.
    """
    if not certain and "=" not in options and options.lower() != "cert-authority":
        return True
    name, _, value = options.partition("=")
    patterns = value.split(",")
    if name.lower() != "namespaces" or any(set("=!") & set(pattern) for pattern in patterns):
        raise DamagedError(f"the options '{options}' are not supported: only 'namespaces' is")
    return any(fnmatchcase(sshsig.NAMESPACE, pattern) for pattern in patterns)


def _from_pem(path: str | Path, content: bytes) -> PublicKey:
    _require_package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(content)
    except ValueError as error:
        raise _unusable(path, "it is damaged, or of an unknown kind", _PUBLIC_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _unusable(path, "it is not an Ed25519 key", _PUBLIC_HINT)
    return PublicKey(key.public_bytes_raw())


def _loaded(content: bytes, passphrase: bytes | None) -> Any:
    from cryptography.hazmat.primitives import serialization

    if content.startswith(_OPENSSH):
        return serialization.load_ssh_private_key(content, passphrase)
    return serialization.load_pem_private_key(content, passphrase)


def _content(path: str | Path) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES)
    except (OSError, DamagedError) as error:
        raise _unusable(path, describe_error(error), "check the path") from error


def _require_package(name: str = "cryptography") -> None:
    raise_all(missing(name, "sign", "signatures are made and checked by"))


def _locked(path: str | Path) -> UsageError:
    return UsageError(
        "the key is encrypted, and there is no terminal to prompt for its passphrase",
        code="passphrase-needed",
        origin=Origin(str(path)),
        hint=f"set {PASSPHRASE}",
    )


def _unusable(path: str | Path, wrong: str, hint: str = _PRIVATE_HINT) -> UsageError:
    return UsageError(
        f"the key is not usable: {wrong}", code="bad-key", origin=Origin(str(path)), hint=hint
    )
