"""Networks on Lava, which takes seconds for each: how few are drawn, and how one is held to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from snn_backends.lava import LavaBackend
from snn_compile.bundle import CompiledModel


def unshrunk(max_examples: int, **more: Any) -> settings:
    """So many examples, however slow; shrinking would take minutes."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        **more,
    )


def assert_equal_on_lava(model: CompiledModel, folder: Path) -> None:
    """A network that was compiled with ``emit=("lava",)``, saved and loaded again: two stimuli."""
    model.save(folder)
    loaded = CompiledModel.load(folder)
    found = LavaBackend().verify(
        loaded.program, folder / "lava", loaded.stimulus[:2], time_limit=600
    )
    assert found.equal, found.details
