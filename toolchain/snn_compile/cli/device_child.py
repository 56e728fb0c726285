"""The child process of a device; ``hil/isolation.py`` starts it and defines the protocol."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from snn_compile.errors import CompileError, CompileErrors

if TYPE_CHECKING:
    from snn_compile.hil.device import Device, Measured


def main() -> None:
    """Load a device, run it, and send its results."""
    signal.signal(signal.SIGTERM, _stop)
    # Standard output is reserved for the protocol: output of the device's libraries is logged.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        asked: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=_read_requests, args=(asked.put,), daemon=True).start()
        device = None
        try:
            request = asked.get()
            device = _opened(request["device"], request["options"])
            _serve(device, Path(request["folder"]), asked, out)
        except CompileError as error:
            _send(out, {"error": _described(error)})
        finally:
            if device is not None:
                device.close()


def _opened(name: str, options: Mapping[str, str]) -> Device:
    from snn_compile.plugins import open_device

    return open_device(name, options)


def _serve(device: Device, folder: Path, asked: queue.Queue[dict[str, Any]], out: BinaryIO) -> None:
    from snn_compile.bundle import CompiledModel

    capabilities = device.load(CompiledModel.load(folder).program, folder)
    _send(out, {"ready": capabilities.as_dict()})
    request = asked.get()
    frames = np.load(request["stimulus"], mmap_mode="c", allow_pickle=False)  # read as it is used
    for measured in device.run(frames, float(request["seconds"])):
        _send_piece(out, measured)
    _send(out, {"done": True})


def _send_piece(out: BinaryIO, measured: Measured) -> None:
    arrays = {name: np.ascontiguousarray(values) for name, values in measured.messages.items()}
    listed = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    out.write(json.dumps({"piece": int(measured.first), "arrays": listed}).encode() + b"\n")
    for array in arrays.values():
        out.write(array.data)
    out.flush()


def _send(out: BinaryIO, what: Mapping[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        out.write(json.dumps(what).encode() + b"\n")
        out.flush()


def _described(error: CompileError) -> dict[str, str]:
    first = error.errors[0] if isinstance(error, CompileErrors) else error
    return {
        "kind": type(first).__name__,
        "message": first.message,
        "code": first.code,
        "origin": str(first.origin or ""),
        "hint": first.hint,
    }


def _read_requests(put: Callable[[dict[str, Any]], None]) -> None:
    """Thread: read requests; at their end, end this process and its children."""
    pending = b""
    while True:
        content = os.read(0, 1 << 16)
        if not content:
            os.killpg(0, signal.SIGKILL)
        *lines, pending = (pending + content).split(b"\n")
        for line in lines:
            put(json.loads(line))


def _stop(number: int, frame: FrameType | None) -> None:
    """Exit through every ``finally``."""
    del frame
    sys.exit(128 + number)
