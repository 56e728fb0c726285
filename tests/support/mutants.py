"""Mutations of files: blind ones of bytes, and ones that know JSON, TOML, archives and arrays."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

Members = dict[str, bytes]

VALUES = (
    *(None, True, False, "", "text", "a\nb\x1b[31m", [], {}, [[]], [0], {"": 0}, "$type", "-"),
    *(0, 1, -1, 2, 3, 63, 64, 127, 1 << 16, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 64, 10**30),
    *(0.5, -0.5, 1e30, 1e308, float("nan"), float("inf")),
)
DTYPES = ("<f4", "<f8", ">i4", "|i1", "<u8", "<U4", "|O", "<c16", "<M8[s]", "|b1", "<f2", "|V8")
NUMBERS = (0, 1, -1, 127, 2**31 - 1, -(2**31), 2**62, -(2**63), 1e38, -3e38, 1e300)
NUMBERS_OF_FLOATS = (float("nan"), float("inf"), -float("inf"), 1e-320)
SHAPES = (
    *((), (0,), (1 << 60,), (1 << 32, 1 << 32), (-1,), (4294967296,), (1 << 60, 0), (2, 0, 3)),
    *((10**40,), (True, 2), (1,) * 40, (3, 3)),
)


def bytes_of(random: Random, content: bytes) -> bytes:
    """Bytes flipped, cut off, put in, doubled or overwritten."""
    data, n = bytearray(content), len(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(max(n, 1))
        match random.randrange(6):
            case 0 | 1:
                data[place : place + 1] = bytes([random.randrange(256)])
            case 2:
                del data[place:]
            case 3:
                data[place:place] = random.randbytes(random.randrange(1, 9))
            case 4:
                data[place : place + 4] = struct.pack("<I", random.choice((0, 1 << 31, 0xFFFFFFFF)))
            case _:
                data[place:place] = data[place : place + random.randrange(1, 64)]
    return bytes(data)


def json_of(random: Random, said: Any) -> Any:
    """One entry of another type or value, left out, or given twice."""
    said = json.loads(json.dumps(said))
    if random.random() < 0.04:
        return random.choice(VALUES)
    places = list(_places(said))
    if not places:
        return random.choice(VALUES)
    container, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del container[key]
        case 1 if isinstance(container, list):
            container.insert(key, container[key])
        case 2 if isinstance(container, dict):
            container[random.choice(("", "extra", "a/b", "$type"))] = container.pop(key)
        case 3:
            container[key] = _nested(random.choice((70, 100_000)))
        case _:
            container[key] = random.choice(VALUES)
    return said


def _places(said: Any) -> Iterator[tuple[Any, Any]]:
    items = list(said.items() if isinstance(said, dict) else enumerate(said))
    for key, item in items:
        yield said, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _nested(depth: int) -> str:
    return f"\0nested {depth}\0"


def dumped(said: Any) -> bytes:
    """JSON, with what is deeply nested put in at the end: it could not be built otherwise."""
    text = json.dumps(said, indent=1, sort_keys=True)
    for depth in (70, 100_000):
        text = text.replace(json.dumps(_nested(depth)), "[" * depth + "]" * depth)
    return text.encode()


def array_of(random: Random, content: bytes) -> bytes:
    """An npy file with other values, or with a header that says something else."""
    array = np.load(io.BytesIO(content))
    if random.random() < 0.4 and array.size:
        array = array.astype(random.choice(("f4", "f8", "i8", "i4", "u8", "i1", array.dtype)))
        numbers = NUMBERS + (NUMBERS_OF_FLOATS if array.dtype.kind == "f" else ())
        with np.errstate(all="ignore"):
            value = np.array(random.choice(numbers)).astype(array.dtype)
        array.flat[random.randrange(array.size) : random.choice((array.size, None, 1))] = value
        return _npy(array)
    if random.random() < 0.3:
        turned = (array.reshape(-1), array[None], array[:0] if array.ndim else array, array.T)
        return _npy(random.choice(turned))
    head: dict[str, Any] = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    key, choices = random.choice(
        (("descr", DTYPES), ("shape", SHAPES), ("fortran_order", (1, "x", True)))
    )
    head[key] = random.choice(choices)
    text = repr(head)
    if random.random() < 0.2:
        text = random.choice(("(" * 3000, "{", "__import__('os').abort()", text + "*9", "\\d" * 9))
    text = text.ljust(117) + "\n"
    version = random.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"))
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text.encode() + array.tobytes()


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def members_of(path: Path) -> Members:
    """What an archive holds."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members: Members, doubled: str = "") -> bytes:
    """An archive of them, one of them twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, catch_warnings():
        simplefilter("ignore")  # that a name is there already
        for name in (*members, *([doubled] if doubled else ())):
            archive.writestr(zipfile.ZipInfo(name), members[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


BOMB = 1 << 28
"""Zeros that a member may hold: more than the tests allow a file to take."""


@cache
def _bomb() -> tuple[bytes, int, int]:
    """An array of zeros: deflated, its size and its checksum."""
    head = io.BytesIO()
    said = {"descr": "|i1", "fortran_order": False, "shape": (BOMB,)}
    np.lib.format.write_array_header_1_0(head, said)  # type: ignore[arg-type]
    deflate, piece = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(1 << 20)
    parts, crc = [deflate.compress(head.getvalue())], zlib.crc32(head.getvalue())
    for _ in range(BOMB // len(piece)):
        parts.append(deflate.compress(piece))
        crc = zlib.crc32(piece, crc)
    parts.append(deflate.flush())
    return b"".join(parts), len(head.getvalue()) + BOMB, crc


def with_bomb(archive: bytes, name: str) -> bytes:
    """The archive with a small member that becomes large; all it says of it is true."""
    content, size, crc = _bomb()
    end = archive.rindex(b"PK\5\6")
    n, directory_size, start = struct.unpack("<HII", archive[end + 10 : end + 20])
    title = name.encode()
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, len(content), size, len(title), 0)
    local = b"PK\3\4" + facts + title + content
    entry = b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, start)
    directory = archive[start : start + directory_size] + entry + title
    counts = struct.pack("<HHHHIIH", 0, 0, n + 1, n + 1, len(directory), start + len(local), 0)
    return archive[:start] + local + directory + b"PK\5\6" + counts


def archive_of(random: Random, members: Members) -> bytes:
    """Members left out, renamed, doubled, swapped or mutated; or flags and sizes that lie."""
    members = dict(members)
    name = random.choice(list(members))
    match random.randrange(9):
        case 0:
            del members[name]
        case 1:
            members[random.choice(("", "x.npy", "../x.npy", "/etc/x.npy", "a\nb.npy"))] = (
                members.pop(name)
            )
        case 2:
            return zipped(members, doubled=name)
        case 3:
            other = random.choice(list(members))
            members[name], members[other] = members[other], members[name]
        case 4:
            return _lying(random, zipped(members), name)
        case 5:
            return with_bomb(zipped({k: v for k, v in members.items() if k != name}), name)
        case _:
            if name.endswith(".npy"):
                members[name] = array_of(random, members[name])
            else:
                members[name] = bytes_of(random, members[name])
    return zipped(members)


def _lying(random: Random, data: bytes, name: str) -> bytes:
    """Headers of a member that say it is encrypted, larger, or compressed in another way."""
    changed = bytearray(data)
    lies = ((1, None, 0), (0, 12, 0), (0, 99, 0), (0, 0, 0), (0, None, 1))
    flag, method, sizes = random.choice(lies)
    size = struct.pack("<I", random.choice((0, 1, 1 << 31, 0xFFFFFFFF, 5000)))
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.find(signature)
        while place >= 0:
            start = place + (30 if at == 6 else 46)
            if data[start : start + len(name)] == name.encode():
                changed[place + at] |= flag
                if method is not None:
                    changed[place + at + 2 : place + at + 4] = struct.pack("<H", method)
                if sizes:
                    changed[place + at + 16 : place + at + 20] = size
            place = data.find(signature, place + 1)
    return bytes(changed)


def toml_of(random: Random, content: bytes) -> bytes:
    """A line left out, doubled or with another value; or bytes of it."""
    if random.random() < 0.3:
        return bytes_of(random, content)
    lines = content.decode().splitlines()
    numbers = [k for k, line in enumerate(lines) if "=" in line]
    k = random.choice(numbers)
    key = lines[k].partition("=")[0]
    values = (
        *("[]", "{}", "true", "-1", "0", "1e308", "inf", "nan", '""', "1979-05-27", "9" * 40, "x"),
        *('"text"', "[[1]]", "{a = 1}", "[" * 5000, "0x" + "f" * 90, '"/dev/zero"', '"../x.toml"'),
    )
    match random.randrange(4):
        case 0:
            del lines[k]
        case 1:
            lines.insert(k, lines[k])
        case 2:
            lines[k] = ".".join(["a"] * random.choice((3, 300, 30_000))) + " = 1"
        case _:
            lines[k] = f"{key}= {random.choice(values)}"
    return "\n".join(lines).encode()
