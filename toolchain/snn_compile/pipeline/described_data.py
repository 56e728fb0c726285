"""What is said of the data of a compilation: where samples come from, what the device receives."""

from __future__ import annotations

from snn_compile.options import CompileOptions
from snn_compile.pipeline.inputs import Data
from snn_compile.recipes import Recipe, read_recipe
from snn_compile.report.observer import Observer
from snn_compile.samples.spike_trains import TrainData

BY_DATA = "folders of classes"
"""Origin of names of classes that the data has."""


def with_class_names(options: CompileOptions, data: Data | TrainData) -> CompileOptions:
    """The options with the names of classes that the evaluation data has, unless stated."""
    names = data.evaluate.classes if data.evaluate is not None else ()
    if options.labels or not names:
        return options
    return options.with_value("labels", names, BY_DATA)


def describe_data(observer: Observer, options: CompileOptions, data: Data | TrainData) -> None:
    """The lines about drawn samples, preprocessing, and what the device receives."""
    both = (data.calibrate, data.evaluate)
    if any(samples is not None and samples.classes for samples in both):
        counts = [
            f"{len(samples):,} samples to {verb}"
            for verb, samples in zip(("calibrate", "evaluate"), both, strict=True)
            if samples is not None
        ]
        classes = max(len(samples.classes) for samples in both if samples is not None)
        observer.stage("data", f"{' · '.join(counts)} · {classes} classes")
    if options.preprocess is not None:
        recipe = read_recipe(options.preprocess)
        observer.stage("preprocess", recipe.described())
        if not isinstance(recipe, Recipe):
            return
        levels = 1 << options.input_bits
        exact = "pixels as whole numbers from 0 to 255"
        observer.stage(
            "device", f"receives {exact}" if levels > 255 else f"receives {levels} levels"
        )
