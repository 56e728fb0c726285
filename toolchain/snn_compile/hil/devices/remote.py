"""A device on another host: the same ``snn-compile hil --record`` there, over SSH.

What goes there is the sealed network with the stimuli and the emitted files, as a tar archive on
standard input; what comes back is the recorded trace, on standard output. The other host needs
snn-compile and whatever the device needs; this one needs ``ssh`` and a key that asks for nothing.
"""

from __future__ import annotations

import contextlib
import io
import shlex
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from snn_compile.errors import DeviceError, UsageError
from snn_compile.hil.device import Capabilities, Measured
from snn_compile.hil.devices.replay import fits, incomplete
from snn_compile.hil.recording import Recording
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.quantized import QuantizedGraph

GRACE_SECONDS = 60.0
"""What the way there and back, and the start over there, may take beside the run."""
SCRIPT = """
set -u
umask 077
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
DIFFERS = 7


class RemoteDevice:
    """``--device remote:USER@HOST[:FOLDER] --set device=NAME``.

    Options:
        ``device``: the device there; ``lava`` if not given.
        ``command``: how snn-compile is called there; ``snn-compile``.
        ``ssh``: how ssh is called here; ``ssh -o BatchMode=yes``.
        Others are passed on to the device there.

    FOLDER is where a scratch folder is made and removed; the host's ``/tmp`` if not given.
    """

    def __init__(self, argument: str = "", options: Mapping[str, str] | None = None) -> None:
        given = dict(options or {})
        self._host, _, folder = argument.partition(":")
        if not self._host or self._host.startswith("-"):
            raise UsageError(
                "which host?", code="bad-device", hint="--device remote:USER@HOST[:FOLDER]"
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
        """See that ssh is here. What the other host has, it says when it runs."""
        if not self._ssh or shutil.which(self._ssh[0]) is None:
            raise DeviceError(
                f"there is no '{' '.join(self._ssh[:1])}' here",
                code="no-ssh",
                hint="install an SSH client, or name one: --set ssh=COMMAND",
            )
        self._program, self._network = program, folder
        return Capabilities(facts={"host": self._host, "device": self._device})

    def run(self, frames: Int, time_limit: float) -> Iterator[Measured]:
        """Send everything there, wait, and read the trace that comes back."""
        if self._program is None:
            raise RuntimeError("load a network first")
        with tempfile.TemporaryDirectory(prefix="snn-compile-remote-") as scratch:
            path = Path(scratch) / "trace.npz"
            self._fetch(frames, path, time_limit)
            with Recording.open(path) as recording:
                fits(recording, self._program)
                recording.check_stimuli(frames)
                for first, stop in recording.ranges():
                    layers = recording.layers
                    yield Measured(
                        first, {name: recording.messages(name, first, stop) for name in layers}
                    )
                if not recording.header.complete:
                    raise incomplete(recording)

    def close(self) -> None:
        """End the connection. What runs there ends at its own time limit at the latest."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def _fetch(self, frames: Int, path: Path, time_limit: float) -> None:
        options = [f"--time-limit {time_limit:g}"]
        options += [f"--set {shlex.quote(f'{k}={v}')}" for k, v in sorted(self._options.items())]
        script = SCRIPT.format(
            folder=shlex.quote(self._folder),
            command=self._command,
            device=shlex.quote(self._device),
            options=" ".join(options),
        )
        # The login shell there may be any: it gets one word to hand to sh.
        command = [*self._ssh, "--", self._host, f"sh -c {shlex.quote(script)}"]
        deadline = time.monotonic() + time_limit + GRACE_SECONDS
        with path.open("wb") as trace, tempfile.TemporaryFile() as log:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=trace, stderr=log)
            sender = threading.Thread(target=self._send, args=(frames, self._child.stdin))
            sender.start()
            try:
                status = self._child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise DeviceError(
                    f"{self._host} did not answer within {time_limit + GRACE_SECONDS:g} s",
                    code="device-timeout",
                    hint="allow more time: --time-limit",
                ) from None
            finally:
                self.close()
                sender.join()
            log.seek(0)
            words = log.read()[-20_000:].decode(errors="replace")
        if status not in (0, DIFFERS) and not path.stat().st_size:
            raise _failed(self._host, status, words)

    def _send(self, frames: Int, stream: IO[bytes] | None) -> None:
        """Thread: the archive, into a pipe that may break."""
        if stream is None:
            return
        with contextlib.suppress(BrokenPipeError), stream:
            with tarfile.open(fileobj=stream, mode="w|") as archive:
                for path in sorted(self._network.rglob("*")):
                    relative = path.relative_to(self._network)
                    if path.is_file() and relative.parts[:2] != ("golden", "stimulus.npz"):
                        archive.add(path, f"network/{relative.as_posix()}")
                content = io.BytesIO()
                np.savez_compressed(content, frames=frames)
                info = tarfile.TarInfo("network/golden/stimulus.npz")
                info.size = content.tell()
                content.seek(0)
                archive.addfile(info, content)


def _failed(host: str, status: int, words: str) -> DeviceError:
    lines = [line for line in words.strip().splitlines() if line.strip()]
    said = "".join(f"\n  {line}" for line in lines[-8:])
    if status == UNREACHABLE:
        return DeviceError(
            f"no connection to {host}{said}",
            code="no-connection",
            hint=f"try by hand: ssh -o BatchMode=yes {host} true",
        )
    if status in (126, 127):
        return DeviceError(
            f"there is no snn-compile on {host}{said}",
            code="remote-failed",
            hint="install it there, or say how it is called: --set command=PATH",
        )
    return DeviceError(
        f"{host} recorded nothing; exit status {status}{said}",
        code="remote-failed",
        hint="its own words are above" if said else "it said nothing",
    )
