"""A child process: compiles and runs one network again and again, and says by how much it grew.

    python repeated_compiles.py LAYERS WIDTH WARM_UP MORE [--calibrate] [--leak]

Prints two numbers of bytes: what the resident set grew by while MORE networks were compiled, and
what the arrays of one compiled network take. With --leak it keeps every network.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
from pathlib import Path
from resource import getpagesize

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))
from onnx_models import model, node
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.ir.serialize import dump_program

CODINGS = [{"coding": "graded"}, {"coding": "rate", "timesteps": 4}]


def write_network(path: Path, n_layers: int, width: int) -> None:
    """Dense layers with rectifiers between them."""
    random, names = np.random.default_rng(0), [f"w{k}" for k in range(n_layers)]
    weights = {k: random.normal(0, np.sqrt(2 / width), (width, width)) for k in names}
    nodes = [node("MatMul", "x w0", "u0")]
    for k in range(1, n_layers):
        nodes += [node("Relu", f"u{k - 1}", f"s{k}"), node("MatMul", f"s{k} w{k}", f"u{k}")]
    constants = {name: weight.astype(np.float32) for name, weight in weights.items()}
    onnx.save(model(nodes, ("N", width), constants, outputs=f"u{n_layers - 1}"), path)


def resident() -> int:
    """Bytes in memory, without what is free but not given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()


def main() -> None:
    n_layers, width, warm_up, more = map(int, sys.argv[1:5])
    kept: list[CompiledModel] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        write_network(path, n_layers, width)
        x = np.random.default_rng(1).uniform(0, 1, (8, width)).astype(np.float32)
        calibrate = x if "--calibrate" in sys.argv else None
        for k in range(warm_up + more):
            if k == warm_up:
                before = resident()
            options = CODINGS[k % len(CODINGS)]
            made = compile_model(path, calibrate=calibrate, evaluate=(x, None), emit=(), **options)
            made.run(x)
            size = sum(array.nbytes for array in dump_program(made.program)[1].values())
            if "--leak" in sys.argv:
                kept.append(made)
            del made  # else one is there when measuring
        print(resident() - before, size)


if __name__ == "__main__":
    main()
