"""What onnxruntime's optimizer has fused, as its parts."""

from __future__ import annotations

from typing import Any

from snn_frontends.onnx.expansion.call import Expansion, Rule

PARAMETERS: dict[str, tuple[tuple[str, float], ...]] = {
    "Affine": (("alpha", 1.0), ("beta", 0.0)),
    "Clip": (("min", -3.4028234663852886e38), ("max", 3.4028234663852886e38)),
    "Elu": (("alpha", 1.0),),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "LeakyRelu": (("alpha", 0.01),),
    "Relu": (),
    "ScaledTanh": (("alpha", 1.0), ("beta", 1.0)),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (("alpha", 1.0),),
}
"""Activations of fused operators: parameters in order, and their defaults."""


def conv(e: Expansion) -> None:
    """``FusedConv``: an activation, after the sum with Z."""
    kind = e.attribute("activation", "")
    given = [float(p) for p in e.attribute("activation_params", ())]
    own = e.others("activation", "activation_params")
    bias = [e.inputs[2]] if e.has(2) else []
    last = not e.has(3) and not kind
    y = e.add(
        "Conv", e.input(0), e.input(1), *bias, main=True, to=e.outputs[0] if last else "", **own
    )
    if e.has(3):
        y = e.add("Add", y, e.inputs[3], to="" if kind else e.outputs[0])
    _activate(e, y, kind, given)


def gemm(e: Expansion) -> None:
    """``FusedGemm``."""
    kind = e.attribute("activation", "")
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    known = PARAMETERS.get(kind, ())
    older = {"alpha": "leaky_relu_alpha"}
    given = [
        float(e.attribute(name, e.attribute(older.get(own, ""), default)))
        for name, (own, default) in zip(names, known, strict=False)
    ]
    own = e.others("activation", *names, *older.values())
    to = "" if kind else e.outputs[0]
    y = e.add("Gemm", *e.inputs, main=True, to=to, **own)
    _activate(e, y, kind, given)


def _activate(e: Expansion, x: str, kind: str, given: list[float]) -> None:
    """The activation of a fused operator as the node's output; nothing without one."""
    if not kind:
        return
    if kind not in PARAMETERS:
        raise e.refusal(
            f"is fused with the activation '{kind}', which is not known",
            "save the model with graph_optimization_level = ORT_ENABLE_BASIC",
        )
    stated = PARAMETERS[kind]
    values = {
        name: given[k] if k < len(given) else default for k, (name, default) in enumerate(stated)
    }
    if kind == "Clip" and e.opset >= 11:
        e.add("Clip", x, *(e.constant(value) for value in values.values()), to=e.outputs[0])
    elif kind in ("Affine", "ScaledTanh"):
        first, second = (e.constant(value) for value in values.values())
        if kind == "Affine":
            e.add("Add", e.add("Mul", x, first), second, to=e.outputs[0])
        else:
            e.add("Mul", e.add("Tanh", e.add("Mul", x, second)), first, to=e.outputs[0])
    else:
        e.add(kind, x, to=e.outputs[0], **dict[str, Any](values))


def mat_mul(e: Expansion) -> None:
    """``FusedMatMul``: transposed operands, and a factor."""
    operands = []
    for k, name in enumerate(("A", "B")):
        if e.attribute(f"transBatch{name}", 0):
            raise e.refusal(
                "moves the axes of a batch of matrices",
                "save the model with graph_optimization_level = ORT_ENABLE_BASIC",
            )
        operands.append((e.input(k), bool(e.attribute(f"trans{name}", 0))))
    alpha = float(e.attribute("alpha", 1.0))
    inputs = [_transposed(e, name) if flipped else name for name, flipped in operands]
    to = e.outputs[0] if alpha == 1 else ""
    y = e.add("MatMul", *inputs, main=True, to=to)
    if alpha != 1:
        e.add("Mul", y, e.constant(alpha), to=e.outputs[0])


def _transposed(e: Expansion, x: str) -> str:
    """The last two axes exchanged, whatever the number of axes: ``einsum`` knows it."""
    return e.add("Einsum", x, equation="...ij->...ji")


def bias_add(e: Expansion) -> None:
    """``BiasAdd``: a value, the bias of its channels, and another value."""
    y = e.add("Add", e.input(0), e.input(1), main=True)
    e.add("Add", y, e.input(2), to=e.outputs[0])


def named(op: str, **attributes: Any) -> Rule:
    """An operator that ONNX has, too."""

    def rule(e: Expansion) -> None:
        e.add(op, *e.inputs, to=e.outputs[0], main=True, **{**attributes, **e.others()})

    return rule


RULES: dict[str, Rule] = {
    "BiasAdd": bias_add,
    "FusedConv": conv,
    "FusedGemm": gemm,
    "FusedMatMul": mat_mul,
    "LayerNormalization": named("LayerNormalization"),
    "TransposeMatMul": mat_mul,
}
