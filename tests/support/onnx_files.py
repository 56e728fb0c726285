"""Runs emitted ONNX files on given samples: ``python onnx_files.py FILE IN.npz OUT.npz``.

Started by its path it imports numpy and onnxruntime only, so that it can run on an emulated
processor.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def run(model: bytes | str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a file by name; warnings of the runtime are not for us."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def main() -> None:
    file, given, out = sys.argv[1:]
    with np.load(given) as arrays:
        found = run(file, dict(arrays))
    np.savez(Path(out), **found)


if __name__ == "__main__":
    main()
