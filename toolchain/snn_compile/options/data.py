"""Options of a compilation: the model's inputs and outputs, and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from snn_compile.options.declared import option
from snn_compile.options.kinds import (
    OfInputs,
    assignments,
    choice,
    class_names,
    file,
    input_shapes,
    names,
    numbers_of_inputs,
    recipe,
    whole_number,
)
from snn_compile.options.meaning import ON_FLOATS

Layout = Literal["nchw", "nhwc"]
OutputKinds = Literal["classes", "regression", "segmentation"]

MAX_DISTANCE = 1e15
"""Bound of means and scales, up and down: scaled weights must stay finite when squared."""
_GROUP = "Data"


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """See ``CompileOptions``."""

    calibrate: Path | None = option(
        None,
        file("NPZ"),
        "Calibration data: x, (N, *input shape); of several inputs each by its name.",
        _GROUP,
    )
    evaluate: Path | None = option(
        None,
        file("NPZ"),
        "Data for the accuracy of each stage: x and, for top-1, labels y.",
        _GROUP,
    )
    preprocess: str | None = option(
        None,
        recipe(),
        "What happens to images or sound before the network: a name (imagenet, timm:NAME,"
        " log-mel), a TOML file, or words key=value. Mean and std of images are folded into the"
        " network.",
        _GROUP,
        ON_FLOATS,
    )
    samples: int | None = option(
        None,
        whole_number(1),
        "Number of calibration samples that are drawn, the same of each class.",
        _GROUP,
        shown="1024 of a folder or list of files, all of an array",
    )
    labels: tuple[str, ...] = option(
        (),
        class_names(),
        "Names of the classes, in their order: a line each, or JSON.",
        _GROUP,
        shown="names of the folders of images",
    )
    input_shape: tuple[str, ...] = option(
        (),
        input_shapes(),
        "Shape of an input, in place of the file's; a word leaves the batch open: N,3,224,224.",
        _GROUP,
        ON_FLOATS,
    )
    outputs: tuple[str, ...] = option(
        (),
        names("A[,B]"),
        "Tensors of the file that are outputs, in place of its own.",
        _GROUP,
        ON_FLOATS,
        shown="the file's",
    )
    cut_at: tuple[str, ...] = option(
        (),
        names("A[,B]"),
        "Tensors of the file where the spiking network ends; the rest is left to the host.",
        _GROUP,
        ON_FLOATS,
        shown="where nothing but functions without a spiking form follows",
    )
    mean_values: OfInputs = option(
        (),
        numbers_of_inputs(
            "[INPUT=]M[,M]",
            f"values up to {MAX_DISTANCE:g} in size",
            lambda mean: abs(mean) <= MAX_DISTANCE,
        ),
        "Subtracted from the raw input; one value, or one per channel. Of several inputs, those"
        " that are named.",
        _GROUP,
        ON_FLOATS,
    )
    scale_values: OfInputs = option(
        (),
        numbers_of_inputs(
            "[INPUT=]S[,S]",
            f"values other than 0, from {1 / MAX_DISTANCE:g} to {MAX_DISTANCE:g} in size",
            lambda scale: 1 / MAX_DISTANCE <= abs(scale) <= MAX_DISTANCE,
        ),
        "Divides the difference; one value, or one per channel. Of several inputs, those that are"
        " named.",
        _GROUP,
        ON_FLOATS,
    )
    output_kind: tuple[str, ...] = option(
        (),
        assignments(
            "[NAME=]KIND[,...]", get_args(OutputKinds), 'output_kind = ["value=regression"]'
        ),
        "What outputs are, where neither labels nor shapes tell: classes, regression (real values)"
        " or segmentation (a class for each position).",
        _GROUP,
        shown="by labels or shape",
    )
    layout: Layout = option(
        "nchw", choice(Layout), "Layout of x in the data files.", _GROUP, ON_FLOATS
    )


class DataKeywords(TypedDict, total=False):
    """Its options as keywords of a call."""

    preprocess: str | Path | Mapping[str, Any] | None
    samples: int | None
    labels: Sequence[str] | Path | str
    input_shape: Mapping[str, Sequence[int | str]] | Sequence[str] | str
    outputs: Sequence[str]
    cut_at: Sequence[str]
    mean_values: Sequence[float] | Mapping[str, Sequence[float]]
    scale_values: Sequence[float] | Mapping[str, Sequence[float]]
    output_kind: Sequence[str]
    layout: Layout
