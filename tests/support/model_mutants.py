"""Mutants of model files: of ONNX, by protobuf's own description of itself, and of NIR's HDF5."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from mutants import bytes_of
from nir_graphs import GRAPHS
from onnx_models import model, node

WHOLE = (0, 1, -1, 2, 3, 7, 8, 64, 10_000, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, 1 << 62)
REAL = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e30, 3e38, -3e38, float("nan"), float("inf"))
TEXTS = ("", "x", "y", "\0", "a\nb\x1b[2J", "n" * 5000, "../../x", "\u202e", "Relu", "SAME_UPPER")
PLACES = ("../secret", "/etc/passwd", "/dev/zero", "w.bin", ".", "", "a/../../x", "w.bin\0")
IMAGE = ("N", 1, 8, 8)


def _real(seed: int, *shape: int) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / 3).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@cache
def onnx_seeds() -> tuple[bytes, ...]:
    """Small networks that between them have every operator that is imported, and folded ones."""
    layers = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("BatchNormalization", "c g b m v", "n", epsilon=1e-5, momentum=0.8),
        node("Relu", "n", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p d", "q", group=4, auto_pad="SAME_UPPER"),
        node("Add", "p q", "s"),
        node("LeakyRelu", "s", "l", alpha=0.1),
        node("GlobalAveragePool", "l", "a"),
        node("Flatten", "a", "f", axis=1),
        node("Gemm", "f k h", "o", transB=1, alpha=0.5),
        node("Softmax", "o", "y", axis=1),
    ]
    constants = {
        "w": _real(0, 4, 1, 3, 3),
        "b": _real(1, 4),
        "g": np.ones(4, np.float32),
        "m": _real(2, 4),
        "v": np.ones(4, np.float32),
        "d": _real(3, 4, 1, 3, 3),
        "k": _real(4, 3, 4),
        "h": _real(5, 3),
    }
    moved = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n first", "u"),
        node("Concat", "u rest", "t", axis=0),
        node("Reshape", "x t", "f"),
        node("Clip", "f low high", "c"),
        node("Split", "c", "p q", axis=1),
        node("Concat", "q p", "j", axis=1),
        node("Slice", "j start end one one", "z"),
        node("Range", "zero eight step", "i"),
        node("Cast", "i", "v", to=1),
        node("Expand", "v wide", "e"),
        node("MatMul", "z e", "k"),
        node("PRelu", "k half", "y"),
    ]
    numbers = {
        **{"zero": np.int64(0), "eight": np.int64(8), "step": np.int64(1)},
        **{"first": _ints(0), "rest": _ints(-1), "start": _ints(0), "end": _ints(60)},
        **{"one": _ints(1), "low": np.float32(0), "high": np.float32(6)},
        **{"wide": _ints(60, 8), "half": np.float32([0.5] * 8)},
    }
    blocks = [
        node("SpaceToDepth", "x", "s", blocksize=2),
        node("Transpose", "s", "t", perm=[0, 2, 3, 1]),
        node("MatMul", "t w", "m"),
        node("Relu", "m", "r"),
        node("Transpose", "r", "u", perm=[0, 3, 1, 2]),
        node("Pad", "u p", "z"),
        node("AveragePool", "z", "a", kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2]),
        node("ReduceMean", "a", "e", axes=[2, 3], keepdims=0),
        node("Mul", "e c", "k"),
        node("Sub", "k c", "d"),
        node("Div", "d c", "v"),
        node("ArgMax", "v", "y", axis=1),
    ]
    more = {"w": _real(6, 4, 6), "p": _ints(0, 0, 1, 1, 0, 0, 0, 0), "c": _real(7, 6) + 2}
    return tuple(
        model(nodes, IMAGE, values).SerializeToString()
        for nodes, values in ((layers, constants), (moved, numbers), (blocks, more))
    )


def onnx_of(random: Random, folder: Path) -> bytes:
    """A network with one to three things that it should not have."""
    content = random.choice(onnx_seeds())
    if random.random() < 0.15:
        return bytes_of(random, content)
    made = onnx.ModelProto.FromString(content)
    (folder / "w.bin").write_bytes(bytes(256))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        change = random.choice(_ONNX_CHANGES)
        try:
            change(random, made)
        except Exception:  # noqa: BLE001  (what protobuf does not take, or nothing to change)
            made = onnx.ModelProto.FromString(content)
    return made.SerializeToString()


def _messages(message: Any) -> Iterator[Any]:
    """A message and all in it."""
    yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "ListFields") else list(value):
                yield from _messages(part)


def _any_field(random: Random, made: onnx.ModelProto) -> None:
    """Any field of any message: another value, none, or several."""
    message = random.choice(list(_messages(made)))
    field = random.choice(list(message.DESCRIPTOR.fields))
    value = getattr(message, field.name)
    if field.type == field.TYPE_MESSAGE:
        if hasattr(value, "ListFields"):
            message.ClearField(field.name)
        elif len(value) and random.random() < 0.5:
            del value[random.randrange(len(value))]
        elif len(value):
            value.add().CopyFrom(random.choice(value))
        else:
            value.add()
        return
    choices: tuple[Any, ...] = WHOLE
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        choices = REAL
    elif field.type == field.TYPE_STRING:
        choices = TEXTS
    elif field.type == field.TYPE_BYTES:
        choices = (b"", b"\xff" * 7, bytes(1 << 16), b"CRD")
    elif field.type == field.TYPE_ENUM:
        choices = tuple(range(30))
    if isinstance(value, int | float | str | bytes):
        setattr(message, field.name, random.choice(choices))
    elif len(value) and random.random() < 0.3:
        del value[random.randrange(len(value))]
    elif len(value) and random.random() < 0.8:
        value[random.randrange(len(value))] = random.choice(choices)
    else:
        value.extend([random.choice(choices)] * random.choice((1, 1, 1000)))


def _weights(random: Random, made: onnx.ModelProto) -> None:
    """Other numbers in a tensor, at one place or at all."""
    tensors = [m for m in _messages(made) if isinstance(m, TensorProto)]
    floats = [t for t in tensors if t.data_type == TensorProto.FLOAT]
    if not floats:
        return
    tensor = random.choice(floats)
    array = numpy_helper.to_array(tensor).copy()
    place = random.choice((slice(None), random.randrange(max(array.size, 1))))
    array.reshape(-1)[place] = random.choice(REAL)
    if random.random() < 0.2:
        array = array.astype(np.float64)
        array.reshape(-1)[place] = random.choice((1e300, -1e300, 1e-310, 1e154, 1e39))
        tensor.data_type = TensorProto.DOUBLE
    tensor.raw_data = array.tobytes()


def _tensor(random: Random, made: onnx.ModelProto) -> None:
    """A tensor of another shape or type, or elsewhere."""
    tensor = random.choice([m for m in _messages(made) if isinstance(m, TensorProto)])
    match random.randrange(3):
        case 0:
            tensor.dims[:] = random.choice(
                ([], [0], [1 << 40], [-1], [1] * 40, [1 << 32, 1 << 32], [*tensor.dims, 1])
            )
        case 1:
            tensor.data_type = random.choice(list(TensorProto.DataType.values()))
        case _:
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=random.choice(PLACES))
            said = random.choice(("offset", "length", "checksum", "key"))
            tensor.external_data.add(key=said, value=str(random.choice(WHOLE)))


@cache
def _operators() -> tuple[str, ...]:
    return tuple(sorted({s.name for s in defs.get_all_schemas() if s.domain == ""}))


def _node(random: Random, made: onnx.ModelProto) -> None:
    """An operator of another type, left out, doubled, put in, or with a bomb as a constant."""
    nodes = made.graph.node
    place = random.randrange(len(nodes))
    match random.randrange(6):
        case 0 | 1:
            nodes[place].op_type = random.choice(_operators())
            if random.random() < 0.5:
                del nodes[place].attribute[:]
        case 2:
            del nodes[place]
        case 3:
            made.graph.node.add().CopyFrom(nodes[place])
        case 4:
            put = random.choice(("Relu", "Neg", "Identity", "Flatten", "Softmax", "Cast", "Gelu"))
            made.graph.node.append(helper.make_node(put, [nodes[place].input[0]], ["put"]))
            nodes[place].input[0] = "put"
        case _:
            shape = _ints(*random.choice(((1 << 20, 1 << 20), (1 << 13, 1 << 10), (0,), (-1, 4))))
            made.graph.initializer.append(numpy_helper.from_array(shape, "huge"))
            grown = random.choice(("ConstantOfShape", "Tile", "Expand", "EyeLike", "Resize"))
            given = ["huge"] if grown in ("ConstantOfShape", "EyeLike") else ["low", "huge"]
            made.graph.node.append(helper.make_node(grown, given, ["bomb"]))
            if len(nodes[place].input) > 1:
                nodes[place].input[1] = "bomb"


def _attribute(random: Random, made: onnx.ModelProto) -> None:
    """An attribute that is put in, with a name that the operator knows or not."""
    chosen = random.choice(made.graph.node)
    names = ["consumed_inputs", "mode", "axis", "extra"]
    try:
        names += list(defs.get_schema(chosen.op_type).attributes)
    except defs.SchemaError:
        pass
    nested = helper.make_graph([node("Relu", "x", "t")], "g", [], [])
    for _ in range(random.choice((1, 1, 60))):
        nested = helper.make_graph(
            [helper.make_node("If", ["c"], ["t"], then_branch=nested)], "g", [], []
        )
    value = random.choice(
        (*WHOLE[:-1], *REAL, *TEXTS, [1, 2], [1 << 40], [0, 0], [0.5], ["a"], nested, made.graph)
    )
    if isinstance(value, onnx.GraphProto) and value is made.graph:
        value = onnx.GraphProto.FromString(made.graph.SerializeToString())
    chosen.attribute.append(helper.make_attribute(random.choice(names), value))


def _wires(random: Random, made: onnx.ModelProto) -> None:
    """A value read in the place of another one, or given in its place."""
    chosen = random.choice(made.graph.node)
    names = [n for one in made.graph.node for n in (*one.input, *one.output)]
    ends = random.choice((chosen.input, chosen.output))
    if len(ends) and random.random() < 0.8:
        ends[random.randrange(len(ends))] = random.choice((*names, "", "nowhere"))
    else:
        ends.append(random.choice(names))


_ONNX_CHANGES = (
    *(_weights, _weights, _weights, _any_field, _any_field),
    *(_tensor, _node, _node, _attribute, _attribute, _wires),
)

# NIR.


@cache
def nir_seeds() -> tuple[bytes, ...]:
    """The small graphs of ``nir_graphs``, as files."""
    found = []
    for make in GRAPHS.values():
        stream = io.BytesIO()
        with h5py.File(stream, "w") as file:
            _write(file.create_group("node"), make().to_dict())
        found.append(stream.getvalue())
    return tuple(found)


def _write(group: h5py.Group, said: dict[str, Any]) -> None:
    for key, value in said.items():
        if isinstance(value, dict):
            if value or key != "metadata":
                _write(group.create_group(str(key)), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        elif isinstance(value, list):
            group.create_dataset(key, data=np.array(value, "S"))
        elif value is not None:
            group.create_dataset(key, data=value)


def nir_of(random: Random) -> bytes:
    """A graph with one to three things that it should not have."""
    content = random.choice(nir_seeds())
    if random.random() < 0.15:
        return bytes_of(random, content)
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            names: list[str] = []
            file["node"].visit(names.append)
            if random.random() < 0.7:
                names = [n for n in names if isinstance(file["node"][n], h5py.Dataset)]
            if not names:
                break
            name = random.choice(names)
            _CHANGES[random.randrange(len(_CHANGES))](random, file["node"], name)
    return stream.getvalue()


def _numbers(random: Random, root: h5py.Group, name: str) -> None:
    """Other values, or the same ones in another shape or type."""
    item = root[name]
    if not isinstance(item, h5py.Dataset) or item.size > 1 << 20:
        return
    value = np.array(item[()])
    if value.dtype.kind not in "iufb":
        return _texts(random, root, name)
    with np.errstate(all="ignore"):
        match random.randrange(6):
            case 0:
                value = np.full_like(value, random.choice(REAL[:9]), "f4")
            case 1:
                value = value.astype(random.choice(("f2", "f8", "i1", "i8", "?", "S3", "c8")))
            case 2:
                value = random.choice((value.ravel(), value[None], value.ravel()[:0], value.T))
            case _:
                values = REAL if value.dtype.kind == "f" else WHOLE
                flat = value.reshape(-1)
                if flat.size:
                    flat[random.randrange(flat.size)] = np.array(random.choice(values)).astype(
                        value.dtype
                    )
    del root[name]
    root[name] = value
    return None


def _texts(random: Random, root: h5py.Group, name: str) -> None:
    """Another type of node, or another text."""
    kinds = ("IF", "LIF", "CubaLIF", "Affine", "Conv2d", "NIRGraph", "Input", "Output", "Scale")
    kinds += ("Flatten", "AvgPool2d", "SumPool2d", "Delay", "LI", "I", "Threshold", "Linear")
    if isinstance(root[name], h5py.Dataset):
        del root[name]
        root[name] = random.choice((*kinds, *(t.replace("\0", "") for t in TEXTS)))


def _left_out(random: Random, root: h5py.Group, name: str) -> None:
    del root[name]


def _put_in(random: Random, root: h5py.Group, name: str) -> None:
    """A field more, or a group in its place."""
    group = root[name] if isinstance(root[name], h5py.Group) else root[name].parent
    field = random.choice(("extra", "bias", "type", "metadata", "nodes", "v_reset", "a/b/c"))
    if field not in group:
        group[field] = random.choice((1.0, "text", np.ones(3)))


def _renamed(random: Random, root: h5py.Group, name: str) -> None:
    wanted = random.choice(("m", "nodes/input", "nodes/\x1b[2J", "nodes/\n", "w" * 9000))
    if wanted not in root:
        root.move(name, wanted)


def _linked(random: Random, root: h5py.Group, name: str) -> None:
    """A link in the place of what was there."""
    del root[name]
    links = (h5py.SoftLink("/node"), h5py.ExternalLink("other.nir", "/node"), root)
    root[name] = random.choice(links)


def _claimed(random: Random, root: h5py.Group, name: str) -> None:
    """An array of which nothing is there."""
    if isinstance(root[name], h5py.Dataset):
        del root[name]
        shape = random.choice(((1 << 20, 1 << 20), (1 << 24,), (1 << 12, 1 << 12), (0, 3)))
        root.create_dataset(name, shape, "f4", chunks=True, compression="gzip")


_CHANGES: tuple[Callable[[Random, h5py.Group, str], None], ...] = (
    *(_numbers,) * 12,
    *(_texts, _left_out, _put_in, _renamed, _linked, _claimed),
)
