"""Mutants of a training's checkpoint: of its bytes, its archive, and what torch reads in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from mutants import VALUES, archive_of, bytes_of, members_of


def checkpoint_of(random: Random, path: Path) -> bytes:
    """The checkpoint with a fault. Needs torch."""
    match random.randrange(8):
        case 0:
            return bytes_of(random, path.read_bytes())
        case 1 | 2:
            return archive_of(random, members_of(path))
        case _:
            return _content_of(random, path)


def _content_of(random: Random, path: Path) -> bytes:
    """One entry of another type, value or form, left out, or put in."""
    import torch

    content = torch.load(path, weights_only=True)
    container, key = random.choice(list(_places(content)))
    match random.randrange(6):
        case 0:
            del container[key]
        case 1:
            container[key] = random.choice(VALUES)
        case 2 if isinstance(container, dict):
            container[random.choice(("", "other", 0, 99))] = container[key]
        case _ if isinstance(container[key], torch.Tensor):
            container[key] = random.choice(_TENSORS)(container[key])
        case _:
            container[key] = {"a": container[key]}
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _places(said: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys, from the outside to the inside."""
    keys = list(said) if isinstance(said, dict) else range(len(said))
    for key in keys:
        yield said, key
        if isinstance(said[key], dict | list):
            yield from _places(said[key])


_TENSORS: tuple[Callable[[Any], Any], ...] = (
    lambda t: t * float("nan"),
    lambda t: t * 1e38,
    lambda t: t + 1e30,
    lambda t: t.int(),
    lambda t: t.double(),
    lambda t: t.to_sparse() if t.ndim else t,
    lambda t: t.bool(),
    lambda t: t[None],
    lambda t: t.reshape(-1)[:0],
    lambda t: t.reshape(-1)[:1].expand(1 << 40) if t.numel() else t,
    lambda t: t.to("meta"),
    lambda t: t.detach().requires_grad_() if t.is_floating_point() else t,
    lambda t: t.to(dtype=t.dtype.to_complex()) if t.is_floating_point() else t,
    lambda t: -t,
)
