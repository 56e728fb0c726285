"""A device in a child process: if it hangs, crashes or is killed, the tool survives.

The child (``cli/device_child.py``) loads the compiled folder and the device and sends one line of
JSON per event, on a pipe that nothing else in it writes to; the line of a piece is followed by the
bytes of its arrays. Nothing is pickled, and sizes are known before anything is read. The child and
its descendants exit when its standard input is closed, hence also when this process is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from snn_compile import errors, memory
from snn_compile.errors import CompileError, DeviceError, Origin
from snn_compile.files.last_words import MAX_BYTES, last_words
from snn_compile.hil.device import Capabilities, Measured, bad_messages, layers_of
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph

GRACE_SECONDS = 5.0
"""Time for the device's own clean-up."""
MAX_LINE_LENGTH = 1 << 20
START = "from snn_compile.cli.device_child import main; main()"
TYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")
_AHEAD = 2
"""Read-ahead, in pieces."""
_KINDS = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.ModelError,
        errors.VerificationError,
        errors.DeviceError,
    )
}


class IsolatedDevice:
    """A device in a child process, by name.

    Args:
        name: as ``--device`` takes it.
        options: as ``--set`` gives them.
        time_limit: seconds that may be spent waiting for it, loading included.
    """

    def __init__(self, name: str, options: Mapping[str, str], time_limit: float) -> None:
        self.name = name
        self._options = dict(options)
        self._left = time_limit
        self._limit = time_limit
        self._child: subprocess.Popen[bytes] | None = None
        self._words = bytearray()
        self._threads: list[threading.Thread] = []
        self._scratch = tempfile.TemporaryDirectory(prefix="snn-compile-hil-")
        self._replies: queue.Queue[Any] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._program: QuantizedGraph | None = None
        self._layers: list[str] = []

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Start the child and load the network in it.

        Raises:
            DeviceError: raised by the device; or it crashed, or exceeded the time limit.
            UsageError: raised by the device.
        """
        self._program = program
        # The child has the same import path; the working folder is not on it.
        paths = os.pathsep.join(path for path in sys.path if path)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": paths, memory.VARIABLE: str(memory.budget())},
            start_new_session=True,
        )
        self._threads = [
            threading.Thread(target=target, args=(self._child,), daemon=True)
            for target in (self._read_reply, self._drain_stderr)
        ]
        for thread in self._threads:
            thread.start()
        self._send_request({"device": self.name, "options": self._options, "folder": str(folder)})
        document = self._next()
        if not isinstance(document, dict) or "ready" not in document:
            raise bad_messages("unexpected reply to 'load'")
        try:
            capabilities = Capabilities.from_dict(document["ready"])
        except (KeyError, TypeError, AttributeError) as error:
            raise bad_messages("its capabilities cannot be read") from error
        self._layers = layers_of(program, capabilities)
        return capabilities

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Send the stimuli, and yield pieces as they arrive.

        Raises:
            DeviceError: raised by the device; or it crashed, violated the protocol, or exceeded
                the time limit.
        """
        self._left = min(self._left, time_limit)
        stimulus = Path(self._scratch.name) / "stimulus.npy"
        np.save(stimulus, np.ascontiguousarray(frames, np.int64), allow_pickle=False)
        self._send_request({"stimulus": str(stimulus), "seconds": self._left})
        while True:
            document = self._next()
            if isinstance(document, Measured):
                yield document
            elif "done" in document:
                return
            else:
                raise bad_messages("an unexpected reply")

    def close(self) -> None:
        """End the child and its descendants."""
        self._closed.set()
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_SECONDS)
        if child is not None:
            _kill_group(child)
            with contextlib.suppress(OSError):
                if child.stdin is not None:
                    child.stdin.close()
        self._scratch.cleanup()

    def _send_request(self, what: Mapping[str, Any]) -> None:
        if self._child is None or self._child.stdin is None:
            raise RuntimeError("load a network first")
        with contextlib.suppress(BrokenPipeError):  # it is dead: `_next` reports why
            self._child.stdin.write(json.dumps(what).encode() + b"\n")
            self._child.stdin.flush()

    def _next(self) -> Any:
        """The next message of the child, within the remaining time."""
        begin = time.monotonic()
        try:
            document = self._replies.get(timeout=max(0.0, self._left))
        except queue.Empty:
            raise DeviceError(
                f"the device did not finish within {self._limit:g} s and was stopped",
                code="device-timeout",
                hint="allow more time (--time-limit), or run fewer stimuli (--stimuli)",
            ) from None
        finally:
            self._left -= time.monotonic() - begin
        if isinstance(document, CompileError):
            raise document
        if document is None:
            raise self._crashed()
        return document

    def _crashed(self) -> DeviceError:
        status = None
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._child.wait(GRACE_SECONDS)
        self._threads[-1].join(GRACE_SECONDS)  # drain its output
        how = "closed its connection" if status is None else f"ended with exit status {status}"
        if status is not None and status < 0:
            how = f"was killed by {signal.Signals(-status).name}"
        tail = last_words(bytes(self._words))
        return DeviceError(
            f"the device's process {how}{tail}",
            code="device-crashed",
            hint="its error output is above" if tail else "it printed no error",
        )

    def _drain_stderr(self, child: subprocess.Popen[bytes]) -> None:
        """Thread: keep the tail of the child's error output."""
        stream = child.stderr
        if stream is None:
            raise RuntimeError("the child has no log")
        with stream:
            while content := os.read(stream.fileno(), 1 << 16):
                self._words += content
                del self._words[:-MAX_BYTES]

    def _read_reply(self, child: subprocess.Popen[bytes]) -> None:
        """Thread: put the child's messages into the queue; None when it has exited."""
        document: Any = None
        stream = child.stdout
        if stream is None:
            raise RuntimeError("the child has no output")
        with stream:
            while not self._closed.is_set():
                try:
                    document = self._received(stream)
                except (ValueError, KeyError, TypeError, OSError):
                    document = bad_messages("a message that cannot be read")
                while not self._closed.is_set():
                    with contextlib.suppress(queue.Full):
                        self._replies.put(document, timeout=0.1)
                        break
                if document is None or isinstance(document, CompileError):
                    return

    def _received(self, stream: IO[bytes]) -> Any:
        line = stream.readline(MAX_LINE_LENGTH)
        if not line.endswith(b"\n"):
            return None
        document = json.loads(line)
        if "error" in document:
            return _error(document["error"])
        if "piece" not in document:
            return document
        arrays: dict[str, npt.NDArray[np.generic]] = {}
        for name, dtype, shape in document["arrays"]:
            if name not in self._layers or dtype not in TYPES:
                return bad_messages(f"an array {name!r} of type {dtype!r}")
            array = np.empty(self._shape(name, shape), dtype)
            view = memoryview(array.reshape(-1).view(np.uint8).data)
            while len(view):
                n_read = stream.readinto(view)  # type: ignore[attr-defined]
                if not n_read:
                    return None
                view = view[n_read:]
            arrays[name] = array
        return Measured(int(document["piece"]), arrays)

    def _shape(self, name: str, shape: list[int]) -> tuple[int, ...]:
        """The shape of an array, checked against its upper bound."""
        if self._program is None:
            raise RuntimeError("load a network first")
        expected = (self._program.window.n_steps, *self._program.graph[_id(name)].shape)
        if tuple(shape[1:]) != expected or not 0 < shape[0] < 1 << 24:
            raise ValueError(f"shape {shape}")
        return (int(shape[0]), *expected)


def _id(name: str) -> Any:
    return name


def _error(document: Mapping[str, Any]) -> CompileError:
    """The error that the child raised."""
    kind = _KINDS.get(str(document["kind"]), DeviceError)
    origin = Origin(str(document["origin"])) if document["origin"] else None
    return kind(
        str(document["message"]),
        code=str(document["code"]),
        origin=origin,
        hint=str(document["hint"]),
    )


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the rest of the child's process group."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
