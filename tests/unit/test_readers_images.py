"""Images as samples: the pixels that Pillow gives, or a complaint that names the file."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from image_sets import folder_of, pixels
from snn_compile import memory
from snn_compile.errors import CompileErrors, UsageError
from snn_compile.files.documents import DamagedError
from snn_compile.recipes import read_recipe
from snn_compile.samples.readers import Request, open_samples
from snn_compile.samples.readers.images import Decoder

SHAPE = (3, 6, 5)


def encoded(image: Image.Image, **options) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, **{"format": "PNG", **options})
    stream.seek(0)
    return stream


def decoded(stream: io.BytesIO, shape=SHAPE, recipe: str = "") -> np.ndarray:
    return Decoder(shape, read_recipe(recipe) if recipe else None)(stream)


def opened(path, shape=SHAPE, **request):
    content = open_samples(path, Request({"x": shape}, **request))
    content.check(path)
    return content


@pytest.mark.parametrize("shape", [(3, 6, 5), (6, 5, 3)])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_pixels_are_those_of_the_file(kind, shape):
    image = pixels(1)[0]
    found = decoded(encoded(Image.fromarray(image), format=kind, lossless=True), shape)
    assert (found == (image.transpose(2, 0, 1) if shape[0] == 3 else image)).all()


def test_a_photo_is_what_the_decoder_makes_of_it():
    stream = encoded(Image.fromarray(pixels(1)[0]), format="JPEG")
    expected = np.asarray(Image.open(io.BytesIO(stream.getvalue())))
    assert (decoded(stream) == expected.transpose(2, 0, 1)).all()


def test_colours_are_kept_in_every_way_of_storing_them():
    image = Image.fromarray(pixels(1)[0])
    expected = np.asarray(image).transpose(2, 0, 1)
    opaque = image.copy()
    opaque.putalpha(255)
    assert (decoded(encoded(opaque)) == expected).all()
    palette = image.quantize(256)
    assert (
        decoded(encoded(palette)) == np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    ).all()
    grey = image.convert("L")
    assert (decoded(encoded(grey)) == np.stack([np.asarray(grey)] * 3)).all()
    cmyk = encoded(image.convert("CMYK"), format="JPEG")
    assert (decoded(cmyk) == np.asarray(Image.open(cmyk).convert("RGB")).transpose(2, 0, 1)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_images_stand_upright(orientation, mode):
    upright = Image.fromarray(pixels(1)[0]).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if orientation < 5 else upright.transpose(Image.Transpose.TRANSPOSE)
    stream = encoded(stored, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(stream.getvalue()))).convert("RGB")
    shape = (3, expected.height, expected.width)
    assert (decoded(stream, shape) == np.asarray(expected).transpose(2, 0, 1)).all()


def deep_png() -> io.BytesIO:
    """A PNG of 16 bits a channel, which Pillow reads as one of 8."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    header = (5).to_bytes(4, "big") + (6).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    rows = zlib.compress(b"".join(b"\0" + bytes(30) for _ in range(6)))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts)


def refused() -> dict[str, tuple[io.BytesIO, str]]:
    image = Image.fromarray(pixels(1)[0])
    clear = image.copy()
    clear.putalpha(Image.fromarray(np.full((6, 5), 254, np.uint8)))
    keyed = encoded(image, transparency=tuple(int(v) for v in np.asarray(image)[0, 0]))
    frames = {"save_all": True, "append_images": [ImageOps.invert(image)]}
    return {
        "16 bits of colour": (deep_png(), "16 bits"),
        "16 bits of grey": (encoded(Image.fromarray(np.ones((6, 5), np.uint16))), "16 bits"),
        "half transparent": (encoded(clear), "transparent"),
        "a transparent colour": (keyed, "transparent"),
        "animated PNG": (encoded(image, **frames), "animated"),
        "animated WebP": (encoded(image, format="WEBP", **frames), "animated"),
        "cut off": (io.BytesIO(encoded(image).getvalue()[:60]), "decoded"),
        "of another size": (encoded(image.resize((9, 9))), "9 × 9"),
        "noise": (io.BytesIO(b"\x89PNG\r\n\x1a\n" + bytes(50)), "decoded"),
    }


def test_what_would_be_read_wrongly_is_refused_by_name(tmp_path):
    cases = refused()
    for name, (stream, _) in cases.items():
        (tmp_path / f"{name}.png").write_bytes(stream.getvalue())
    with pytest.raises(CompileErrors) as caught:
        opened(tmp_path)
    messages = {str(error.origin): error.message for error in caught.value.errors}
    assert len(messages) == len(cases)
    for name, (_, word) in cases.items():
        assert word in messages[str(tmp_path / f"{name}.png")]


def test_of_many_damaged_images_some_are_named_and_all_counted(tmp_path):
    for k in range(25):
        (tmp_path / f"{k:02d}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(k))
    with pytest.raises(CompileErrors) as caught:
        opened(tmp_path)
    assert len(caught.value.errors) == 11
    assert "15 more images" in caught.value.errors[-1].message


def test_a_large_image_in_a_small_file_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (6000, 6000)).save(tmp_path / "bomb.png")
    memory.limit_to(1 << 20)
    try:
        with pytest.raises(UsageError, match="above its limit") as caught:
            opened(tmp_path)
    finally:
        memory.limit_to(None)
    assert caught.value.code == "too-large"


def test_a_grey_network_takes_no_colours_unless_told(tmp_path):
    image = Image.fromarray(pixels(1)[0])
    with pytest.raises(DamagedError, match="colours"):
        decoded(encoded(image), (1, 6, 5))
    found = decoded(encoded(image), (1, 6, 5), "unit colour=grey")
    assert (found[0] == np.asarray(image.convert("L"))).all()
    assert (
        decoded(encoded(image.convert("L")), (1, 6, 5))[0] == np.asarray(image.convert("L"))
    ).all()
    swapped = decoded(encoded(image), SHAPE, "unit colour=bgr")
    assert (swapped == np.asarray(image)[:, :, ::-1].transpose(2, 0, 1)).all()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", [(40, 31), (31, 40), (23, 23), (9, 30)])
def test_resizing_is_pillows(method, size):
    image = Image.fromarray(pixels(1, size=size)[0])
    shorter = min(image.size)
    scaled = [23 if side == shorter else int(23 * side / shorter) for side in image.size]
    expected = image.resize(tuple(scaled), Image.Resampling[method.upper()])
    left, top = round((scaled[0] - 20) / 2), round((scaled[1] - 21) / 2)
    expected = expected.crop((left, top, left + 20, top + 21))
    found = decoded(
        encoded(image), (3, 21, 20), f"unit resize=23 crop=21,20 interpolation={method}"
    )
    assert (found == np.asarray(expected).transpose(2, 0, 1)).all()
    exact = decoded(encoded(image), (3, 7, 8), f"unit resize=7,8 interpolation={method}")
    whole = image.resize((8, 7), Image.Resampling[method.upper()])
    assert (exact == np.asarray(whole).transpose(2, 0, 1)).all()


def test_what_is_smaller_than_the_crop_gets_a_border():
    image = pixels(1)[0]
    found = decoded(encoded(Image.fromarray(image)), (3, 9, 8), "unit crop=9,8")
    assert (found[:, 1:7, 1:6] == image.transpose(2, 0, 1)).all()
    assert found.sum() == image.sum()


def test_rows_are_decoded_when_they_are_asked_for(tmp_path):
    images = pixels(4)
    folder_of(tmp_path, images, ["a"] * 4)
    rows = opened(tmp_path).arrays["x"]
    assert rows.shape == (4, *SHAPE)
    assert (rows[np.array([2, 0])] == images[[2, 0]].transpose(0, 3, 1, 2)).all()
    (tmp_path / "a" / "0001.png").write_bytes(b"")
    assert (rows[2:3] == images[2:3].transpose(0, 3, 1, 2)).all()
    with pytest.raises(UsageError, match="decoded") as caught:
        rows[:]
    assert str(caught.value.origin).endswith("0001.png")
