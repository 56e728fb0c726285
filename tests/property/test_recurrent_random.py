"""Recurrent layers with random options: the imported network equals onnxruntime."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurrent_models import assert_imported, recurrent

FUNCTIONS = {"Affine": (0.8, 0.1), "ScaledTanh": (1.1, 0.9), "ThresholdedRelu": (0.2,)}
"""Parameters of those without defaults."""
TAKES = FUNCTIONS | {
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "Elu": (1.0,),
}
"""Of all, with ONNX's defaults."""
GATES = ("Sigmoid", "HardSigmoid", "Affine", "Softplus")
STATES = ("Tanh", "Softsign", "ScaledTanh", "LeakyRelu", "ThresholdedRelu", "Elu", "Relu")
COUNT = {"RNN": 1, "GRU": 2, "LSTM": 3}


def stated(names):
    """Attributes for functions, with parameters for those up to the last that needs them."""
    found = {"activations": names}
    for k, key in enumerate(("activation_alpha", "activation_beta")):
        takers = [n for n in names if k < len(TAKES.get(n, ()))]
        needs = [i for i, n in enumerate(takers) if n in FUNCTIONS]
        if needs:
            found[key] = [FUNCTIONS.get(n, TAKES[n])[k] for n in takers[: needs[-1] + 1]]
    return found


@st.composite
def layers(draw):
    kind = draw(st.sampled_from(sorted(COUNT)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    n_directions = 1 + (direction == "bidirectional")
    optional = ["B", "lengths", "start", *(["cell", "P"] if kind == "LSTM" else [])]
    inputs = [name for name in optional if draw(st.booleans())]
    attributes = {}
    if draw(st.booleans()):
        own = [draw(st.sampled_from(STATES)) for _ in range(COUNT[kind])]
        gate = draw(st.sampled_from(GATES))
        names = own if kind == "RNN" else [gate, *own[1:]]
        attributes |= stated(names * n_directions)
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.2, 1.0, 5.0]))
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if kind == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    steps = draw(st.integers(1, 4))
    made = recurrent(
        kind,
        " ".join(inputs),
        n_directions,
        draw(st.integers(0, 99)),
        steps=steps,
        direction=direction,
        **attributes,
    )
    return made, steps


@pytest.mark.parametrize("n_examples", [12, pytest.param(400, marks=pytest.mark.slow)])
def test_any_options(n_examples):
    @settings(max_examples=n_examples, deadline=None, derandomize=True)
    @given(layers())
    def check(layer):
        made, steps = layer
        assert_imported(made, steps=steps)

    check()
