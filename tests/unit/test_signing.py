"""Signed folders: whatever is altered in one is refused, before anything of it is read."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mutant_kinds import resealed
from mutants import dumped, members_of, zipped
from signing_keys import SSH_KEYGEN, keygen, written
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.errors import CompileError, VerificationError
from snn_compile.signing import SigningKey, public_keys, sshsig

needs_ssh = pytest.mark.skipif(SSH_KEYGEN is None, reason="no ssh-keygen here")


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("keys") / "lab")


@pytest.fixture
def public(key) -> str:
    return str(key.with_suffix(".pub"))


@pytest.fixture(scope="module")
def signed(examples, key, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("signed") / "digits.snn"
    words = [str(examples / "digits_mlp.onnx"), "-o", str(folder), "-q", "--sign", str(key)]
    assert main(words) == 0
    return folder


@pytest.fixture
def folder(signed, tmp_path) -> Path:
    return shutil.copytree(signed, tmp_path / "digits.snn")


def code_of(folder: Path, signer: str | Path) -> tuple[str, str]:
    """How a folder is refused."""
    with pytest.raises(CompileError) as caught:
        CompiledModel.load(folder, signer=signer)
    assert caught.value.hint
    assert caught.value.origin
    return caught.value.code, caught.value.message


def weight(folder: Path) -> None:
    """A weight changes, and so do all hashes: the seal is whole."""
    members = members_of(folder / "model.snn")
    array = bytearray(members["2.npy"])
    array[-8] ^= 1  # the lowest byte of the last integer
    members["2.npy"] = bytes(array)
    (folder / "model.snn").write_bytes(zipped(resealed(members)))
    CompiledModel.load(folder)


def report(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        said = json.loads((folder / "report.json").read_text())
        change(said)
        (folder / "report.json").write_text(json.dumps(said))

    return edit


def appended(name: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.write(b" ")

    return edit


def linked(folder: Path) -> None:
    """The content is right, and lies elsewhere."""
    outside = folder.parent / "elsewhere"
    (folder / "report.html").rename(outside)
    (folder / "report.html").symlink_to(outside)


def linked_folder(folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    (folder / "lava").rename(outside)
    (folder / "lava").symlink_to(outside)


def listed_too(folder: Path) -> None:
    """An added file that the list names: the list is signed."""
    (folder / "notes.txt").write_text("hello")
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  notes.txt\n")


def emptied(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("# snn-compile manifest 1\n")


ALTERED = {
    "weight": (weight, "altered: model.snn"),
    "accuracy": (report(lambda r: r["ladder"].append({"stage": "fixed", "n": 1})), "report.json"),
    "emit": (report(lambda r: r["options"]["emit"].update(value=[])), "altered: report.json"),
    "options": (report(lambda r: r["options"]["seed"].update(value=7)), "altered: report.json"),
    "a blank": (appended("report.json"), "altered: report.json"),
    "page": (appended("report.html"), "altered: report.html"),
    "golden": (appended("golden/expected.npz"), "altered: golden/expected.npz"),
    "hashes": (appended("golden/messages.json"), "altered: golden/messages.json"),
    "lava": (appended("lava/weights.npz"), "altered: lava/weights.npz"),
    "program": (appended("lava/run.py"), "altered: lava/run.py"),
    "removed": (lambda f: (f / "lava" / "run.py").unlink(), "missing: lava/run.py"),
    "removed-folder": (lambda f: shutil.rmtree(f / "lava"), "missing: lava/README.md"),
    "removed-network": (lambda f: (f / "model.snn").unlink(), "missing: model.snn"),
    "added": (lambda f: (f / "notes.txt").write_text("hello"), "added: notes.txt"),
    "added-folder": (lambda f: (f / "nir").mkdir(), "added: nir/"),
    "added-deep": (lambda f: (f / "lava" / "numpy.py").write_text(""), "added: lava/numpy.py"),
    "renamed": (
        lambda f: (f / "report.html").rename(f / "Report.html"),
        "missing: report.html; added: Report.html",
    ),
    "linked": (linked, "missing: report.html; added: report.html"),
    "linked-folder": (linked_folder, "added: lava"),
    "verification-linked": (
        lambda f: (f / "verification.json").symlink_to("report.json"),
        "added: verification.json",
    ),
    "listed-too": (listed_too, "SHA256SUMS is not what"),
    "emptied": (emptied, "SHA256SUMS is not what"),
    "no-list": (lambda f: (f / "SHA256SUMS").unlink(), "SHA256SUMS: No such file"),
    "broken": (appended("SHA256SUMS"), "SHA256SUMS is not what"),
    "damaged": (lambda f: (f / "SHA256SUMS.sig").write_text("-----BEGIN"), "not an SSH signature"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_was_altered_after_signing_is_refused_by_name(folder, public, what):
    change, said = ALTERED[what]
    change(folder)
    code, message = code_of(folder, public)
    assert code == "signature-broken"
    assert said in message


def test_every_byte_of_every_file_counts(folder, public):
    """Of each file one, with the signature's own: none is outside of what is signed."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        before = path.read_bytes()
        at = len(before) // 2
        path.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
        code, _ = code_of(folder, public)
        assert code in ("signature-broken", "wrong-signer"), path
        path.write_bytes(before)
    CompiledModel.load(folder, signer=public)


def test_a_folder_that_nobody_signed(folder, public):
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        (folder / name).unlink()
    assert code_of(folder, public)[0] == "not-signed"
    CompiledModel.load(folder)


def test_a_signature_of_another_folder(examples, folder, key, public, tmp_path):
    other = tmp_path / "other.snn"
    words = [str(examples / "digits_cnn.onnx"), "-o", str(other), "-q", "--no-emit"]
    assert main([*words, "--sign", str(key)]) == 0
    for name in ("SHA256SUMS", "SHA256SUMS.sig"):
        shutil.copy(other / name, folder / name)
    code, message = code_of(folder, public)
    assert code == "signature-broken"
    assert "altered: " in message
    assert "golden/expected.npz" in message
    assert "added: lava/README.md" in message


def test_another_signer(folder, tmp_path):
    stranger = written(tmp_path / "stranger").with_suffix(".pub")
    code, message = code_of(folder, stranger)
    assert code == "wrong-signer"
    assert "SHA256:" in message


def test_a_signature_by_a_stranger_that_claims_to_be_the_signer(folder, key, public, tmp_path):
    """The key inside the signature is the right one; the signature is not its own."""
    appended("report.html")(folder)
    forged = SigningKey.read(written(tmp_path / "stranger"))
    content = (folder / "SHA256SUMS").read_bytes()
    own = public_keys(public)[0].content
    text = sshsig.armor(sshsig.Signature(own, forged.sign(content).value))
    (folder / "SHA256SUMS.sig").write_text(text)
    assert code_of(folder, public)[0] == "signature-broken"


def test_a_signature_for_something_else_counts_for_nothing(folder, key, public, monkeypatch):
    monkeypatch.setattr(sshsig, "NAMESPACE", "file")
    content = (folder / "SHA256SUMS").read_bytes()
    signature = sshsig.armor(SigningKey.read(key).sign(content))
    monkeypatch.undo()
    (folder / "SHA256SUMS.sig").write_text(signature)
    code, message = code_of(folder, public)
    assert code == "signature-broken"
    assert "made for 'file'" in message


def test_a_list_of_another_version_is_refused(folder, key, public):
    content = (folder / "SHA256SUMS").read_bytes().replace(b"manifest 1", b"manifest 2")
    (folder / "SHA256SUMS").write_bytes(content)
    (folder / "SHA256SUMS.sig").write_text(sshsig.armor(SigningKey.read(key).sign(content)))
    code, message = code_of(folder, public)
    assert code == "signature-broken"
    assert "manifest 2" in message


@pytest.mark.parametrize("command", ["verify", "run", "hil", "inspect"])
def test_nothing_is_read_before_the_signature(folder, public, examples, command, capsys):
    """What would be refused for its own sake is refused for the signature first."""
    (folder / "report.json").write_text("{")
    more = {
        "run": ["--data", str(examples / "digits_evaluate.npz")],
        "hil": ["--device", "engine"],
    }
    words = [command, str(folder), *more.get(command, []), "--signer", public]
    assert main(words) == 7
    err = capsys.readouterr().err
    assert "error[signature-broken]" in err
    assert "altered: report.json" in err


def test_verified_folders_stay_signed(folder, public, capsys):
    before = (folder / "report.json").read_bytes()
    words = ["verify", str(folder), "--against", "golden,engine", "--stimuli", "2", "-q"]
    for _ in range(2):
        assert main([*words, "--signer", public]) == 0
    assert main(["hil", str(folder), "--device", "reference", "--stimuli", "1", "-q"]) == 0
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.json").read_bytes() == before
    found = CompiledModel.load(folder, signer=public).report["verification"]
    assert [entry["against"] for entry in found] == ["golden", "engine", "reference"]
    capsys.readouterr()
    assert main(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verification"] == found


@pytest.mark.parametrize("name", [".verification.json.0123abcd.new", ".verification.json.lock"])
def test_a_verification_that_was_cut_off_changes_nothing(folder, public, name):
    (folder / name).write_text("{")
    CompiledModel.load(folder, signer=public)
    (folder / "golden" / name).write_text("{")
    assert code_of(folder, public)[0] == "signature-broken"


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"schema": 1, "verification": [7]}', None])
def test_what_came_later_is_a_strangers_too(folder, text):
    if text is None:
        (folder / "verification.json").symlink_to("/etc/hostname")
    else:
        (folder / "verification.json").write_text(text)
    with pytest.raises(CompileError) as caught:
        CompiledModel.load(folder)
    assert caught.value.code == "unreadable-bundle"


def test_a_signature_is_not_trusted_in_silence(folder, public, capsys):
    words = ["verify", str(folder), "--against", "golden", "--stimuli", "1", "-q"]
    assert main(words) == 0
    fingerprint = public_keys(public)[0].fingerprint
    unverified = f"a signature of {fingerprint} is present but has not been verified"
    assert unverified in capsys.readouterr().err
    assert main([*words[:-1], "--no-progress", "--signer", public]) == 0
    assert f"signed by {fingerprint}, and nothing has changed" in capsys.readouterr().err
    assert main(["inspect", str(folder)]) == 0
    assert "has not been verified" in capsys.readouterr().out
    assert main(["inspect", str(folder), "--signer", public]) == 0
    assert f"signed by {fingerprint}" in capsys.readouterr().out


def test_keys_in_the_folder_vouch_for_nothing(folder, public):
    shutil.copy(public, folder / "lab.pub")
    assert code_of(folder, folder / "lab.pub")[0] == "bad-key"


def test_compiling_again_leaves_no_old_signature(examples, folder):
    assert main([str(examples / "digits_mlp.onnx"), "-o", str(folder), "-q", "--no-emit"]) == 0
    assert not list(folder.glob("SHA256SUMS*"))


def test_a_key_that_cannot_be_used_is_known_before_compiling(examples, tmp_path, capsys):
    words = [str(examples / "digits_mlp.onnx"), "-o", str(tmp_path / "out"), "--sign", "nowhere"]
    assert main(words) == 2
    assert "error[bad-key]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@needs_ssh
def test_openssh_and_coreutils_check_it_without_this_tool(folder, public, tmp_path):
    kind, packed, _ = Path(public).read_text().split()
    (tmp_path / "allowed").write_text(f"lab@example.org {kind} {packed}\n")
    words = ["-Y", "verify", "-f", tmp_path / "allowed", "-I", "lab@example.org"]
    words += ["-n", "snn-compile", "-s", folder / "SHA256SUMS.sig"]
    content = (folder / "SHA256SUMS").read_text()
    assert keygen(*words, input=content).returncode == 0
    assert keygen(*words, input=content + " ").returncode != 0
    assert public_keys(public)[0].fingerprint in keygen("-l", "-f", public).stdout
    if shutil.which("sha256sum"):
        call = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        assert subprocess.run(call, cwd=folder, check=False).returncode == 0


@needs_ssh
@pytest.mark.parametrize("hash", ["sha512", "sha256"])
def test_what_openssh_signs_is_checked_here(folder, tmp_path, hash):
    path = tmp_path / "person"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", path).returncode == 0
    options = ["-Y", "sign", "-f", path, "-n", "snn-compile", "-O", f"hashalg={hash}"]
    (folder / "SHA256SUMS.sig").unlink()
    done = keygen(*options, folder / "SHA256SUMS")
    assert done.returncode == 0, done.stderr
    CompiledModel.load(folder, signer=tmp_path / "person.pub")
    appended("report.html")(folder)
    with pytest.raises(VerificationError):
        CompiledModel.load(folder, signer=tmp_path / "person.pub")


@pytest.mark.parametrize("size", range(0, 200, 7))
def test_signatures_that_are_cut_off(folder, public, size):
    text = (folder / "SHA256SUMS.sig").read_text()
    (folder / "SHA256SUMS.sig").write_text(text[: 30 + size] + text[-28:])
    assert code_of(folder, public)[0] in ("signature-broken", "wrong-signer")


def test_messages_are_printable(folder, public):
    (folder / "a\nb\x1b[31m").write_text("")
    _, message = code_of(folder, public)
    assert message.isprintable()
    assert dumped(message)
