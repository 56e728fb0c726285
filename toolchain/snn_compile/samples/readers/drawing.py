"""Samples drawn for calibration: the same number of each class, the same on every machine.

The order is that of hashes of the seed and a sample's name, so that it depends neither on a
library's generator nor on the order of a folder.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt


def drawn(
    keys: Sequence[str], labels: Sequence[int] | None, n: int, seed: int
) -> npt.NDArray[np.intp]:
    """Numbers of ``n`` of the samples, or of all if there are fewer; one of each class in turn.

    Args:
        keys: a name for each sample.
        labels: its class; None if unknown.
        n: how many.
        seed: of the order.
    """
    order = sorted(range(len(keys)), key=lambda k: sha256(f"{seed}:{keys[k]}".encode()).digest())
    classes: dict[int, deque[int]] = defaultdict(deque)
    for k in order:
        classes[0 if labels is None else int(labels[k])].append(k)
    queues = [classes[label] for label in sorted(classes)]
    chosen: list[int] = []
    while queues and len(chosen) < n:
        for queue in queues[: n - len(chosen)]:
            chosen.append(queue.popleft())
        queues = [queue for queue in queues if queue]
    return np.array(chosen, np.intp)
