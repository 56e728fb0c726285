"""Training of the spiking network in fixed point. The only part that imports torch, and lazily.

>>> from snn_compile.tune import TuneOptions, tune_model  # doctest: +SKIP
>>> tuned = tune_model("net.snn", train=(x, y), options=TuneOptions(epochs=5))  # doctest: +SKIP
>>> tuned.save("net.tuned.snn")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from snn_compile.tune.options import TuneOptions

if TYPE_CHECKING:
    from snn_compile.tune.driver import tune_model

__all__ = ["TuneOptions", "require_torch", "tune_model"]


def require_torch() -> None:
    """Check that torch can be imported.

    Raises:
        UsageError: it cannot; the hint has the command that installs it.
    """
    from snn_compile.errors import raise_all
    from snn_compile.extras import missing

    more = "; without a GPU, pytorch.org has smaller builds"
    raise_all(missing("torch", "tune", "tuning needs", more=more))


def __getattr__(name: str) -> Any:
    """Import the names that need torch on first use."""
    if name != "tune_model":
        raise AttributeError(f"module 'snn_compile.tune' has no attribute '{name}'")
    require_torch()
    from snn_compile.tune.driver import tune_model

    return tune_model
