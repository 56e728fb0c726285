"""A report of an evaluated network, as ``report.json`` holds it."""

from __future__ import annotations

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
