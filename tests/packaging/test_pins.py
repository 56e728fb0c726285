"""The lists of packages with hashes say what the pins say, and nothing comes without a hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from snn_backends.lava import environment

ROOT = Path(__file__).resolve().parents[2]
LAVA = ROOT / "backends" / "snn_backends" / "lava" / "requirements"
LISTS = (ROOT / ".ci" / "requirements.txt", LAVA / "native.txt", LAVA / "compat.txt")
MEND = "run .ci/lock"


def hashed(path: Path) -> dict[str, set[str]]:
    """The versions of each package in a list; each of which has hashes."""
    found: dict[str, set[str]] = {}
    for entry in path.read_text().replace("\\\n", " ").splitlines():
        name, version, rest = re.fullmatch(r"([\w.-]+)==([\w.]+)\s(.*)", entry).groups()
        marker, *hashes = re.split(r"\s*--hash=sha256:", rest)
        assert hashes, entry
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes), entry
        assert marker == "" or marker.startswith(";"), entry
        found.setdefault(name, set()).add(version)
    return found


def pinned() -> dict[str, str]:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_entry_has_hashes(path):
    assert hashed(path)


def test_the_list_of_the_tests_follows_the_pins():
    pins = pinned()
    for name, versions in hashed(LISTS[0]).items():
        assert versions == {pins.get(name)}, f"{name}: {MEND}"


def test_whatever_the_project_and_its_tests_need_has_hashes():
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split("[<>=]", one)[0] for one in needed}
    assert names <= set(hashed(LISTS[0])), MEND


def test_ci_takes_them_by_hash_before_anything_else():
    text = (ROOT / ".ci" / "run").read_text()
    install = re.search(r"install .*--require-hashes[^&]*?-r \.ci/requirements\.txt", text)
    assert install
    assert install.start() < text.index("python3 tests")


@pytest.mark.parametrize("native", [True, False])
def test_lava_is_installed_by_hash(native, monkeypatch, tmp_path):
    commands = []
    monkeypatch.setattr(environment, "candidates", lambda: iter([("python", native)]))
    monkeypatch.setattr(environment, "_command", commands.append)
    monkeypatch.setattr(environment, "examine", lambda python: python)
    environment.create(tmp_path / "env")
    installs = [command for command in commands if "install" in command]
    assert installs
    for command in installs:
        assert "--require-hashes" in command
        (path,) = (Path(word) for word in command if word.endswith(".txt"))
        name, _, version = environment.LAVA.partition("==")
        assert hashed(path)[name] == {version}
        assert not [word for word in command if "==" in word or word == environment.LAVA]
