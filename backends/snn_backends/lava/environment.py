"""Lava's Python environment: found, or created once for each user.

lava-nc 0.10.0 states Python 3.10 and numpy < 2 and installs a top-level package called ``tests``,
so it never shares an environment with this tool; it is driven as a child process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from snn_compile.errors import DeviceError

LAVA = "lava-nc==0.10.0"
PYTHON_VARIABLE = "SNN_COMPILE_LAVA_PYTHON"
"""Names the interpreter of an environment that the user manages."""
FOLDER_VARIABLE = "SNN_COMPILE_LAVA_ENV"
"""Names the folder of the environment that this tool makes."""
ISOLATED = "-I"
"""An interpreter's switch: no variables, no user's packages, nothing beside the script or in the
working folder, which may be a stranger's."""
NATIVE, COMPAT = "native 3.10", "compat"
BEGUN, MARKER = "snn-compile-begun", "snn-compile-complete"

INSTALL = ("install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:")
"""Options of pip for installing only the files listed in ``requirements``."""
REQUIREMENTS = {NATIVE: "native.txt", COMPAT: "compat.txt"}
"""With the hash of every file. The second has what lava-nc imports, without the upper limits that
keep it from Python 3.11."""

PROBE = """
import importlib.metadata as m, json, platform, sys
versions = {"python": platform.python_version()}
for name in ("numpy", "lava-nc"):
    try:
        versions[name] = m.version(name)
    except m.PackageNotFoundError:
        versions[name] = ""
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class LavaEnvironment:
    """A Python that can run Lava.

    Attributes:
        python: the interpreter.
        mode: ``native 3.10``, or ``compat 3.11`` and the like where the import shim is needed.
        versions: of python, numpy and lava-nc.
    """

    python: Path
    mode: str
    versions: Mapping[str, str]

    @property
    def native(self) -> bool:
        """Whether it is the Python that lava-nc states."""
        return self.mode == NATIVE

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.mode} ({listed})"

    def command(self, script: Path) -> list[str]:
        """How to start a script there."""
        start = [str(self.python), "-B", ISOLATED]
        if not self.native:
            start.append(str(resources.files("snn_backends.lava") / "templates" / "compat.py"))
        return [*start, str(script)]


def default_folder() -> Path:
    """Where the environment that this tool makes lives.

    Raises:
        DeviceError: this user has no home.
    """
    if os.environ.get(FOLDER_VARIABLE):
        return _expand_path(os.environ[FOLDER_VARIABLE])
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expand_path(cache) / "snn-compile" / "lava-env"


def _expand_path(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DeviceError(
            "this user has no home, where Lava's environment would be",
            code="lava-missing",
            hint=f"set {FOLDER_VARIABLE} to a folder, or {PYTHON_VARIABLE} to an interpreter",
        ) from error


def locate() -> LavaEnvironment | None:
    """The existing environment, or None. Creates nothing.

    Raises:
        DeviceError: the interpreter that the user names cannot run Lava.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        found = examine(_expand_path(named))
        if found is None:
            raise DeviceError(
                f"{PYTHON_VARIABLE} is {named}, which has no working {LAVA}",
                code="lava-missing",
                hint="unset it to let snn-compile make an environment: snn-compile lava-env",
            )
        return found
    folder = default_folder()
    if not (folder / MARKER).is_file():
        return None
    return examine(folder / "bin" / "python")


def ensure() -> LavaEnvironment:
    """The environment to use.

    Raises:
        DeviceError: there is none.
    """
    found = locate()
    if found is None:
        raise DeviceError(
            "Lava has no environment",
            code="lava-missing",
            hint="create it: snn-compile lava-env",
        )
    return found


def examine(python: Path) -> LavaEnvironment | None:
    """The environment of an interpreter; None if it does not run or has no lava-nc 0.10.0."""
    versions = _ask(python)
    if versions is None or versions["lava-nc"] != LAVA.partition("==")[2] or not versions["numpy"]:
        return None
    minor = ".".join(versions["python"].split(".")[:2])
    return LavaEnvironment(python, NATIVE if minor == "3.10" else f"{COMPAT} {minor}", versions)


def _ask(python: Path | str, extra: Mapping[str, str] | None = None) -> dict[str, str] | None:
    try:
        answer = json.loads(_output([str(python), ISOLATED, "-c", PROBE], extra))
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def clean_environment() -> dict[str, str]:
    """This process' variables without those that would lead another Python to our packages."""
    dropped = ("PYTHON", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)}


def create(folder: Path | None = None) -> LavaEnvironment:
    """Return the environment, created if necessary. Safe to call from several processes.

    Args:
        folder: where; by default ``default_folder()``.

    Raises:
        DeviceError: no Python can be found for it, or the packages cannot be installed.
    """
    target = (folder or default_folder()).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _lock(target.with_name(f"{target.name}.lock")):
        if (target / MARKER).is_file():
            found = examine(target / "bin" / "python")
            if found is not None:
                return found
        if target.exists() and not _ours(target):
            raise DeviceError(
                f"{target} exists and is not an environment that snn-compile made",
                code="lava-missing",
                hint=f"set {FOLDER_VARIABLE} to a new folder",
            )
        try:
            return _build(target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise


def _ours(target: Path) -> bool:
    """Whether a folder may be removed: empty, or begun or finished here."""
    if not target.is_dir():
        return False
    begun = any((target / name).is_file() for name in (MARKER, BEGUN))
    return begun or not any(target.iterdir())


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    import fcntl  # systems without it do not run Lava either

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(target: Path) -> LavaEnvironment:
    failures = []
    for python, native in candidates():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        (target / BEGUN).touch()
        try:
            _command([python, ISOLATED, "-m", "venv", str(target)])
            pip = [str(target / "bin" / "python"), ISOLATED, "-m", "pip", *INSTALL]
            if native:
                _command([*pip, "-r", _requirements(NATIVE)])
            else:
                _command([*pip, "--ignore-requires-python", "-r", _requirements(COMPAT)])
        except DeviceError as error:
            failures.append(f"{python}: {error.message}")
            continue
        found = examine(target / "bin" / "python")
        if found is not None:
            (target / MARKER).write_text(f"{found}\n")
            return found
        failures.append(f"{python}: {LAVA} does not work there")
    raise DeviceError(
        "no environment for Lava could be made" + "".join(f"\n  {f}" for f in failures),
        code="lava-missing",
        hint=f"install Python 3.10, or set {PYTHON_VARIABLE} to an interpreter that has {LAVA}",
    )


def _requirements(mode: str) -> str:
    """The list of what an environment takes."""
    return str(resources.files("snn_backends.lava") / "requirements" / REQUIREMENTS[mode])


def _command(command: list[str]) -> None:
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, check=False, env=clean_environment()
        )
        log.seek(0)
        if done.returncode:
            last = log.read().strip().splitlines()[-1:] or ["no output"]
            raise DeviceError(f"{' '.join(command[2:5])} failed: {last[0]}", code="lava-missing")


def candidates() -> Iterator[tuple[str, bool]]:
    """Interpreters to build on, best first, each with whether it is a native 3.10."""
    seen: set[str] = set()
    for python in _pythons("3.10"):
        if python not in seen:
            seen.add(python)
            yield python, True
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        yield sys.executable, False
    for minor in ("3.11", "3.12"):
        for python in _pythons(minor):
            yield python, False


def _pythons(minor: str) -> Iterator[str]:
    """Interpreters of one minor version that really run, resolved past any shim."""
    guesses: list[tuple[str, dict[str, str]]] = []
    on_path = shutil.which(f"python{minor}")
    if on_path:  # a pyenv shim exits with 127 unless a version is selected
        guesses += [(on_path, {}), (on_path, {"PYENV_VERSION": minor})]
    with contextlib.suppress(RuntimeError):  # this user has no home
        root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
        guesses += [(str(p), {}) for p in sorted(root.glob(f"versions/{minor}.*/bin/python"))]
    uv = shutil.which("uv")
    if uv:
        found = _output([uv, "python", "find", "--no-project", minor])
        guesses += [(found, {})] if found else []
    for python, extra in guesses:
        real = _output([python, ISOLATED, "-c", "import sys; print(sys.executable)"], extra)
        version = _ask(real) if real else None
        if version and version["python"].startswith(f"{minor}."):
            yield real


def _output(command: list[str], extra: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=clean_environment() | dict(extra or {}),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
