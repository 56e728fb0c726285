"""The table of recipes that torchvision and timm publish, written from the libraries.

    python tests/bench/published_recipes.py      needs torchvision and timm, not installed by us

A line has the constants of a preprocessing, and the names of all weights that share them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[2] / "toolchain/snn_compile/recipes/published.tsv"
HEADER = ("resize", "interpolation", "crop", "mean", "std", "names")
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")

Constants = tuple[str, str, str, str, str]


def written(values: Any) -> str:
    return ",".join(f"{value:.10g}" for value in values)


def of_torchvision() -> Iterator[tuple[Constants, str]]:
    import torchvision
    from torchvision.models import get_model_weights, list_models

    for model in list_models(module=torchvision.models):
        weights = get_model_weights(model)
        for one in weights:
            p = one.transforms()
            sizes = (str(p.resize_size[0]), p.interpolation.value, str(p.crop_size[0]))
            constants = (*sizes, written(p.mean), written(p.std))
            yield constants, f"torchvision:{model}.{one.name}"
            if one is weights.DEFAULT:
                yield constants, f"torchvision:{model}"


def of_timm() -> Iterator[tuple[Constants, str]]:
    from timm.models import get_pretrained_cfg, list_models, list_pretrained

    for name in [*list_pretrained(), *list_models()]:
        found = get_pretrained_cfg(name)
        if found is None or not found.has_weights:
            continue
        if (constants := timm_constants(found)) is not None:
            yield constants, f"timm:{name}"


def timm_constants(found: Any) -> Constants | None:
    """None for a preprocessing that a recipe cannot state."""
    channels, height, width = found.input_size
    sizes = [math.floor(side / found.crop_pct) for side in (height, width)]
    resize = str(sizes[0])
    if found.crop_mode == "squash":
        resize = ",".join(map(str, sizes))
    elif found.crop_mode != "center" or height != width:
        return None
    if found.interpolation not in INTERPOLATIONS or len(found.mean) not in (1, channels):
        return None
    crop = str(height) if height == width else f"{height},{width}"
    return resize, found.interpolation, crop, written(found.mean), written(found.std)


def main() -> None:
    names: dict[Constants, set[str]] = defaultdict(set)
    for constants, name in (*of_torchvision(), *of_timm()):
        names[constants].add(name)
    lines = ["\t".join((*key, " ".join(sorted(found)))) for key, found in sorted(names.items())]
    TABLE.write_text("\n".join(["\t".join(HEADER), *lines]) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
