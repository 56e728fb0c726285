"""Wrong data before the shared networks: what is wrong is said, and nothing of right data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from data_trials import warnings_on

pytestmark = [pytest.mark.slow, pytest.mark.shared_data]

Change = Callable[[np.ndarray, np.ndarray], tuple[Any, Any]]
ANY: dict[str, tuple[Change, list[str]]] = {
    "right": (lambda x, y: (x, y), []),
    "from 1": (lambda x, y: (x, (y + 1) % 10), ["labels-shifted"]),
    "displaced": (lambda x, y: (x, np.roll(y, 2)), ["labels-displaced"]),
    "permuted": (
        lambda x, y: (x, np.random.default_rng(1).permutation(10)[y]),
        ["labels-permuted"],
    ),
    "of no sample": (
        lambda x, y: (x, np.random.default_rng(2).permutation(y)),
        ["no-better-than-guessing"],
    ),
    "few classes": (lambda x, y: (x[y < 6], y[y < 6]), ["classes-missing"]),
}
OF_IMAGES: dict[str, tuple[Change, list[str]]] = {
    "turned": (lambda x, y: (x.swapaxes(2, 3), y), ["other-axis-order"]),
    "inverted": (lambda x, y: (x.max() + x.min() - x, y), ["other-normalization"]),
}
OF_COLOURS: dict[str, tuple[Change, list[str]]] = {
    "BGR": (lambda x, y: (x[:, ::-1], y), ["other-colour-order"]),
    "from 0 to 1": (lambda x, y: ((x - x.min()) / (x.max() - x.min()), y), ["other-normalization"]),
}
CASES = [
    (model, name, case)
    for model, cases in {
        "mnist_mlp_256x2": ANY,
        "mnist_cnn_cntk": ANY | OF_IMAGES,
        "fashion_vggbn": ANY | OF_IMAGES,
        "cifar10_resnet20": ANY | OF_COLOURS,
    }.items()
    for name, case in cases.items()
]


@pytest.mark.parametrize(
    ("model", "case"), [(m, c) for m, _, c in CASES], ids=[f"{m}-{n}" for m, n, _ in CASES]
)
def test_shared_networks(model, case, model_data):
    prepared = model_data(model, calibrate=1024, evaluate=2000)
    with np.load(prepared.evaluate) as file:
        x, y = case[0](file["x"], file["y"])
    found = warnings_on(prepared.model, x, y)
    assert [finding.code for finding in found] == case[1]
