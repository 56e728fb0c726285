"""Reports of an evaluated network, as ``report.json`` holds them."""

from __future__ import annotations

import copy
from typing import Any


def layer(name: str, index: int) -> dict[str, Any]:
    return {
        "name": name,
        "op": "conv" if "conv" in name else "dense",
        "origin": f"net.onnx: node '{name}'",
        "shape": [16, 32, 32],
        "neurons": 16384,
        "synapses": 2_359_296,
        "weight_bits": 8,
        "threshold": [120, 1433],
        "saturated_weights": 0.019 if index == 3 else 0.001,
        "rate": 0.32 - 0.02 * index,
        "dead": 0.01 * index,
        "spikes_per_inference": 5214.2,
        "sqnr_db": 38.0 - 4 * index,
    }


EXAMPLE: dict[str, Any] = {
    "schema": 1,
    "tool": {"name": "snn-compile", "version": "0.1.0"},
    "model": {
        "path": "models/cifar10_resnet20.onnx",
        "sha256": "ab" * 32,
        "opset": 13,
        "input_shape": [3, 32, 32],
        "weights": 269_722,
    },
    "options": {
        "weight_bits": {"value": 8, "origin": "default"},
        "payload_bits": {"value": 8, "origin": "default"},
        "emit": {"value": ["lava"], "origin": "default"},
        "thresholds": {"value": "percentile:99.9", "origin": "net.toml:thresholds"},
        "calibrate": {"value": "calibrate.npz", "origin": "command line"},
    },
    "target": "loihi2",
    "coding": "graded",
    "timesteps": 1,
    "total_steps": 21,
    "ladder": [
        {"stage": "onnx", "top1": 91.73, "agreement": 100.0, "n": 10000},
        {"stage": "folded", "top1": 91.73, "agreement": 100.0, "n": 10000},
        {"stage": "rate", "top1": 91.70, "agreement": 99.4, "n": 10000},
        {"stage": "spiking", "top1": 91.70, "agreement": 99.4, "n": 10000},
        {"stage": "fixed", "top1": 91.64, "agreement": 98.9, "n": 10000},
        {"stage": "mapped", "top1": 91.64, "agreement": 98.9, "n": 10000},
    ],
    "layers": [layer(f"layer{i}.conv", i) for i in range(5)] + [layer("fc", 5)],
    "resources": {
        "cores": 61,
        "chips": 1,
        "per_core": [
            {"chip": 0, "core": i, "percent": 100 * (i * 37 % 61) / 64, "neurons": 512}
            for i in range(61)
        ],
        "binding_limit": {"limit": "synapse memory", "core": 17, "percent": 92.0},
    },
    "cost": {
        "spikes_per_inference": 42118.0,
        "synops_per_inference": 9_612_345.0,
        "energy": {
            "value": 2.1e-4,
            "low": 1.5e-4,
            "high": 3.4e-4,
            "unit": "J",
            "source": "loihi2.toml: 23.6 pJ a synaptic operation",
            "static": {"value": 4e-5, "low": 3e-5, "high": 6e-5, "unit": "J"},
        },
        "latency": {"value": 2100.0, "low": 1400.0, "high": 3500.0, "unit": "us"},
        "throughput": {"value": 800.0, "low": 500.0, "high": 1000.0, "unit": "inferences/s"},
        "binding": {"resource": "core", "core": 17, "operation": "synaptic operation"},
    },
    "simulator": "engine avx512",
    "verification": [
        {
            "against": "lava",
            "mode": "native 3.10",
            "stimuli": 2,
            "steps": 21,
            "compared": 412_345,
            "equal": True,
            "first_divergence": None,
        }
    ],
    "timing": [{"stage": "import", "seconds": 0.41}, {"stage": "evaluate", "seconds": 20.9}],
    "warnings": [
        {
            "code": "no-calibration",
            "message": "thresholds come from the weights alone",
            "origin": "",
            "hint": "give --calibrate",
        }
    ],
}


PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAA"
    "AABJRU5ErkJggg=="
)


def observed() -> dict[str, Any]:
    """The example with all that is kept of integers, messages and answers."""
    report = copy.deepcopy(EXAMPLE)
    names = ["input", *(one["name"] for one in report["layers"])]
    for index, one in enumerate(report["layers"]):
        one["sources"] = names[max(0, index - 1) : index + 1] if index in (2, 4) else [names[index]]
        one["fan_in"] = 144 + index
        one["weights_histogram"] = {
            "low": -128,
            "width": 16,
            "counts": [1, 2, 5, 9, 14, 22, 30, 41] * 2,
        }
        one["thresholds_histogram"] = {
            "low": 120.0,
            "width": 82.1,
            "counts": [2, 0, 7, 4, 1, 0, 1, 1],
        }
    report["layers"][1]["thresholds_histogram"] = {
        "low": 6.9, "width": 2.0, "counts": [15, 0, 0, 0, 0, 1], "log2": True
    }  # fmt: skip
    report["coding"], report["timesteps"] = "rate", 8
    report["options"]["labels"] = {"value": ["cat", "dog", "ship"], "origin": "command line"}
    report["activations"] = [
        {
            "layer": name,
            "samples": 16,
            "histogram": {
                "low": 0,
                "width": 1,
                "counts": [0, 90, 41, 22, 9, 4, 2, 1, 1],
                "zeros": 830,
            },
        }
        for name in names[1:-1]
    ]
    report["raster"] = {
        "samples": 2,
        "steps": 8,
        "layers": [
            {
                "layer": name,
                "start": index,
                "neurons": 3072,
                "shown": [3, 900, 2000],
                "rows": [["99999999", "..9..9..", "...5.b.." if index == 1 else "........"]] * 2,
            }
            for index, name in enumerate(names[:-1])
        ],
        "answers": {"start": 6, "classes": [[0, 0, 2, 2, 2, 2, 2, 2], [1, 0, 1, 1, 1, 1, 1, 1]]},
    }
    report["over_time"] = [
        {
            "output": "scores",
            "n": 256,
            "top1": [41.0, 62.5, 80.1, 86.0, 88.3, 89.9, 90.6, 91.0],
            "agreement": [43.0, 66.4, 85.9, 91.4, 94.5, 96.9, 98.0, 98.4],
        }
    ]
    report["outputs"] = [
        {
            "name": "scores",
            "layer": "fc",
            "kind": "classes",
            "shape": [3],
            "confusion": {"counts": [[3300, 20, 13], [60, 3150, 124], [0, 9, 3324]]},
            "changed": {
                "n": 110,
                "gained": 31,
                "lost": 42,
                "samples": [
                    {
                        "sample": 17,
                        "label": 0,
                        "before": 0,
                        "fixed": 1,
                        "scores": [[0, 3.25, 3.02], [1, 3.11, 3.2], [2, -4.5, -4.61]],
                        "image": PIXEL,
                    },
                    {"sample": 99, "label": None, "before": 2, "fixed": 1, "scores": []},
                ],
            },
        }
    ]
    report["cost"]["parts"] = [
        {
            "part": "synaptic operations",
            "energy": {"value": 1.9e-4, "unit": "J"},
            "time": {"value": 1600.0, "unit": "us"},
        },
        {"part": "barrier", "energy": None, "time": {"value": 4.2, "unit": "us"}},
    ]
    return report


OBSERVED = observed()
