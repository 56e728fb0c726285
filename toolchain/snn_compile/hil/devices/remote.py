"""A device on another host: the same ``snn-compile hil --record`` there, over SSH.

The sealed network, the stimuli and the emitted files are sent as a tar archive on standard input;
the recorded trace is returned on standard output. The remote host needs snn-compile and the
device's own requirements; this one needs ``ssh`` and a key without a prompt.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from snn_compile.errors import CompileError, DeviceError, UsageError
from snn_compile.files.last_words import MAX_BYTES, last_words
from snn_compile.hil.device import Capabilities, Measured
from snn_compile.hil.devices.replay import fits, incomplete
from snn_compile.hil.recording import Recording
from snn_compile.hil.trace import EVENT_TYPE
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.memory import format_size

GRACE_SECONDS = 60.0
"""Allowance for transfers and the remote start, beyond the run."""
SCRIPT = """
set -u
umask 077
export PYTHONSAFEPATH=1
work=$(mktemp -d {folder}/snn-compile-hil.XXXXXXXX) || exit 73
trap 'rm -rf "$work"' EXIT
trap 'exit 129' HUP INT TERM
tar -x -f - -C "$work" || exit 74
cd "$work" || exit 74
{command} hil network --device {device} --record trace.npz {options} --quiet >&2 </dev/null
status=$?
for trace in trace.npz trace.partial.npz; do
  if [ -f "$trace" ]; then cat "$trace"; fi
done
exit $status
"""
UNREACHABLE = 255
"""Exit status of ssh itself."""
SHOWN_BYTES = 60
"""Shown of a reply that is no trace."""
WATCH_SECONDS = 0.1
"""Interval between two checks of the amount received."""
EVENT_BYTES, SLACK_BYTES = 4 * EVENT_TYPE.itemsize, 16 << 20
MAX_LOG_BYTES = 16 << 20


class RemoteDevice:
    """``--device remote:USER@HOST[:FOLDER] --set device=NAME``.

    Options:
        ``device``: the remote device; ``lava`` by default.
        ``command``: the remote command; ``snn-compile`` by default.
        ``ssh``: the local SSH command; ``ssh -o BatchMode=yes`` by default.
        Others are passed to the remote device.

    FOLDER holds the scratch folder, which is removed; the host's ``/tmp`` by default.
    """

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        given = dict(options or {})
        self._host, _, folder = argument.partition(":")
        if not self._host or self._host.startswith("-"):
            raise UsageError(
                "no host is named", code="bad-device", hint="--device remote:USER@HOST[:FOLDER]"
            )
        self._folder = folder or "/tmp"
        self._device = given.pop("device", "lava")
        self._command = given.pop("command", "snn-compile")
        self._ssh = shlex.split(given.pop("ssh", "ssh -o BatchMode=yes"))
        self._options = given
        self._program: QuantizedGraph | None = None
        self._network = Path()
        self._child: subprocess.Popen[bytes] | None = None

    def load(self, program: QuantizedGraph, folder: Path) -> Capabilities:
        """Check that ssh is installed. The remote host is checked by the run."""
        if not self._ssh or shutil.which(self._ssh[0]) is None:
            raise DeviceError(
                f"'{' '.join(self._ssh[:1])}' is not installed",
                code="no-ssh",
                hint="install an SSH client, or name one: --set ssh=COMMAND",
            )
        self._program, self._network = program, folder
        return Capabilities(facts={"host": self._host, "device": self._device})

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Send the archive, wait, and read the trace returned."""
        if self._program is None:
            raise RuntimeError("load a network first")
        with tempfile.TemporaryDirectory(prefix="snn-compile-remote-") as scratch:
            path = Path(scratch) / "trace.npz"
            status, words = self._fetch(frames, path, time_limit)
            if not path.stat().st_size:
                raise _failed(self._host, status, words)
            try:
                recording = _opened(path, self._program, frames)
            except CompileError as error:
                raise _no_trace(self._host, status, words, path, error) from error
            with recording:
                for first, stop in recording.ranges():
                    layers = recording.layers
                    yield Measured(
                        first, {name: recording.messages(name, first, stop) for name in layers}
                    )
                if not recording.header.complete:
                    raise incomplete(recording, self._host)

    def close(self) -> None:
        """End the connection. The remote run ends at its own time limit at the latest."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _fetch(self, frames: Int, path: Path, time_limit: float) -> tuple[int, bytes]:
        """Write the reply into a file; return the exit status and the tail of the error output."""
        options = [f"--time-limit {time_limit:g}"]
        options += [f"--set {shlex.quote(f'{k}={v}')}" for k, v in sorted(self._options.items())]
        script = SCRIPT.format(
            folder=shlex.quote(self._folder),
            command=self._command,
            device=shlex.quote(self._device),
            options=" ".join(options),
        )
        # The remote login shell may be any: it gets one word to pass to sh.
        command = [*self._ssh, "--", self._host, f"sh -c {shlex.quote(script)}"]
        with path.open("wb") as trace, tempfile.TemporaryFile() as log:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=trace, stderr=log)
            sender = threading.Thread(target=self._send, args=(frames, self._child.stdin))
            sender.start()
            try:
                status = self._ended(self._child, time_limit + GRACE_SECONDS, trace, log, frames)
            finally:
                self.close()
                sender.join()
            log.seek(max(0, log.seek(0, io.SEEK_END) - MAX_BYTES))
            return status, log.read()

    def _ended(
        self,
        child: subprocess.Popen[bytes],
        seconds: float,
        trace: IO[bytes],
        log: IO[bytes],
        frames: Int,
    ) -> int:
        """The exit status; too long a run, or a reply larger than any trace, is an error."""
        deadline = time.monotonic() + seconds
        bounds = ((trace, self._largest(frames)), (log, MAX_LOG_BYTES))
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(WATCH_SECONDS)
            for file, most in bounds:
                if os.fstat(file.fileno()).st_size > most:
                    raise DeviceError(
                        f"{self._host} sent more than {format_size(most)} and was stopped",
                        code="remote-failed",
                        hint=f"no such trace is as large; check the output of {self._host}",
                    )
            if child.returncode is not None:
                return child.returncode
            if time.monotonic() > deadline:
                raise DeviceError(
                    f"{self._host} did not answer within {seconds:g} s",
                    code="device-timeout",
                    hint="allow more time: --time-limit",
                )

    def _largest(self, frames: Int) -> int:
        """Bytes of a trace in which every neuron sends at every step, uncompressed."""
        if self._program is None:
            raise RuntimeError("load a network first")
        n_neurons = sum(prod(node.shape) for node in self._program.populations)
        n_events = len(frames) * self._program.window.n_steps * n_neurons
        return n_events * EVENT_BYTES + SLACK_BYTES

    def _send(self, frames: Int, stream: IO[bytes] | None) -> None:
        """Thread: write the archive into a pipe that may break."""
        if stream is None:
            return
        with contextlib.suppress(BrokenPipeError), stream:
            with tarfile.open(fileobj=stream, mode="w|") as archive:
                for path in sorted(self._network.rglob("*")):
                    relative = path.relative_to(self._network)
                    if path.is_symlink() or not path.is_file():
                        continue  # a link could lead outside the folder
                    if relative.parts[:2] != ("golden", "stimulus.npz"):
                        archive.add(path, f"network/{relative.as_posix()}")
                with tempfile.TemporaryFile() as content:
                    np.savez_compressed(content, frames=frames)
                    info = tarfile.TarInfo("network/golden/stimulus.npz")
                    info.size = content.tell()
                    content.seek(0)
                    archive.addfile(info, content)


def _opened(path: Path, program: QuantizedGraph, frames: Int) -> Recording:
    """The trace returned, checked to be of this network and these stimuli.

    Raises:
        CompileError: the check fails.
    """
    recording = Recording.open(path)
    try:
        fits(recording, program)
        recording.check_stimuli(frames)
    except CompileError:
        recording.close()
        raise
    return recording


def _no_trace(host: str, status: int, words: bytes, path: Path, error: CompileError) -> DeviceError:
    """The reply is not the trace requested."""
    with path.open("rb") as stream:
        begin = stream.read(SHOWN_BYTES)
    return DeviceError(
        f"the reply from {host} is not the trace requested: {error.message};"
        f" exit status {status}; it begins with {begin!r}{last_words(words)}",
        code="remote-failed",
        hint=f"standard output must hold only the trace: try ssh {host} true, and check what its"
        " login scripts and the command print",
    )


def _failed(host: str, status: int, words: bytes) -> DeviceError:
    output = last_words(words)
    if status == UNREACHABLE:
        return DeviceError(
            f"no connection to {host}{output}",
            code="no-connection",
            hint=f"try by hand: ssh -o BatchMode=yes {host} true",
        )
    if status in (126, 127):
        return DeviceError(
            f"snn-compile is not installed on {host}{output}",
            code="remote-failed",
            hint="install it there, or name its path: --set command=PATH",
        )
    return DeviceError(
        f"{host} recorded nothing; exit status {status}{output}",
        code="remote-failed",
        hint="its error output is above" if output else "it printed no error",
    )
