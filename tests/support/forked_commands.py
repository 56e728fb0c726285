"""``snn-compile`` in forks of one process: what a page runs need not import the program each time.

The pages run it some 160 times, and each time half a second goes by before it begins. A server
imports it once. In its folder lie ``snn-compile``, and ``python`` for a script on standard input,
for the PATH of a shell: they hand words, streams, folder and environment to the server, which
forks. Where the environment is not the server's own (a PYTHONPATH with a plug-in, say), they run
the true program. So does whoever has asked for no server, like ``tests/documented.py`` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn

PASSING = ("PYTEST_CURRENT_TEST", "PWD", "OLDPWD", "SHLVL", "_", "PATH", "COLUMNS", "LINES")
"""Variables that no import looks at."""
MODULES = (
    "jinja2",
    "onnx",
    "onnxruntime",
    "rich.console",
    "rich.progress",
    "snn_backends.lava.backend",
    "snn_compile.bundle",
    "snn_compile.cli.compile",
    "snn_compile.cli.settings",
    "snn_compile.lowering",
    "snn_compile.pipeline.data_trial",
    "snn_compile.pipeline.driver",
    "snn_compile.report.files",
    "snn_frontends.onnx.attempts",
    "snn_frontends.onnx.integers",
)
"""What most commands import."""
CLIENT = """\
#!{python} -IS
import json, os, signal, socket, sys
words = [{program!r}, *sys.argv[1:]]
own = {{k: v for k, v in os.environ.items() if k not in {passing!r}}}
if own != {known!r} or ({script!r} and words[1:] != ["-"]):
    os.execv(words[0], words)
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
said = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(link, [len(said).to_bytes(4, "big")], [0, 1, 2])
link.sendall(said)
answers = link.makefile("rb")
child = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: os.kill(child, number))
os._exit(int(answers.readline() or 255))
"""
SCRIPTS = ("python", "python3")


@contextmanager
def served(folder: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """A server for the commands of one environment.

    Args:
        folder: an empty one, with a short path.
        environment: of the commands.

    Yields:
        A folder for the PATH.
    """
    known = {key: value for key, value in environment.items() if key not in PASSING}
    own, address, clients = Path(sys.executable), folder / "socket", folder / "bin"
    clients.mkdir()
    for name in ("snn-compile", *SCRIPTS):
        client = clients / name
        client.write_text(
            CLIENT.format(
                python=own,
                program=str(own.with_name(name)),
                script=name in SCRIPTS,
                address=str(address),
                known=known,
                passing=PASSING,
            )
        )
        client.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, __file__, address],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield clients
        finally:
            server.stdin.close()  # it ends with that
            server.wait()


def serve(address: str) -> None:
    """Fork for each request until the standard input ends."""
    for module in MODULES:
        with contextlib.suppress(ImportError):
            __import__(module)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            with listening.accept()[0] as link:
                if not os.fork():
                    listening.close()
                    answer(link)
            reap()


def reap() -> None:
    """Forget the forks that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def answer(link: socket.socket) -> NoReturn:
    """Run what is asked for as a process of its own would, and say how it ended."""
    os.setsid()
    size, streams, _, _ = socket.recv_fds(link, 4, 3)
    with link.makefile("rb") as file:
        words, folder, environment = json.loads(file.read(int.from_bytes(size, "big")))
    link.sendall(f"{os.getpid()}\n".encode())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    script = Path(words[0]).name in SCRIPTS
    sys.path[0], sys.argv[:] = ("", words[1:]) if script else (str(Path(words[0]).parent), words)
    status = 1
    try:
        status = run_script() if script else run_program()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else bool(ended.code)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        link.sendall(f"{status:d}\n".encode())
        os._exit(status)


def run_program() -> int:
    """The program, with ``sys.argv``."""
    from snn_compile.cli import main

    return main()


def run_script() -> int:
    """What is on the standard input."""
    module = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), module.__dict__)
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
