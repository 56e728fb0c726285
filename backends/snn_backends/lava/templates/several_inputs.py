"""The network as Lava processes, of several inputs; layers.py makes all but the inputs.

A row of frames has the values of all inputs, one after another; ``inputs`` in manifest.json says where
those of each begin.
"""

from math import prod

import numpy as np

from layers import build_probes, groups, wire
from streams.data import FrameSource

__all__ = ["build", "build_probes"]


def sources(manifest, frames, hold):
    """A process for each input and delay, by both."""
    once = manifest["input"]["coding"] == "frame"
    found = {}
    for entry in manifest["inputs"]:
        name, first = entry["name"], entry["first"]
        own = np.ascontiguousarray(frames[:, first : first + prod(entry["shape"])])
        for delay in sorted({g["delay"] for g in groups(manifest) if g["source"] == name}):
            # Held back so that it arrives together with what has passed through other layers.
            called = f"{name}_after_{delay}"
            found[name, delay] = FrameSource(name=called, frames=own, hold=hold, delay=delay, once=once)
    return found


def build(manifest, w, frames, hold, n_stimuli, form, traces):
    """Make and connect everything; return a process to run. Arguments are those of ``layers.build``."""
    senders = sources(manifest, frames, hold)
    return wire(manifest, w, senders, n_stimuli, form, traces)
