"""A process that reads the potential of a stock LIF after every row (lava-nc 0.10.0, fixed_pt, CPU).

Keep this file alone in its folder: Lava executes every Python file beside a custom process.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class PotentialSink(AbstractProcess):
    """Appends ``v >> 6``, the potential in units of the weight, of ``n_rows`` rows from ``first_row`` on
    to a raw file of little-endian 32-bit integers."""

    def __init__(self, *, name, shape, path, first_row, n_rows):
        super().__init__(name=name, shape=shape, path=path, first_row=first_row, n_rows=n_rows)
        self.v = RefPort(shape=shape)


@implements(proc=PotentialSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPotentialSink(PyLoihiProcessModel):
    v: PyRefPort = LavaPyType(PyRefPort.VEC_DENSE, np.int32)
    file = None

    def post_guard(self):
        """Every row that is recorded, after all neurons have had it."""
        row = self.time_step - 1 - self.proc_params["first_row"]
        return 0 <= row < self.proc_params["n_rows"]

    def run_post_mgmt(self):
        potential = self.v.read().astype(np.int64) >> 6
        if self.file is None:  # opened here: the model is made in the parent, run in a child
            self.file = open(self.proc_params["path"], "wb", buffering=0)
        self.file.write(potential.astype("<i4").tobytes())
