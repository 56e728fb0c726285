"""Options of a compilation: what is written, and the limits that it must keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from snn_compile.options.declared import option
from snn_compile.options.kinds import names, number, whole_number

_GROUP = "Result"


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """See ``CompileOptions``."""

    emit: tuple[str, ...] = option(
        ("lava",), names("B[,B]"), "Backends to emit: c, lava, netx, nir, onnx.", _GROUP
    )
    max_accuracy_drop: float | None = option(
        None,
        number("POINTS", "points, 0 or more", lambda points: points >= 0),
        "Largest loss of top-1 accuracy (of agreement, without labels), of pixel accuracy or of"
        " 100 R2, of any output; beyond it, exit code 6. Requires --evaluate.",
        _GROUP,
    )
    max_energy: float | None = option(
        None,
        number("UJ", "microjoules, 0 or more", lambda energy: energy >= 0),
        "Largest dynamic energy of an inference, in microjoules, by the estimate; beyond it, exit"
        " code 6. Requires --evaluate or --calibrate.",
        _GROUP,
    )
    max_latency: float | None = option(
        None,
        number("US", "microseconds, 0 or more", lambda latency: latency >= 0),
        "Largest latency of an inference, in microseconds, likewise.",
        _GROUP,
    )
    max_cores: int | None = option(
        None, whole_number(1), "Largest number of cores; beyond it, exit code 6.", _GROUP
    )
    seed: int = option(
        0,
        whole_number(0),
        "Seed of Poisson input and of the noise among the golden stimuli.",
        _GROUP,
    )


class ResultKeywords(TypedDict, total=False):
    """Its options as keywords of a call."""

    emit: Sequence[str]
    max_accuracy_drop: float | None
    max_energy: float | None
    max_latency: float | None
    max_cores: int | None
    seed: int
