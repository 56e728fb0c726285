"""Images as samples: decoded whenever they are asked for, in the size that the network takes.

Resizing is Pillow's own, and sizes are rounded as torchvision rounds them. What an image says about
itself is obeyed or refused, never overlooked: orientation, palettes and CMYK are applied, 16 bits,
animations and transparency are refused.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from snn_compile import extras
from snn_compile.errors import CompileError, Origin, raise_all
from snn_compile.files.documents import DamagedError, TooLargeError, check_size
from snn_compile.ir.graph import Shape
from snn_compile.recipes import Recipe
from snn_compile.samples.readers.content import Content, Request, complaint
from snn_compile.samples.readers.decoded import DecodedRows, UnusableError

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Decoders that are used."""
_CHANNELS = (1, 3)
_DIRECT = ("L", "RGB", "CMYK", "YCbCr")
_DEEP = ("I", "F")
_PNG_DEPTH = 24
"""Offset of the bits per sample in a PNG file."""


@dataclass(frozen=True)
class Decoder:
    """From the file of an image to the values that the network takes.

    Attributes:
        shape: of the input, channels first or last.
        recipe: of the preprocessing, or None.
    """

    shape: Shape
    recipe: Recipe | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return np.dtype(np.uint8)

    @property
    def last(self) -> bool:
        """Whether channels are the last axis of the input."""
        return self.shape[0] not in _CHANNELS and self.shape[-1] in _CHANNELS

    @property
    def n_channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.shape[-1] if self.last else self.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.shape[:2] if self.last else self.shape[1:]
        return height, width

    def complaints(self, path: Path) -> list[CompileError]:
        """Why the network takes no images."""
        errors: list[CompileError] = list(
            extras.missing("PIL", "images", "images are read by", origin=Origin(str(path)))
        )
        if len(self.shape) != 3 or self.n_channels not in _CHANNELS:
            takes = ", ".join(map(str, self.shape))
            errors.append(
                complaint(
                    path,
                    f"it holds images, and the network takes ({takes})",
                    "wrong-shape",
                    "images fit an input of 1 or 3 channels, height and width; give an array of"
                    " another shape as npz",
                )
            )
        return errors

    def __call__(self, stream: BinaryIO) -> Pixels:
        """The values of an image.

        Raises:
            DamagedError: it is none, or one that would be read wrongly.
        """
        from PIL import Image, UnidentifiedImageError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                with Image.open(stream, formats=FORMATS) as image:
                    check_size("the image", image.width * image.height * 8)
                    _refuse(image, stream)
                    pixels = self._prepared(_upright(image))
            except (UnidentifiedImageError, SyntaxError) as error:
                raise DamagedError("not an image, or a damaged one") from error
            except Image.DecompressionBombError as error:
                raise TooLargeError(str(error)) from error
        values = np.asarray(pixels, np.uint8)
        if values.ndim == 2:
            values = values[:, :, None]
        if self.recipe is not None and self.recipe.colour == "bgr":
            values = values[:, :, ::-1]
        return np.ascontiguousarray(values if self.last else np.moveaxis(values, -1, 0))

    def _prepared(self, image: Image.Image) -> Image.Image:
        image = self._coloured(image)
        recipe = self.recipe
        if recipe is not None:
            image = _cropped(_resized(image, recipe), recipe.crop)
        height, width = self.size
        if image.size != (width, height):
            raise WrongSizeError(
                f"it is {image.width} × {image.height} pixels{' after the recipe' * bool(recipe)},"
                f" and the network takes {width} × {height}"
            )
        return image

    def _coloured(self, image: Image.Image) -> Image.Image:
        if image.mode == "1":
            image = image.convert("L")
        if self.n_channels == 3:
            return image if image.mode == "RGB" else image.convert("RGB")
        if image.mode == "L":
            return image
        if self.recipe is not None and self.recipe.colour == "grey":
            return image.convert("RGB").convert("L")
        raise ColourError("it has colours, and the network takes 1 channel")


class WrongSizeError(UnusableError):
    """An image of another size."""

    code = "wrong-shape"
    hint = "state the size: --preprocess 'unit resize=32,32'; or a name"


class ColourError(UnusableError):
    """A colour image for a network that takes grey ones."""

    code, hint = "wrong-shape", "to make it grey, add colour=grey to --preprocess"


class DeepError(UnusableError):
    """An image that eight bits a channel cannot hold, or of several frames, or transparent."""

    hint = "convert it to 8 bits a channel, one frame, without alpha"


def _refuse(image: Image.Image, stream: BinaryIO) -> None:
    """Refuse what Pillow would read as something else."""
    # An MPO is a JPEG with further pictures behind it, such as a preview.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise DeepError(f"it is animated, with {image.n_frames} frames")  # type: ignore[attr-defined]
    depth = 8
    if image.format == "PNG":
        place = stream.tell()
        stream.seek(_PNG_DEPTH)
        depth = stream.read(1)[0]
        stream.seek(place)
    if depth > 8 or image.mode.startswith(_DEEP):
        raise DeepError(f"it has {max(depth, 16)} bits a channel")
    transparent = "transparency" in image.info
    if transparent or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        alpha = image.convert("RGBA").getchannel("A").getextrema()
        if alpha != (255, 255):
            raise DeepError("it has transparent pixels")


def _upright(image: Image.Image) -> Image.Image:
    """The image as its orientation says, in one of the plain modes."""
    from PIL import ImageOps

    if image.mode in ("LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("1", *_DIRECT):
        if image.mode not in ("P", "PA", "RGBA", "RGBa", "RGBX"):
            raise DeepError(f"its pixels are of the kind {image.mode}")
        image = image.convert("RGB")
    turned = ImageOps.exif_transpose(image)
    return image if turned is None else turned


def _resized(image: Image.Image, recipe: Recipe) -> Image.Image:
    from PIL import Image

    if not recipe.resize:
        return image
    if len(recipe.resize) == 2:
        height, width = recipe.resize
    else:
        side, shorter = recipe.resize[0], min(image.size)
        width, height = (
            side if extent == shorter else int(side * extent / shorter) for extent in image.size
        )
    if (width, height) == image.size:
        return image
    method = Image.Resampling[recipe.interpolation.upper()]
    return image.resize((width, height), method)


def _cropped(image: Image.Image, crop: tuple[int, ...]) -> Image.Image:
    """The centre; what is smaller gets a black border first, as torchvision does it."""
    from PIL import ImageOps

    if not crop:
        return image
    height, width = crop
    if width > image.width or height > image.height:
        across, down = max(width - image.width, 0), max(height - image.height, 0)
        border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
        image = ImageOps.expand(image, border, 0)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _decoder(request: Request, where: Path) -> Decoder:
    """What makes values of the images in a data set.

    Raises:
        UsageError: the network takes no images, or Pillow is missing.
    """
    decoder = Decoder(request.file_input[1], request.image_recipe(where))
    raise_all(decoder.complaints(where))
    return decoder


def image_bytes(
    n: int, content: Callable[[int], bytes], request: Request, where: Path
) -> DecodedRows:
    """The images in another file, each by its number; errors as of ``read_images``."""
    decoder = _decoder(request, where)
    return DecodedRows(
        n, lambda k: io.BytesIO(content(k)), lambda k: f"{where}: image {k}", decoder, "images"
    )


def read_images(where: Path, files: Sequence[Path], request: Request) -> Content:
    """The images in files; those that are taken are decoded once to see that all can be.

    Raises:
        UsageError: the network takes no images, or Pillow is missing.
    """
    rows = DecodedRows.of_files(files, _decoder(request, where), "images")
    return Content({request.file_input[0]: rows}, are_decoded=True)
