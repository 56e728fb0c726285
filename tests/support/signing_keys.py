"""Keys for the tests of signatures."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ed25519

SSH_KEYGEN = shutil.which("ssh-keygen")
OPENSSH = (s.Encoding.PEM, s.PrivateFormat.OpenSSH)
PKCS8 = (s.Encoding.PEM, s.PrivateFormat.PKCS8)
SAME = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
"""For what has to be the same bytes every time."""


def written(path: Path, form=OPENSSH, passphrase: str = "", key=None) -> Path:
    """A new private key in a file that only its owner reads, and its public key beside it."""
    key = key or ed25519.Ed25519PrivateKey.generate()
    locked = s.BestAvailableEncryption(passphrase.encode()) if passphrase else s.NoEncryption()
    path.write_bytes(key.private_bytes(*form, locked))
    path.chmod(0o600)
    public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
    path.with_suffix(".pub").write_bytes(public + b" lab@example.org\n")
    return path


def keygen(*words: str | Path, **options) -> subprocess.CompletedProcess[str]:
    call = [str(SSH_KEYGEN), *map(str, words)]
    return subprocess.run(call, capture_output=True, text=True, check=False, **options)
