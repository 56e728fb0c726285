"""What is wrong with many layers in the same way is one error that lists them."""

import pytest

from snn_compile import compile_model
from snn_compile.errors import Origin, UnsupportedError, one_per_kind
from snn_compile.pipeline.finish import require_writable


def error(node: str, code: str = "a", hint: str = "h") -> UnsupportedError:
    return UnsupportedError(f"'{node}' fails", code=code, origin=Origin("f", node), hint=hint)


def test_errors_of_one_kind_are_one_with_the_places_of_the_others():
    first, other = one_per_kind([error("x"), error("y"), error("z"), error("v", "b")])
    assert first.message == "'x' fails; likewise 2 more: y, z"
    assert (first.code, first.hint, first.origin.node) == ("a", "h", "x")
    assert other.message == "'v' fails"


def test_another_remedy_is_another_error():
    assert len(one_per_kind([error("x"), error("y", hint="other")])) == 2


def test_another_reason_is_another_error():
    reasons = ["'x' has 3 parts", "'y' has 4,000 parts", "'x' has no end"]
    errors = [UnsupportedError(text, code="a", origin=Origin("f"), hint="h") for text in reasons]
    first, other = one_per_kind(errors)
    assert first.message == "'x' has 3 parts; likewise 1 more"
    assert other.message == "'x' has no end"


def test_many_places_are_cut_short():
    (only,) = one_per_kind([error(f"n{i}") for i in range(40)])
    assert only.message.endswith(", n20 and 19 more")


def test_a_network_that_nir_cannot_hold_is_refused_once(digits):
    compiled = compile_model(digits, coding="graded", emit=())
    with pytest.raises(UnsupportedError) as caught:
        require_writable(compiled.program, ("nir",))
    assert caught.value.code == "nir-neuron"
    assert "'relu1', 'relu2'" in caught.value.message


@pytest.fixture
def digits(request):
    return request.config.rootpath / "examples" / "digits_mlp.onnx"
