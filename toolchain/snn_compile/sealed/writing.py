"""Writing of what a compiled folder seals: the network, and its golden messages."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snn_compile.errors import VerificationError
from snn_compile.hil import golden
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.ir.serialize import array_hashes
from snn_compile.sealed import EXPECTED, MESSAGES, STIMULUS, compatibility, describe
from snn_compile.sim.batches import Advance

_TIME = (1980, 1, 1, 0, 0, 0)


def network_bytes(
    program: QuantizedGraph,
    encoding: Encoding,
    decodings: Mapping[NodeId, OutputDecoding],
    provenance: Mapping[str, str],
    backends: Sequence[str],
) -> bytes:
    """The bytes of ``model.snn``: JSON and npy files, the same for the same network."""
    network, arrays = describe(program, encoding, decodings)
    several = len(encoding.parts) > 1
    content = {
        "schema": compatibility.SEVERAL_INPUTS if several else compatibility.SCHEMA,
        **network,
        "provenance": dict(provenance),
        "emitted": list(backends),
        "hashes": array_hashes(arrays),
    }
    text = json.dumps(content, indent=1, sort_keys=True)
    seal = hashlib.sha256(text.encode()).hexdigest()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("program.json", _TIME), text)
        archive.writestr(zipfile.ZipInfo("seal", _TIME), seal)
        for number, (_, array) in enumerate(sorted(arrays.items())):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{number}.npy", _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, buffer.getvalue())
    return stream.getvalue()


def write_golden(folder: Path, program: QuantizedGraph, stimulus: Int, advance: Advance) -> None:
    """Write stimuli, expected potentials, and a hash of every layer's messages.

    Raises:
        VerificationError: engine and reference differ.
    """
    folder.mkdir()
    found = golden.record(program, stimulus, advance)
    if found.unequal:
        raise VerificationError(
            f"engine and reference differ: {'; '.join(found.unequal[:3])}",
            code="engine-differs",
            hint="a bug of the engine: report it; SNN_COMPILE_ENGINE=off compiles without it",
        )
    np.savez_compressed(folder / STIMULUS, frames=stimulus)
    outputs = found.potentials
    numbered = {str(k): outputs[node.id] for k, node in enumerate(program.readouts)}
    np.savez_compressed(folder / EXPECTED, allow_pickle=False, **numbered)
    (folder / MESSAGES).write_text(json.dumps(found.hashes, indent=1) + "\n")
