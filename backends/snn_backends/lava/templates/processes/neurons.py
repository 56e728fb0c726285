"""Integer neurons that lava-nc 0.10.0 has no stock form of (fixed_pt, CPU).

Keep this file alone in its folder: Lava executes every Python file beside a custom process.
A row is one step of Lava's clock: row = time_step - 1. State is int64, every message int32.
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

PARAMETERS = (
    *("bias", "threshold", "initial_potential", "multiplier", "shift", "drop", "breakpoints"),
    *("offset", "sent"),
)


class Population(AbstractProcess):
    """One in-port, one out-port; everything else is a parameter of the model.

    ``first_row`` is the row in which the first window starts, ``n_steps`` its length, ``low`` and
    ``high`` the ends of the range at which the potential saturates.
    """

    def __init__(self, *, name, shape, first_row, n_steps, low, high, **parameters):
        super().__init__(
            name=name,
            shape=shape,
            first_row=first_row,
            n_steps=n_steps,
            low=low,
            high=high,
            **parameters,
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


class Requantize(Population):
    """V = a + bias; sends min((max(V, 0) * multiplier) >> shift, payload_max). No state."""


class PiecewiseLinear(Population):
    """V = a + bias; sends clip((V * multiplier[k] + offset[k]) >> shift[k], lowest, highest). No state.

    Tables have a row for each neuron; k is the number of breakpoints that V has reached.
    """


class PiecewiseLinearDelta(Population):
    """S += a; q as PiecewiseLinear's of S + bias; sends q - the last q.

    S and q are never reset. Nothing is sent before ``first_row``: the first q is sent in full.
    """


class PiecewiseLinearWindow(Population):
    """A += a; when a window starts, sends what PiecewiseLinear does for A + bias, and A = 0."""


class SubtractIF(Population):
    """V += a + bias; s = V >= threshold; V -= threshold where s."""


class BurstIF(Population):
    """V += a + bias; s = min(max(V // threshold, 0), burst); V -= threshold * s."""


class SignedIF(Population):
    """V += a + bias; s = (V >= threshold) - (V < 0 and n > 0); V -= threshold * s; n += s."""


class SyncIF(Population):
    """A += a; when a window starts V = A + bias, A = 0; s = V >= threshold; V -= threshold where s."""


class RadixIF(Population):
    """As SyncIF, but at step t of a window the threshold and the spike are 2**(n_steps - 1 - t)-fold."""


class RequantizedSigmaDelta(Population):
    """S += a; q = min((max(S + bias, 0) * multiplier) >> shift, payload_max); sends q - the last q.

    S and q are never reset. Nothing is sent before ``first_row``: the first q is sent in full.
    """


class Product(Population):
    """V = a + bias = 4096 * x + y, |y| < 2048; sends (x * y * multiplier + half) >> shift, clipped.

    half is (1 << shift) >> 1; the ends are payload_min and payload_max. No state.
    """


class ProductDelta(Population):
    """S += a; q as Product's of S + bias; sends q - the last q. As RequantizedSigmaDelta."""


class ZeroIF(Population):
    """V += a + bias; s = V >= threshold; V = 0 where s."""


class WindowedCubaLIF(Population):
    """Stock LIFReset's equations, for biases that its 16-bit mantissa cannot hold.

    With ``filtered_bias`` the bias is added to the current; with a ``drop`` a spike takes that much
    of the potential instead of all of it.
    """


class ThresholdDelta(Population):
    """S += a; A = max(S + bias, 0); d = A - q; s = d where |d| >= threshold; q += s; sends s >> message_shift.

    A window starts with S = 0 and q = sent. Of frames, A = a + bias.
    """


class Delay(Population):
    """Sends a of ``delay`` rows before, 0 in as many rows at the start of a window."""


class LeakyReadout(Population):
    """The potential of stock LIFReset's equations, which it sends; it never fires."""


class StartedReadout(Population):
    """V += a + bias from ``initial_potential`` at the start of each window; sends V."""


class Readout(Population):
    """V += a + bias from zero at the start of each window; sends V."""


class SyncReadout(Population):
    """A += a; when a window starts V = A + bias, A = 0; sends V at each of its steps."""


class SigmaDeltaReadout(Population):
    """S += a, never reset; sends S + bias."""


class _PopulationModel(PyLoihiProcessModel):
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        n = tuple(proc_params["shape"])
        self.potential = np.zeros(n, np.int64)
        self.collected = np.zeros(n, np.int64)
        self.sent = np.zeros(n, np.int64)
        given = {k: proc_params.get(k) for k in PARAMETERS}
        for key, value in given.items():
            if value is not None:
                value = np.asarray(value, np.int64)
                setattr(self, key, value if value.ndim > 1 else np.broadcast_to(value, n))
        self.first_row = proc_params["first_row"]
        self.n_steps = proc_params["n_steps"]
        self.low, self.high = proc_params["low"], proc_params["high"]

    def window_starts(self):
        """Whether this row is the first one of a window."""
        return (self.time_step - 1 - self.first_row) % self.n_steps == 0

    def saturated(self, potential):
        """The potential inside the range of the state."""
        return np.clip(potential, self.low, self.high)

    def integrated(self, a):
        """The potential after this row's input; a window starts from the initial one."""
        start = self.initial_potential if self.window_starts() else self.potential
        return self.saturated(start + a + self.bias)

    def collect(self, a):
        """Add up this row's input; where a window starts, make a potential of the sum."""
        self.collected = self.collected + a
        if self.window_starts():  # the last message of the sources' window has just arrived
            self.potential = self.saturated(self.collected + self.bias)
            self.collected = np.zeros_like(a)

    def requantized(self, potential):
        """The payload that a potential stands for."""
        potential = np.maximum(self.saturated(potential), 0)
        payload = (potential * self.multiplier) >> self.shift
        return np.minimum(payload, self.proc_params["payload_max"])

    def on_lines(self, potential):
        """The payload that the table has for a potential."""
        potential = self.saturated(potential)
        line = np.arange(len(potential)), (potential[:, None] >= self.breakpoints).sum(axis=1)
        payload = (potential * self.multiplier[line] + self.offset[line]) >> self.shift[line]
        return np.clip(payload, self.proc_params["lowest"], self.proc_params["highest"])

    def multiplied(self, potential):
        """The payload that the operands in a potential stand for."""
        potential = self.saturated(potential)
        x = (potential + 2048) >> 12
        y = potential - (x << 12)
        payload = (x * y * self.multiplier + ((1 << self.shift) >> 1)) >> self.shift
        return np.clip(payload, self.proc_params["payload_min"], self.proc_params["payload_max"])

    def change(self, a, payload_of):
        """What this row's input changes of the payload that all input so far stands for."""
        if self.time_step - 1 < self.first_row:
            return np.zeros_like(a)
        self.potential = self.potential + a
        payload = payload_of(self.potential + self.bias)
        change = payload - self.sent
        self.sent = payload
        return change

    def leaked(self, a):
        """The potential of a leaky neuron after this row's input; a window starts from 0."""
        if self.window_starts():
            self.current = np.zeros_like(a)
            self.potential = np.zeros_like(a)
        filtered = self.proc_params.get("filtered_bias")
        keep = 4096 - (self.proc_params["du"] + 1)
        u = self.toward_zero(self.current * keep) + (a << 6) + (self.bias if filtered else 0)
        u = np.where(u > 1 << 23, u - (1 << 24), np.where(u <= -(1 << 23), u + (1 << 24), u))
        v = self.toward_zero(self.potential * (4096 - self.proc_params["dv"])) + u
        self.current = u
        return np.clip(v + (0 if filtered else self.bias), 1 - (1 << 23), (1 << 23) - 1)

    def toward_zero(self, x):
        """x / 4096, truncated toward zero."""
        return np.sign(x) * (np.abs(x) >> 12)

    current = 0

    def run_spk(self):
        message = self.step(self.a_in.recv().astype(np.int64))
        self.s_out.send(message.astype(np.int32))


@implements(proc=Requantize, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRequantize(_PopulationModel):
    def step(self, a):
        return self.requantized(a + self.bias)


@implements(proc=RequantizedSigmaDelta, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRequantizedSigmaDelta(_PopulationModel):
    def step(self, a):
        return self.change(a, self.requantized)


@implements(proc=PiecewiseLinear, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPiecewiseLinear(_PopulationModel):
    def step(self, a):
        return self.on_lines(a + self.bias)


@implements(proc=PiecewiseLinearDelta, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPiecewiseLinearDelta(_PopulationModel):
    def step(self, a):
        return self.change(a, self.on_lines)


@implements(proc=PiecewiseLinearWindow, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPiecewiseLinearWindow(_PopulationModel):
    def step(self, a):
        self.collect(a)
        payload = self.on_lines(self.potential)
        return payload if self.window_starts() else np.zeros_like(payload)


@implements(proc=SubtractIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySubtractIF(_PopulationModel):
    def step(self, a):
        self.potential = self.integrated(a)
        spikes = self.potential >= self.threshold
        self.potential = self.potential - self.threshold * spikes
        return spikes


@implements(proc=BurstIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBurstIF(_PopulationModel):
    def step(self, a):
        self.potential = self.integrated(a)
        spikes = np.clip(self.potential // self.threshold, 0, self.proc_params["burst"])
        self.potential = self.potential - self.threshold * spikes
        return spikes


@implements(proc=SignedIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySignedIF(_PopulationModel):
    def step(self, a):
        if self.window_starts():
            self.total = np.zeros_like(a)
        self.potential = self.integrated(a)
        taken_back = (self.potential < 0) & (self.total > 0)
        spikes = (self.potential >= self.threshold).astype(np.int64) - taken_back
        self.potential = self.potential - self.threshold * spikes
        self.total = self.total + spikes
        return spikes

    total = 0


@implements(proc=SyncIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySyncIF(_PopulationModel):
    def step(self, a):
        self.collect(a)
        spikes = self.potential >= self.threshold
        self.potential = self.potential - self.threshold * spikes
        return spikes


@implements(proc=RadixIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyRadixIF(_PopulationModel):
    def step(self, a):
        self.collect(a)
        place = self.n_steps - 1 - (self.time_step - 1 - self.first_row) % self.n_steps
        spikes = self.potential >= self.threshold << place
        self.potential = self.potential - (self.threshold << place) * spikes
        return spikes.astype(np.int64) << place


@implements(proc=Product, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyProduct(_PopulationModel):
    def step(self, a):
        return self.multiplied(a + self.bias)


@implements(proc=ProductDelta, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyProductDelta(_PopulationModel):
    def step(self, a):
        return self.change(a, self.multiplied)


@implements(proc=ZeroIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyZeroIF(_PopulationModel):
    def step(self, a):
        self.potential = self.integrated(a)
        spikes = self.potential >= self.threshold
        self.potential = np.where(spikes, 0, self.potential)
        return spikes


@implements(proc=WindowedCubaLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyWindowedCubaLIF(_PopulationModel):
    def step(self, a):
        v = self.leaked(a)
        spikes = v > (self.threshold << 6)
        left = 0 if self.drop is None else v - self.drop
        self.potential = np.where(spikes, left, v)
        return spikes

    drop = None


@implements(proc=LeakyReadout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLeakyReadout(_PopulationModel):
    def step(self, a):
        self.potential = self.leaked(a)
        return self.potential


@implements(proc=ThresholdDelta, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyThresholdDelta(_PopulationModel):
    def step(self, a):
        if self.window_starts():
            self.collected, self.known = np.zeros_like(a), self.sent
        frames = self.proc_params["of_frames"]
        self.collected = a if frames else self.collected + a
        active = self.collected + self.bias
        change = self.saturated(active if frames else np.maximum(active, 0)) - self.known
        change = np.where(np.abs(change) >= self.threshold, change, 0)
        self.known = self.known + change
        return change >> self.proc_params["message_shift"]

    known = 0


@implements(proc=Delay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDelay(_PopulationModel):
    def step(self, a):
        if self.window_starts():
            self.waiting = [np.zeros_like(a)] * self.proc_params["delay"]
        self.waiting = [*self.waiting, a]
        sent, self.waiting = self.waiting[0], self.waiting[1:]
        return sent

    waiting = ()


@implements(proc=StartedReadout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyStartedReadout(_PopulationModel):
    def step(self, a):
        self.potential = self.integrated(a)
        return self.potential


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadout(_PopulationModel):
    def step(self, a):
        if self.window_starts():
            self.potential = np.zeros_like(a)
        self.potential = self.saturated(self.potential + a + self.bias)
        return self.potential


@implements(proc=SyncReadout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySyncReadout(_PopulationModel):
    def step(self, a):
        self.collect(a)
        return self.potential


@implements(proc=SigmaDeltaReadout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySigmaDeltaReadout(_PopulationModel):
    def step(self, a):
        self.potential = self.potential + a
        return self.saturated(self.potential + self.bias)
