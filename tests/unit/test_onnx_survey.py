"""What is said about a refused model: modules, functions that were split, how much is fine."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import StringStringEntryProto

from onnx_models import imported, model, node
from snn_compile.errors import CompileError, CompileErrors
from snn_frontends.onnx.survey import NAMESPACE, SCOPES, module_of

IMAGE = ("N", 4, 8, 8)


def with_metadata(**entries):
    made = node("Sigmoid", "x", "y", "node_Sigmoid_14")
    for key, value in entries.items():
        name = {"scopes": SCOPES, "namespace": NAMESPACE}[key]
        made.metadata_props.append(StringStringEntryProto(key=name, value=value))
    return made


@pytest.mark.parametrize(
    ("made", "module"),
    [
        (node("Sigmoid", "x", "y", "/features/3/block/Sigmoid"), "features.3.block"),
        (
            node("Conv", "x", "y", "/features/features.3/block/block.0/block.0.1/Conv"),
            "features.3.block.0.1",
        ),
        (node("Conv", "x", "y", "/Conv"), ""),
        (node("Conv", "x", "y", "Conv_12"), ""),
        (node("Conv", "x", "y", "model/conv2d/Conv2D"), ""),
        (with_metadata(scopes="['', 'a', 'a.2', 'silu']"), "a.2"),
        (with_metadata(scopes="['mul']"), ""),
        (with_metadata(scopes="[" * 900), ""),
        (with_metadata(namespace=": nets.Net/a: Sequential/a.2: SiLU/silu: aten.silu"), "a.2"),
        (with_metadata(namespace="silu"), ""),
        (with_metadata(scopes="['', 'a\x1b[2J', 'silu']"), "a\\x1b[2J"),
    ],
)
def test_module(made, module):
    assert module_of(made) == module


def refusals(nodes, constants=None):
    with pytest.raises(CompileError) as caught:
        imported(model(nodes, IMAGE, constants or {}))
    error = caught.value
    return error.errors if isinstance(error, CompileErrors) else (error,)


def test_an_attention_is_named():
    nodes = [
        node("MatMul", "x x", "scores", "scores"),
        node("Mul", "scores c", "scaled"),
        node("Softmax", "scaled", "p", "softmax", axis=-1),
        node("MatMul", "p x", "y", "values"),
    ]
    errors = refusals(nodes, {"c": np.float32(0.5)})
    assert {e.origin.node: e.part_of for e in errors}["scores"] == "attention"
    assert {e.part_of for e in errors} == {"attention"}


def test_what_stands_behind_a_refusal_is_judged_by_itself():
    nodes = [
        node("TopK", "x k", "a i", "first"),
        node("Relu", "a", "b"),
        node("GlobalAveragePool", "b", "c"),
        node("Flatten", "c", "d"),
        node("Gemm", "d w", "e"),
        node("TopK", "e n", "y j", "second"),
    ]
    constants = {"k": np.array([8]), "n": np.array([3]), "w": np.ones((4, 5), np.float32)}
    errors = refusals(nodes, constants)
    assert [error.origin.node for error in errors] == ["first", "second"]
    survey = errors[0].survey
    assert (survey.operators, survey.fine_operators) == (6, 4)
    assert survey.fine_operations == 256 + 4 + 4 + 20
    assert survey.operations == survey.fine_operations + 256 + 3
