"""How hypothesis draws networks for Lava, which takes seconds for each of them."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings


def unshrunk(max_examples: int, **more: Any) -> settings:
    """So many examples, however slow; shrinking would take minutes."""
    return settings(
        max_examples=max_examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        **more,
    )
