"""Keys in every form that people have, and refusals of what would be trusted wrongly."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from signing_keys import OPENSSH, PKCS8, SSH_KEYGEN, keygen, written
from snn_compile.errors import UsageError
from snn_compile.signing import SigningKey, keys, public_keys

needs_ssh = pytest.mark.skipif(SSH_KEYGEN is None, reason="no ssh-keygen here")


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return written(tmp_path_factory.mktemp("keys") / "lab")


@pytest.mark.parametrize("form", [OPENSSH, PKCS8])
def test_private_keys_with_a_passphrase(form, tmp_path, monkeypatch):
    path = written(tmp_path / "key", form, "secret")
    with pytest.raises(UsageError) as caught:
        SigningKey.read(path)
    assert caught.value.code == "passphrase-needed"
    for wrong in ("other", ""):
        monkeypatch.setenv(keys.PASSPHRASE, wrong)
        with pytest.raises(UsageError, match="passphrase is wrong"):
            SigningKey.read(path)
    monkeypatch.setenv(keys.PASSPHRASE, "secret")
    assert SigningKey.read(path).public.content == public_keys(tmp_path / "key.pub")[0].content


def test_private_keys_of_other_kinds(tmp_path):
    path = written(tmp_path / "rsa", PKCS8, key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(UsageError, match="RSA"):
        SigningKey.read(path)
    with pytest.raises(UsageError, match="Ed25519 key"):
        public_keys(tmp_path / "rsa.pub")
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(UsageError, match="damaged"):
        SigningKey.read(tmp_path / "text")


def test_public_keys_in_every_form(key, tmp_path):
    content = SigningKey.read(key).public.content
    (line,) = key.with_suffix(".pub").read_text().splitlines()
    kind, packed, _ = line.split()
    other = written(tmp_path / "other").with_suffix(".pub").read_text()
    pem = ed25519.Ed25519PublicKey.from_public_bytes(content)
    forms = {
        "plain": f"{kind} {packed}\n",
        "list": f"# people\n\n{other}{line}\n",
        "rsa": f"ssh-rsa AAAA old\n{line}\n",
        "allowed": f"lab@example.org {kind} {packed}\n",
        "several": f'"a b,c" namespaces="file,snn-*" {kind} {packed}\n',
        "namespace": f'namespaces="snn-compile" {kind} {packed} lab\n',
        "pem": pem.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode(),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        assert content in [found.content for found in public_keys(tmp_path / name)], name


@pytest.mark.parametrize(
    "line",
    [
        "lab cert-authority {key}",
        'lab valid-before="20200101" {key}',
        'lab namespaces="a",valid-before="20200101" {key}',
        'lab namespaces="*,!snn-compile" {key}',
        'lab namespaces="git" {key}',
        "cert-authority {key}",
        'from="10.0.0.1" {key}',
        "one two three {key}",
        'lab "{key}',
        "ssh-ed25519 AAAA",
        "ssh-ed25519",
        "hello",
        "",
    ],
)
def test_keys_with_restrictions_that_are_not_checked_are_refused(key, tmp_path, line):
    kind, packed, _ = key.with_suffix(".pub").read_text().split()
    (tmp_path / "allowed").write_text(line.format(key=f"{kind} {packed}") + "\n")
    with pytest.raises(UsageError) as caught:
        public_keys(tmp_path / "allowed")
    assert caught.value.code == "bad-key"


def test_a_private_key_is_no_public_one(key):
    with pytest.raises(UsageError, match="private key"):
        public_keys(key)


def test_without_the_package_the_extra_is_named(monkeypatch, key):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(UsageError, match="cryptography") as caught:
        SigningKey.read(key)
    assert caught.value.code == "missing-package"
    assert "snn-compile[sign]" in caught.value.hint


@needs_ssh
def test_keys_of_openssh_with_a_passphrase(tmp_path, monkeypatch):
    path = tmp_path / "person"
    assert keygen("-q", "-t", "ed25519", "-N", "secret", "-f", path).returncode == 0
    monkeypatch.setenv(keys.PASSPHRASE, "secret")
    assert SigningKey.read(path).public.content == public_keys(f"{path}.pub")[0].content
