"""Processes that move data: frames into the network, messages to files (lava-nc 0.10.0, fixed_pt, CPU).

Keep this file alone in its folder: Lava executes every Python file beside a custom process.
A row is one step of Lava's clock: row = time_step - 1. Every message is int32.
No attribute of a process model here is called ``start``, ``run`` or ``join``: those hide methods.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class FrameSource(AbstractProcess):
    """Sends frames[(row - delay) // hold]; zeros before the first and after the last one.

    With ``once`` it sends a frame in the first of its rows only, and zeros in the others.
    """

    def __init__(self, *, name, frames, hold, delay, once=False):
        super().__init__(name=name, frames=frames, hold=hold, delay=delay, once=once)
        self.s_out = OutPort(shape=frames.shape[1:])


class ProbeSource(AbstractProcess):
    """A FrameSource of one frame a row, with a second port that ties separate probes into one run."""

    def __init__(self, *, name, frames):
        super().__init__(name=name, frames=frames, hold=1, delay=0, once=False)
        self.s_out = OutPort(shape=frames.shape[1:])
        self.tie = OutPort(shape=(1,))


class Tie(AbstractProcess):
    """Receives nothing of interest: Lava runs together only what is connected."""

    def __init__(self, *, name):
        super().__init__(name=name)
        self.a_in = InPort(shape=(1,))


FORMS = {"i8": "i1", "u8": "u1", "i16": "<i2", "u16": "<u2", "i32": "<i4"}


class FileSink(AbstractProcess):
    """Appends the messages of ``n_rows`` rows from ``first_row`` on to a raw file.

    ``form``: ``bits`` (packed, most significant first, each row padded to a byte), or one of the
    integers of ``FORMS``, little-endian.
    """

    def __init__(self, *, name, shape, path, form, first_row, n_rows):
        super().__init__(
            name=name, shape=shape, path=path, form=form, first_row=first_row, n_rows=n_rows
        )
        self.a_in = InPort(shape=shape)


class _SourceModel(PyLoihiProcessModel):
    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.frames = np.asarray(proc_params["frames"], np.int32)
        self.silence = np.zeros(self.frames.shape[1:], np.int32)

    def message(self):
        """What to send in this row."""
        row = self.time_step - 1 - self.proc_params["delay"]
        index, step = divmod(row, self.proc_params["hold"])
        if not 0 <= index < len(self.frames) or (step and self.proc_params["once"]):
            return self.silence
        return self.frames[index]


@implements(proc=FrameSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFrameSource(_SourceModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        self.s_out.send(self.message())


@implements(proc=ProbeSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyProbeSource(_SourceModel):
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    tie: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self):
        self.s_out.send(self.message())
        self.tie.send(np.zeros(1, np.int32))


@implements(proc=Tie, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyTie(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)

    def run_spk(self):
        self.a_in.recv()


@implements(proc=FileSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFileSink(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    file = None

    def run_spk(self):
        messages = self.a_in.recv()
        row = self.time_step - 1 - self.proc_params["first_row"]
        if not 0 <= row < self.proc_params["n_rows"]:
            return
        if self.file is None:  # opened here: the model is made in the parent, run in a child
            self.file = open(self.proc_params["path"], "wb", buffering=0)
        self.file.write(self.encoded(messages))

    def encoded(self, messages):
        """The bytes of one row."""
        form = self.proc_params["form"]
        limits = np.iinfo(FORMS[form]) if form in FORMS else None
        low, high = (limits.min, limits.max) if limits else (0, 1)
        if messages.size and (messages.min() < low or messages.max() > high):
            raise ValueError(f"a message is outside {low}..{high}")
        if limits:
            return messages.astype(FORMS[form]).tobytes()
        return np.packbits(messages.astype(np.uint8)).tobytes()
