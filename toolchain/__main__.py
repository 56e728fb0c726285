"""``python3 toolchain MODEL.onnx``: set the tool up if need be, then run it.

Needs nothing but Python 3.11 or later. The first start makes ``.venv`` beside this folder and
installs the project there, editable, which also compiles the engine if there is a C++ compiler;
later starts find a stamp and go straight on. The stamp covers ``pyproject.toml``, the pinned
versions, the engine's sources, the names of all modules and the Python version: if one changes, the
next start installs again. The environment that this Python itself runs in is never touched; to use
it all the same, name it in ``SNN_COMPILE_VENV``.

``python3 tests`` shares this file. It has to load on Pythons that are too old to run it (3.6 and
later), hence the quoted annotations.
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MINIMUM = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
ENGINE = ROOT / "toolchain" / "engine"
PACKAGES = (ROOT / "toolchain" / "snn_compile", ROOT / "frontends", ROOT / "backends")
WINDOWS = os.name == "nt"
STAMP = "snn-compile.json"
LOCK = "snn-compile.lock"
EXPECTED = "one to two minutes on an idle machine, more on a slow network"
SILENCE = 15.0
"""Seconds after which a line says that set-up goes on."""


class SetupError(Exception):
    """The environment cannot be made; the message says why."""


def prepare(extras: "Sequence[str]" = ()) -> Path:
    """Make the environment if it is not there or out of date.

    Safe against interruption (the stamp is written last) and against a second start at the same
    time (which waits for the first).

    Args:
        extras: optional dependencies of the project that must be there too.

    Returns:
        The folder of the environment's commands.
    """
    folder = Path(os.environ.get("SNN_COMPILE_VENV") or ROOT / ".venv").absolute()
    if not _is_ready(folder, extras):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOCK).open("a") as lock:
                _wait_for(lock)
                if not _is_ready(folder, extras):
                    _build(folder, extras)
        except OSError as error:
            raise SetupError(f"cannot set up {folder}: {error}") from error
    return _commands(folder)


def command(commands: Path, name: str) -> str:
    """The full path of one of the environment's commands."""
    return str(commands / (name + (".exe" if WINDOWS else "")))


def _build(folder: Path, extras: "Sequence[str]") -> None:
    """Bring the environment up to date. The lock is held."""
    state = _read_stamp(folder)
    python = command(_commands(folder), "python")
    # An environment that somebody else made is installed into, and never cleared.
    ours = state.get("ours", not os.path.exists(python))
    # Scripts in an environment name its folder: one that was moved or copied is of no use.
    made_for = f"{_version()} {folder}"
    finished = state.get("key") and state["made_for"] == made_for and os.path.exists(python)
    if ours and not state and any(path.name != LOCK for path in folder.iterdir()):
        raise SetupError(f"{folder} holds something else; name another folder in SNN_COMPILE_VENV")
    _say(f"setting up {_shown(folder)} (once; {EXPECTED}) ...")

    extras = sorted({*extras, *state.get("extras", ())})
    unfinished = {"ours": ours, "made_for": made_for, "extras": extras, "key": ""}
    _write_stamp(folder, unfinished)
    uv = _uv()
    if ours and not finished:
        _clear(folder)
        _make(folder, with_pip=not uv)
    key = _key(folder)  # of what is installed now: a source may change meanwhile
    _showing_life(lambda: _install(python, uv, extras))
    _warn_without_engine(python)
    _write_stamp(folder, {**unfinished, "key": key})


def _say(text: str) -> None:
    print(f"snn-compile: {text}", file=sys.stderr)
    sys.stderr.flush()


def _showing_life(install: "Callable[[], None]") -> None:
    """Install, and say from time to time that it still goes on, and for how long it has."""
    import threading
    import time

    start, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(SILENCE):
            seconds = time.monotonic() - start
            _say(f"installing packages and compiling the engine: {seconds:.0f} s so far ...")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        install()
    finally:
        done.set()
        teller.join()


def _make(folder: Path, *, with_pip: bool) -> None:
    options = [] if with_pip else ["--without-pip"]
    failure = _run([sys.executable, "-m", "venv", *options, str(folder)])
    if failure:
        hint = "on Debian and Ubuntu the package python3-venv is needed, or uv on the PATH"
        raise SetupError(f"{failure}\nsnn-compile: cannot make {folder}; {hint}")


def _install(python: str, uv: "str | None", extras: "Sequence[str]") -> None:
    project = "." + ("[{}]".format(",".join(extras)) if extras else "")
    constraints = [str(CONSTRAINTS)] if CONSTRAINTS.exists() else []
    if uv:
        kinds = ("--constraint", "--build-constraint")
        options = [word for path in constraints for kind in kinds for word in (kind, path)]
        # uv would not look whether the engine's sources have changed.
        options += ["--reinstall-package", "snn-compile"]
        call = [uv, "pip", "install", "--quiet", "--python", python, *options]
        if not _run([*call, "pip", "--editable", project]):
            return
        # uv does not read pip's configuration: where it fails, pip may still succeed.
    if _run([python, "-m", "pip", "--version"]):
        _run([python, "-m", "ensurepip", "--upgrade"])
    # By variable rather than by option, so that it reaches the build environment as well; as a
    # URL, because pip splits these variables at spaces.
    pinned = [CONSTRAINTS.as_uri()] if constraints else []
    variables = {}
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
        given = [os.environ[name]] if os.environ.get(name) else []
        if given or pinned:
            variables[name] = " ".join([*given, *pinned])
    call = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    failure = _run([*call, "--editable", project], variables)
    if failure:
        raise SetupError(f"{failure}\nsnn-compile: pip could not install the project (see above)")


def _warn_without_engine(python: str) -> None:
    """Say so if the engine could not be compiled: pip keeps silent about it."""
    code = (
        "import sys; from snn_compile.sim import native; found = native.status(); "
        "sys.exit(None if found.build else found.why)"
    )
    why = _run([python, "-c", code], {"SNN_COMPILE_ENGINE": "auto", "SNN_COMPILE_ENGINE_PATH": ""})
    if why:
        print(
            f"snn-compile: no compiled engine ({why.splitlines()[-1]}): everything works, but "
            "slower. It takes GCC or Clang; SNN_COMPILE_REQUIRE_ENGINE=1 tries again and says why",
            file=sys.stderr,
        )


def _uv() -> "str | None":
    """The path of uv, if there is one that runs."""
    import shutil

    uv = shutil.which("uv")
    return uv if uv and not _run([uv, "--version"]) else None


def _run(call: "Sequence[str]", variables: "dict[str, str] | None" = None) -> str:
    """Run a command in the project's folder; what it said if it failed, else nothing."""
    import subprocess

    done = subprocess.run(
        call,
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if not done.returncode:
        return ""
    return done.stdout.rstrip() or f"{call[0]} failed with exit code {done.returncode}"


def _clear(folder: Path) -> None:
    """Empty the folder, but for our own two files."""
    import shutil

    for path in folder.iterdir():
        if path.name in (LOCK, STAMP):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _wait_for(lock: Any) -> None:
    """Hold the lock until the file is closed, or the process ends however it may."""
    if WINDOWS:
        import msvcrt
        import time

        while True:
            try:
                msvcrt.locking(lock.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
            except OSError:
                time.sleep(1)
            else:
                return
    else:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("snn-compile: another start is setting it up; waiting ...", file=sys.stderr)
            sys.stderr.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)


def _is_ready(folder: Path, extras: "Sequence[str]") -> bool:
    state = _read_stamp(folder)
    complete = state.get("key") == _key(folder) and set(extras) <= set(state["extras"])
    return complete and os.path.exists(command(_commands(folder), "python"))


def _key(folder: Path) -> str:
    """Changes whenever the project has to be installed again."""
    required = os.environ.get("SNN_COMPILE_REQUIRE_ENGINE", "")
    digest = hashlib.sha256(f"{ROOT}\n{folder}\n{_version()}\n{required}\n".encode())
    for path in (ROOT / "pyproject.toml", CONSTRAINTS, *sorted(ENGINE.glob("*"))):
        digest.update(path.read_bytes() if path.is_file() else b"-")
    for folder_of_packages in PACKAGES:  # an editable installation lists its files
        for path in sorted(folder_of_packages.rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n".encode())
    return digest.hexdigest()


def _version() -> str:
    return "{}.{}.{}".format(*sys.version_info)


def _read_stamp(folder: Path) -> "dict[str, Any]":
    try:
        stamp: dict[str, Any] = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp


def _write_stamp(folder: Path, stamp: "dict[str, Any]") -> None:
    new = folder / (STAMP + ".new")
    new.write_text(json.dumps(stamp), encoding="utf-8")
    os.replace(new, folder / STAMP)


def _commands(folder: Path) -> Path:
    return folder / ("Scripts" if WINDOWS else "bin")


def _shown(folder: Path) -> str:
    return str(folder.relative_to(ROOT)) if ROOT in folder.parents else str(folder)


def start(run: Any) -> int:
    """Run a main function; what can go wrong in setting up becomes one message and an exit code."""
    if sys.version_info < MINIMUM:
        needed = "{}.{}".format(*MINIMUM)
        print(f"snn-compile needs Python {needed} or later; this is {_version()}", file=sys.stderr)
        return 2
    try:
        code: int = run(sys.argv[1:])
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def main(arguments: "Sequence[str]") -> int:
    """Hand the arguments over to ``snn-compile``; the working folder stays the user's."""
    call = [command(prepare(), "snn-compile"), *arguments]
    if WINDOWS:
        import subprocess

        return subprocess.run(call, check=False).returncode
    os.execv(call[0], call)


if __name__ == "__main__":
    sys.exit(start(main))
