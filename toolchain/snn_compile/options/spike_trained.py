"""Options of a compilation: networks trained with spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from snn_compile.options.declared import option
from snn_compile.options.kinds import choice, number, switch
from snn_compile.options.meaning import ON_SPIKES
from snn_compile.options.network import Reset

Producer = Literal["snntorch", "norse", "spikingjelly", "sinabs", "rockpool", "other"]
PRODUCERS: tuple[str, ...] = get_args(Producer)

_GROUP = "Networks trained with spikes"


@dataclass(frozen=True, kw_only=True)
class SpikeTrainedOptions:
    """See ``CompileOptions``."""

    event_step: float | None = option(
        None,
        number("US", "microseconds, more than 0", lambda step: step > 0),
        "Time step of recorded events, in microseconds.",
        _GROUP,
        ON_SPIKES,
        shown="the recording, cut into T",
    )
    nir_dt: float | None = option(
        None,
        number("S", "seconds, more than 0", lambda step: step > 0),
        "Time step of a NIR file in seconds, if its neurons require it.",
        _GROUP,
        ON_SPIKES,
        shown="required",
    )
    nir_reset: Reset | None = option(
        None,
        choice(Reset),
        "Reset of the neurons of a NIR file.",
        _GROUP,
        ON_SPIKES,
        shown="required",
    )
    nir_reset_delay: bool = option(
        True, switch(), "snnTorch's delay of the reset by one time step.", _GROUP, ON_SPIKES
    )
    nir_producer: Producer | None = option(
        None,
        choice(Producer),
        "Framework that wrote a NIR file.",
        _GROUP,
        ON_SPIKES,
        shown="required",
    )


class SpikeTrainedKeywords(TypedDict, total=False):
    """Its options as keywords of a call."""

    event_step: float | None
    nir_dt: float | None
    nir_reset: Reset | None
    nir_reset_delay: bool
    nir_producer: Producer | None
