"""Kinds of files, told by their content; a name decides only where there is no signature."""

from __future__ import annotations

from pathlib import Path

from snn_compile.files.documents import open_regular

IMAGE, NPY, NPZ, HDF5, PARQUET, TEXT = "image", "npy", "npz", "hdf5", "parquet", "text"
WAVE, EVENTS, AEDAT = "WAV audio", "a recording of events", "an AEDAT recording"
START = 32
"""Bytes that tell a kind."""
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", IMAGE),
    (0, b"\xff\xd8\xff", IMAGE),
    (0, b"\x93NUMPY", NPY),
    (0, b"PK", NPZ),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (0, b"PAR1", PARQUET),
)
_RIFF = {b"WEBP": IMAGE, b"WAVE": WAVE, b"AVI ": "an AVI video"}
_REFUSED = (
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIF image"),
    (4, b"ftypmif1", "a HEIF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"#!AER-DAT", AEDAT),
    (0, b"#!AEDAT", AEDAT),
    (0, b"fLaC", "FLAC audio"),
    (0, b"OggS", "Ogg audio"),
    (0, b"ID3", "MP3 audio"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"%PDF", "a PDF document"),
)
_FIELDS = b"{'descr': [("
"""In the header of an npy file with named fields."""
EVENT_SUFFIX = ".bin"
"""Of recordings as N-MNIST has them, which have no signature."""
_BITMAP_SIZES = (12, 40, 52, 56, 64, 108, 124)


def kind_of(path: Path) -> str:
    """The kind of a file; of a known kind that no reader reads, its name; else empty.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as stream:
        start = stream.read(START)
    if start[:6] == _SIGNATURES[2][1] and _FIELDS in start:
        return EVENTS
    for offset, signature, kind in (*_SIGNATURES, *_REFUSED):
        if start[offset : offset + len(signature)] == signature:
            return kind
    if start[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return _RIFF.get(start[8:12], "")
    # A bitmap has two letters and the size of its header, which few texts would have there.
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BITMAP_SIZES:
        return IMAGE
    if path.suffix.lower() == EVENT_SUFFIX:
        return EVENTS
    if start and b"\0" not in start:
        return TEXT
    return ""
