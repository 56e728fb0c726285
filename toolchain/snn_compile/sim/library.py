"""What the engine's library holds for Python: prepared networks, and states that are kept."""

from __future__ import annotations

import ctypes
import weakref

from snn_compile.sim import abi

OUT_OF_MEMORY, OUT_OF_RANGE = 1, 2
"""Error codes of ``snn_engine_run``."""


class Network:
    """The library's object, freed with this one."""

    def __init__(self, library: ctypes.CDLL, description: abi.Description) -> None:
        abi.declare(library)
        self._library = library
        message = ctypes.create_string_buffer(200)
        self._handle = library.snn_engine_network_new(
            description.populations,
            len(description.populations),
            description.synapses,
            len(description.synapses),
            description.n_steps,
            message,
            len(message),
        )
        if not self._handle:
            raise MemoryError(f"the engine cannot hold the network: {message.value.decode()}")
        weakref.finalize(self, library.snn_engine_network_free, self._handle)

    def state(self) -> State:
        """The state of the network at rest.

        Raises:
            MemoryError: the library ran out of memory.
        """
        return State(self._library, self, self._handle)

    def run(self, batch: abi.Batch) -> None:
        """Simulate, with the interpreter lock released."""
        outcome = self._library.snn_engine_run(self._handle, ctypes.byref(batch))
        if outcome == OUT_OF_MEMORY:
            raise MemoryError("the engine ran out of memory")
        if outcome == OUT_OF_RANGE:
            raise ValueError("the input has messages outside its range")


class State:
    """Where the neurons of a network stand: the library's object, freed with this one."""

    def __init__(self, library: ctypes.CDLL, network: Network, handle: int) -> None:
        self.handle: int | None = library.snn_engine_state_new(handle)
        if not self.handle:
            raise MemoryError("the engine cannot hold the state of the network")
        self._network = network  # which is freed later
        weakref.finalize(self, library.snn_engine_state_free, self.handle)
