"""Networks of lava-dl, every message of every layer in Lava."""

from __future__ import annotations

import numpy as np
import pytest

from snn_backends.lava import LavaBackend
from snn_compile import compile_model

SAMPLES = {"mnist": (12, 0.3), "oxford": (12, 0.02), "pilotnet_sdnn": (10, None)}
"""Steps of each, and the share of spikes in its input; None for the stored image."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_networks_of_lava_dl(name, shared_data, lava_environment, tmp_path):
    pytest.importorskip("h5py")
    folder = shared_data / "lava_dl" / name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    n_steps, density = SAMPLES[name]
    compiled = compile_model(folder / "network.net", timesteps=n_steps)
    if density is None:
        image = np.load(folder / "input.npy").T.astype(np.int16)
        compiled = compile_model(folder / "network.net", timesteps=n_steps, evaluate=(image, None))
        frames = compiled.encoding(image)
    else:
        shape = (2, n_steps, *compiled.program.input.shape)
        frames = (np.random.default_rng(0).random(shape) < density).astype(np.int64)
    backend = LavaBackend()
    backend.emit(compiled.program, tmp_path)
    outcome = backend.verify(compiled.program, tmp_path, frames, conv_stimuli=0)
    assert outcome.equal, outcome
    assert outcome.compared > 1000
