"""What is found in evaluation data, without the rest of a compilation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snn_compile.options import CompileOptions
from snn_compile.passes import Finding
from snn_compile.pipeline.data_trial import tried_on_model
from snn_compile.pipeline.inputs import load_data, preprocess, read_model
from snn_compile.report.journal import Journal
from snn_compile.report.observer import SilentObserver


def warnings_on(
    model: Path, x: Any, y: Any, *, notes: bool = False, **options: Any
) -> list[Finding]:
    """The warnings of a compilation about the evaluation data, and its notes if wanted."""
    asked = CompileOptions().override(options)
    imported = read_model(model, asked)
    network = preprocess(imported, asked)
    samples = load_data(asked, network, None, (x, y))
    evaluate = samples.evaluate
    assert evaluate is not None
    journal = Journal(SilentObserver())
    found = tried_on_model(model, asked, imported, None, evaluate, evaluate.expected, journal)
    return [finding for finding in found if finding.warning or notes]
