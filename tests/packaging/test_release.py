"""What makes a release holds together: version, changelog, workflows, image, recipe."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from snn_compile import __version__

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = (
    "CHANGELOG.md",
    ".ci/release",
    "packaging/conda/recipe.yaml",
    "toolchain/snn_compile/version.py",
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of a release in a repository of their own, with changes to release."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n\n- new\n")
    commit(tmp_path)
    return tmp_path


def commit(folder: Path) -> None:
    author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=folder, check=True)


def release(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, folder / ".ci" / "release", *words]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


def test_a_release_gives_all_files_its_version(clone: Path) -> None:
    done = release(clone, "0.2.0")
    assert done.returncode == 0, done.stderr
    assert "git tag -a v0.2.0" in done.stderr
    checked = release(clone, "--check", "v0.2.0")
    assert (checked.returncode, checked.stdout) == (0, "### Added\n\n- new\n")
    changelog = (clone / "CHANGELOG.md").read_text()
    assert re.search(r"## \[Unreleased\]\n\n## \[0\.2\.0\] - \d{4}-\d\d-\d\d\n", changelog)
    for name in ("packaging/conda/recipe.yaml", "toolchain/snn_compile/version.py"):
        assert '"0.2.0"' in (clone / name).read_text()
        assert __version__ not in (clone / name).read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--check", "v0.2.0"), "the tag is v0.2.0, and version.py says"),
        (("--check", f"v{__version__}"), "the latest version in CHANGELOG.md is none"),
        (("0.2",), "is no version"),
        ((), "name a version"),
    ],
)
def test_what_does_not_agree_is_no_release(clone: Path, words: tuple[str, ...], why: str) -> None:
    done = release(clone, *words)
    assert done.returncode != 0
    assert why in done.stderr
    unchanged = subprocess.run(["git", "diff", "--quiet"], cwd=clone, check=False)
    assert unchanged.returncode == 0


def test_no_version_is_given_twice_nor_to_nothing(clone: Path) -> None:
    assert release(clone, "0.2.0").returncode == 0
    assert "no unreleased changes" in release(clone, "0.3.0").stderr
    text = (clone / "CHANGELOG.md").read_text()
    (clone / "CHANGELOG.md").write_text(text.replace("[Unreleased]\n", "[Unreleased]\n\n- more\n"))
    assert "commit or put away" in release(clone, "0.3.0").stderr
    commit(clone)
    for version in ("0.2.0", "0.2.0rc1", "0.1.9"):
        assert "is not later than 0.2.0" in release(clone, version).stderr
    assert release(clone, "0.3.0rc1").returncode == 0


def test_the_version_stands_in_one_file() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["dynamic"] == ["version"]
    stated = project["tool"]["scikit-build"]["metadata"]["version"]["input"]
    assert f'__version__ = "{__version__}"' in (ROOT / stated).read_text()
    headings = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[:1] in ([], [__version__])


def test_the_recipe_needs_what_the_project_needs() -> None:
    recipe = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text())
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert recipe["context"]["version"] == __version__
    needed = [f"python {project['project']['requires-python']}"]
    needed += [re.sub(r"(?=>=)", " ", one) for one in project["project"]["dependencies"]]
    assert recipe["requirements"]["run"] == needed
    host = [one.replace(" ", "") for one in recipe["requirements"]["host"]]
    assert set(project["build-system"]["requires"]) <= set(host)
    assert recipe["about"]["summary"] == project["project"]["description"]
    assert recipe["about"]["license"] == project["project"]["license"]


def test_the_image_is_small_and_nobodys() -> None:
    """What can be seen without Docker; the workflow of a release builds it and measures."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    stages = re.split(r"^FROM ", text, flags=re.M)[1:]
    first, last = stages
    assert "g++" in first
    assert "COPY" not in last
    assert "apt-get" not in last
    assert "--no-index" in last
    assert not re.search(r"torch|curl|wget|http", text)
    assert re.search(r"^USER (?!0|root)\S+$", last, re.M)
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert ".ci/constraints.txt" in first
    taken = (ROOT / ".dockerignore").read_text().splitlines()
    assert taken[taken.index("*") + 1].startswith("!")
    for name in (one.removeprefix("!") for one in taken if one.startswith("!")):
        assert (ROOT / name).exists(), name


def test_nothing_is_published_that_was_not_checked_and_tried() -> None:
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
    jobs = workflows["release"]["jobs"]

    def before(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        needs = [needs] if isinstance(needs, str) else needs
        return {*needs, *(one for need in needs for one in before(need))}

    assert before("publish") == {"check", "wheels", "try", "image"}
    assert all("check" in before(name) for name in jobs if name != "check")
    assert ".ci/release --check" in jobs["check"]["steps"][1]["run"]
    # YAML reads the key ``on`` as a truth value.
    assert workflows["release"][True]["push"]["tags"] == ["v*"]
    assert "push" not in workflows["wheels"][True]
    for name, workflow in workflows.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        for job, content in workflow["jobs"].items():
            assert "uses" in content or content["timeout-minutes"] <= 60
            assert "permissions" not in content or (
                name in ("release", "site") and job == "publish"
            )
            for step in content.get("steps", ()):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(
    "words", [["hadolint", "Dockerfile"], ["actionlint"]], ids=lambda words: words[0]
)
def test_linters_have_nothing_to_say(words: list[str]) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]}")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
