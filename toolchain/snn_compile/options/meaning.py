"""Where options apply: values of ``Option.only``."""

from __future__ import annotations

from snn_compile.options.traced import CALIBRATED, CONVERTED, SPIKING

ON_SPIKES = {"network": (SPIKING,)}
ON_FLOATS = {"network": (CONVERTED,)}
UNEQUALIZED = {**ON_FLOATS, "equalize": ("none",)}
WITH_STEPS = {"coding": ("sync", "radix", "rate", "signed")}
WITH_PAYLOADS = {**ON_FLOATS, "coding": ("graded", "sigma-delta")}
RATE_OR_SIGNED = {**ON_FLOATS, "coding": ("rate", "signed")}
RATE = {**ON_FLOATS, "coding": ("rate",)}
BURSTS = {**RATE, "reset": ("subtract",)}
MEASURED = {**ON_FLOATS, "data": (CALIBRATED,)}
BIASES = {**MEASURED, "reset": ("subtract",)}
STARTS = {**MEASURED, **BURSTS, "initial_potential": (None,)}
RESETS = {**MEASURED, **RATE, "reset": ("zero",)}
