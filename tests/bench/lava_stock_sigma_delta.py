"""How far lava-nc 0.10.0's own SigmaDelta is from the payloads of a graded network.

    PYTHON tests/bench/lava_stock_sigma_delta.py [FRAMES]

PYTHON is that of the Lava environment; nothing else is needed. FRAMES is 200 where it is not given.
Sums S that change at random now and then drive stock SigmaDelta processes of three settings, for a
threshold that is a power of two, which is all that they can scale by. What each has sent in total
is compared, frame by frame, with what it stands for: ``max(S, 0)``, or ``max(S, 0) >> k``. Printed
as JSON: the largest error of any of the neurons after 1, 10 and all frames, in thresholds, and the
bits of the largest message.
"""

import json
import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.sdn.process import ActivationMode, SigmaDelta

NEURONS, K = 1000, 8
FRAMES = int(sys.argv[1]) if len(sys.argv) > 1 else 200
SETTINGS = {
    "every change, not scaled": {"vth": 1, "state_exp": 0},
    "changes of a threshold, not scaled": {"vth": 1 << K, "state_exp": 0},
    "changes of a threshold, scaled": {"vth": 1, "state_exp": K},
}


def changes(random):
    """What arrives: about a third of the sums change in a frame, by a few thresholds."""
    size = (FRAMES, NEURONS)
    arriving = np.rint(random.normal(0, 4 << K, size)).astype(np.int64)
    arriving *= random.random(size) < 0.3
    arriving[0] = random.integers(64 << K, 128 << K, NEURONS)
    return arriving


def in_lava(arriving, vth, state_exp):
    """What a stock SigmaDelta sends, (frames, neurons)."""
    source = Source(data=arriving.T.astype(np.int32))
    neurons = SigmaDelta(
        shape=(NEURONS,), vth=vth, state_exp=state_exp, act_mode=ActivationMode.RELU
    )
    sink = Sink(shape=(NEURONS,), buffer=FRAMES)
    source.s_out.connect(neurons.a_in)
    neurons.s_out.connect(sink.a_in)
    try:
        config = Loihi2SimCfg(select_tag="fixed_pt")
        neurons.run(condition=RunSteps(num_steps=FRAMES), run_cfg=config)
        return sink.data.get().T.astype(np.int64)
    finally:
        neurons.stop()


def main():
    """Measure all settings."""
    arriving = changes(np.random.default_rng(0))
    sums = np.maximum(arriving.cumsum(axis=0), 0)
    found = {}
    for name, setting in SETTINGS.items():
        # Lava shifts the threshold up by state_exp, and what it sends down.
        sent = in_lava(arriving, **setting)
        scale = setting["state_exp"]
        error = np.abs(sent.cumsum(axis=0) - (sums >> scale)) / (1 << (K - scale))
        worst = error.max(axis=1)
        found[name] = {
            "error": {str(n): round(float(worst[n - 1]), 3) for n in (1, 10, FRAMES)},
            "bits": int(np.abs(sent).max()).bit_length() + 1,
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
