"""Names that a stranger might give to layers, and a network that has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BREAKS = {
    "lf": "\n",
    "cr": "\r",
    "nel": "\x85",
    "line-separator": "\u2028",
    "paragraph-separator": "\u2029",
    "vertical-tab": "\v",
    "form-feed": "\f",
}
"""What ends a line: for Python's tokenizer, for ``str.splitlines``, or for a terminal."""

TERMINAL = {
    "nul": "\0",
    "clear-screen": "\x1b[2J",
    "one-byte-csi": "\x9b2J",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\",
    "backspace": "\b\b\b\b",
    "right-to-left": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "zero-width": "\u200b\ufeff",
    "markup": "[bold red on white]equal[/] [link=https://example.org]x[/link]",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>\"'",
}
"""What a terminal, rich or a browser would act on."""


def write_model(path: Path, name: str) -> None:
    """Two layers; the node, the value and the weights of the first one have the name."""
    random = np.random.default_rng(0)
    hidden = f"hidden{name}"
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", f"w{name}"], ["a"], name=f"fc{name}"),
            helper.make_node("Relu", ["a"], [hidden], name=hidden),
            helper.make_node("Gemm", [hidden, "v"], [f"y{name}"], name=f"out{name}"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3))],
        [helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, ("N", 2))],
        [
            numpy_helper.from_array(random.normal(size=(3, 4)).astype(np.float32), f"w{name}"),
            numpy_helper.from_array(random.normal(size=(4, 2)).astype(np.float32), "v"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 10
    onnx.save(model, str(path))
