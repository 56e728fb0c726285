"""Shared models quantized by onnxruntime, and what is compiled of them.

    python tests/bench/quantized.py [MODEL ...] [--kinds KIND ...] [--images N] [--verify N]
                                    [--keep FOLDER]

For each kind of file: its own top-1 accuracy by onnxruntime, that of the compiled network in graded
coding, the difference, the share of answers that are equal, and the share of the layers' weights
whose integers are those of the file. Calibration: MinMax over 256 of the images that the compiler
calibrates with. Batch normalization is folded before, as onnxruntime advises. ``--verify N``
compares N stimuli of each in Lava.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from shared_models import prepare, verified
from w8a8 import SHARED, Reader, session

from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.errors import CompileError

IMAGES = {
    "mnist_mlp_256x2": 10_000,
    "mnist_cnn_cntk": 2_000,
    "fashion_vggbn": 2_000,
    "cifar10_resnet20": 1_000,
}
CALIBRATE = 256
OPSET = 13
"""The first operator set with scales per channel, which onnxruntime writes whatever the file's."""


@dataclass(frozen=True)
class Kind:
    """One way to quantize a file.

    Attributes:
        name: of the row.
        make: from the float file and calibration samples to the quantized file.
    """

    name: str
    make: Callable[[Path, np.ndarray, Path], None]


def static(form: str, activations: str, *, per_channel: bool, weights: str = "QInt8") -> Kind:
    """Scales from calibration data."""

    def make(source: Path, x: np.ndarray, target: Path) -> None:
        quantize_static(
            source,
            target,
            Reader(session(source).get_inputs()[0].name, x),
            quant_format=QuantFormat[form],
            per_channel=per_channel,
            activation_type=QuantType[activations],
            weight_type=QuantType[weights],
        )

    scales = "per channel" if per_channel else "per tensor"
    name = f"{form}, {scales}, {activations[1:].lower()}"
    return Kind(name + ("" if weights == "QInt8" else f", {weights[1:].lower()} weights"), make)


def dynamic(weights: str) -> Kind:
    """Activations quantized in each batch."""

    def make(source: Path, x: np.ndarray, target: Path) -> None:
        del x
        quantize_dynamic(source, target, weight_type=QuantType[weights])

    return Kind(f"dynamic, {weights[1:].lower()} weights", make)


def optimized(first: Kind | None) -> Kind:
    """What the optimizer saves."""

    def make(source: Path, x: np.ndarray, target: Path) -> None:
        before = source
        if first is not None:
            before = target.with_suffix(".before.onnx")
            first.make(source, x, before)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(target)
        ort.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])

    return Kind(f"optimized {'float' if first is None else first.name}", make)


PER_CHANNEL = static("QDQ", "QUInt8", per_channel=True)
KINDS = (
    *(
        static(form, activations, per_channel=per_channel)
        for form in ("QDQ", "QOperator")
        for per_channel in (False, True)
        for activations in ("QUInt8", "QInt8")
    ),
    static("QDQ", "QUInt8", per_channel=False, weights="QUInt8"),
    static("QDQ", "QUInt16", per_channel=False),
    static("QDQ", "QInt16", per_channel=True),
    static("QDQ", "QUInt8", per_channel=False, weights="QInt4"),
    dynamic("QInt8"),
    dynamic("QUInt8"),
    optimized(None),
    optimized(PER_CHANNEL),
)


@dataclass(frozen=True)
class Row:
    """The result for one file."""

    kind: str
    file: float
    graded: float
    agreement: float
    kept: float | None

    def cells(self) -> str:
        kept = "" if self.kept is None else f"{100 * self.kept:.1f}"
        change = self.graded - self.file
        return (
            f"| {self.kind} | {self.file:.2f} | {self.graded:.2f} | {change:+.2f} |"
            f" {self.agreement:.2f} | {kept} |"
        )


def share_kept(model: CompiledModel) -> float | None:
    """Share of the weights of a quantized file whose integers are kept."""
    layers = [layer for layer in model.report["layers"] if "integers_kept" in layer]
    sizes = [layer["synapses"] for layer in layers]
    if not layers:
        return None
    return float(np.average([layer["integers_kept"] for layer in layers], weights=sizes))


def measured(
    kind: Kind, source: Path, target: Path, data: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[Row, CompiledModel]:
    """Quantize a file, compile it, and compare."""
    calibrate, x, y = data
    kind.make(source, calibrate[:CALIBRATE].astype(np.float32), target)
    model = compile_model(target, calibrate=calibrate, evaluate=(x, y))
    rungs = {rung["stage"]: rung for rung in model.report["ladder"]}
    fixed = rungs["fixed"]
    kept = share_kept(model)
    return Row(kind.name, rungs["onnx"]["top1"], fixed["top1"], fixed["agreement"], kept), model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=[*IMAGES])
    parser.add_argument("--kinds", nargs="*", default=[kind.name for kind in KINDS])
    parser.add_argument("--images", type=int)
    parser.add_argument("--verify", type=int, default=0, metavar="N")
    parser.add_argument("--keep", type=Path, help="a folder for the quantized files")
    asked = parser.parse_args()
    print("| model | file | its top-1 | compiled | change | agreement | integers kept, % | Lava |")
    print("|---|---|--:|--:|--:|--:|--:|---|")
    for name in asked.models:
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            n = asked.images or IMAGES.get(name, 1_000)
            data = prepare(name, Path(temporary), n)
            source = folder / f"{name}.onnx"
            written = onnx.load(SHARED / "models" / f"{name}.onnx")
            if written.opset_import[0].version < OPSET:
                written = version_converter.convert_version(written, OPSET)
            quant_pre_process(written, source, skip_symbolic_shape=True)
            for kind in KINDS:
                if kind.name in asked.kinds:
                    target = folder / f"{name}.{kind.name.replace(' ', '_')}.onnx"
                    try:
                        row, model = measured(kind, source, target, data)
                    except CompileError as error:
                        print(f"| {name} | {kind.name} | refused: {error.code} |", flush=True)
                        continue
                    print(f"| {name} {row.cells()} {verified(model, asked.verify)} |", flush=True)


if __name__ == "__main__":
    main()
