"""Small sets of images on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from onnx_models import model, node


def pixels(n: int, seed: int = 0, size: tuple[int, int] = (6, 5)) -> np.ndarray:
    """``n`` random images, (N, H, W, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (n, *size, 3), np.uint8)


def folder_of(root: Path, images: np.ndarray, labels: list[str], ending: str = "png") -> Path:
    """A folder for each class, with the images in their order."""
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / label / f"{k:04d}.{ending}")
    return root


def network(path: Path, n_classes: int = 3, size: tuple[int, int] = (6, 5)) -> Path:
    """A convolution and a dense layer, for images of this size."""
    random = np.random.default_rng(1)
    n = 4 * (size[0] - 2) * (size[1] - 2)
    weights = {
        "w": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "b": random.normal(size=4).astype(np.float32),
        "v": random.normal(size=(n, n_classes)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w b", "c", "c"),
        node("Relu", "c", "r", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f v", "y", "y"),
    ]
    onnx.save(model(nodes, ("N", 3, *size), weights), str(path))
    return path
