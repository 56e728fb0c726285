"""Every kind of file that is read, small and real, and the mutant of it that has a number.

``Seeds`` makes the real files once. ``KINDS`` says for each kind how a mutant is made and which
command lines read it; the same kind and number give the same bytes. After a mutation that knows the
form, hashes are made right again, as somebody would who wants the file to be believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from model_mutants import nir_of, onnx_of
from mutant_checkpoints import checkpoint_of
from mutants import Members, archive_of, bytes_of, dumped, json_of, members_of, toml_of, zipped
from network_builder import INPUT, Builder
from signing_keys import SAME, written
from snn_compile import compile_model
from snn_compile.bundle import CompiledModel
from snn_compile.cli import main
from snn_compile.cli.report import record
from snn_compile.conformance import files as conformance
from snn_compile.conformance.vectors import vectors
from snn_compile.hil.trace import About, TraceWriter, series_of
from snn_compile.ir.encoding import InputEncoding, OutputDecoding
from snn_compile.ir.serialize import array_hashes
from snn_compile.ir.spiking import InputCoding
from snn_compile.sealed import read_seal
from snn_compile.signing import SigningKey
from snn_compile.sim import reference

ROOT = Path(__file__).resolve().parents[2]
FEW = ("chain-subtract", "single")
Words = tuple[str, ...]
TORCH = importlib.util.find_spec("torch") is not None


class Seeds:
    """The real files, in a folder.

    Attributes:
        folder: a compiled network; ``data``: samples for it; ``trace``: what it sent.
        camera: one that takes events; ``events``: recorded ones.
        vectors: a conformance set; ``theirs``: traces of it.
        target, config: TOML; ``model``: an ONNX file.
        checkpoint: of a training of the network, where torch is installed.
        signed: a folder signed by ``signers``; ``named``: one that says what it was made of.
    """

    def __init__(self, place: Path) -> None:
        self.folder, self.camera = place / "net.snn", place / "camera.snn"
        self.vectors, self.theirs = place / "set", place / "theirs"
        self.data, self.events, self.trace = (place / n for n in ("d.npz", "e.npz", "t.npz"))
        self.target, self.config = place / "chip.toml", place / "options.toml"
        self.checkpoint = place / "c.checkpoint"
        self.model = ROOT / "examples" / "digits_mlp.onnx"
        self._compiled()
        self._camera()
        self.signed, self.signers = place / "signed.snn", place / "lab.pub"
        self.named = place / "named.snn"
        self._signed()
        conformance.write(self.vectors, [v for v in vectors() if v.name in FEW])
        self.theirs.mkdir()
        shutil.copy(self.vectors / FEW[0] / "expected.npz", self.theirs / f"{FEW[0]}.npz")
        (self.theirs / "excluded.json").write_text(json.dumps({FEW[1]: "not made yet"}))
        chip = ROOT / "toolchain" / "snn_compile" / "targets" / "loihi2.toml"
        self.target.write_bytes(chip.read_bytes())
        self.config.write_text(
            'coding = "rate"\ntimesteps = 8\nmean_values = [0.5]\nweight_bits = 6\n'
            f'target = "{self.target}"\n[layers."fc*"]\nweight_bits = 4\n'
        )
        if TORCH:
            words = self.tune(self.checkpoint, place / "tuned.snn")
            with contextlib.redirect_stdout(io.StringIO()):
                code = main([*words, "-q"])
            if code:
                raise RuntimeError(f"training ended with exit code {code}")

    def tune(self, checkpoint: Path, folder: Path) -> Words:
        """The command line that goes on from a checkpoint."""
        short = ("--epochs", "1", "--hold-out", "0.5", "--batch-size", "2", "--no-emit")
        words = ("tune", str(self.folder), "--train", str(self.data), "-o", str(folder), *short)
        return (*words, "--checkpoint", str(checkpoint))

    def _compiled(self) -> None:
        with np.load(ROOT / "examples" / "digits_evaluate.npz") as file:
            x, y = file["x"][:32], file["y"][:32]
        np.savez(self.data, x=x[:4], y=y[:4], further=np.arange(3))
        given: dict[str, Any] = {"calibrate": x, "evaluate": (x, y), "coding": "rate"}
        made = compile_model(self.model, timesteps=4, emit=(), thresholds="max", **given)
        point = {"train_loss": None, "held_out_loss": 0.5, "held_out_top1": 50.0}
        tune = {
            "method": "psg",
            "train": 4,
            "held_out": 2,
            "curve": [{"epoch": k, **point} for k in range(3)],
            "best_epoch": 1,
            "before": 50.0,
            "after": None,
            "widths": {"relu1": 0.5},
        }
        against = {"neurons": "any", "network": "rate", "top1": 1.0, "agreement": None}
        alone = {"allowed": "stock", "n": 4, "top1": 1.0, "agreement": 1.0, "points": 0.0}
        report = {**made.report, "tune": tune, "neurons": {**alone, "against": against}}
        replace(made, stimulus=made.stimulus[:2], report=report).save(self.folder)
        program, frames = made.program, made.stimulus[:2]
        window = program.window
        about = About(read_seal(self.folder), window.coding, window.n_steps, "reference")
        with TraceWriter(self.trace, about, series_of(program), frames) as writer:
            writer.add(reference.run(program, frames, record=True).messages)
            writer.close()

    def _camera(self) -> None:
        net = Builder(1, (2, 6, 7), n_steps=3, coding=InputCoding.EVENTS, high=3)
        net.neurons("readout", net.conv(net.neurons("subtract", net.conv(INPUT, 3)), 2))
        program, shape = net.build(), (3, 2, 6, 7)
        frames = net.random.integers(0, 4, (2, *shape))
        decodings = {p.id: OutputDecoding(np.ones(p.shape[0]), p.shape) for p in program.readouts}
        encoding = InputEncoding(np.ones(1), 0, 3, shape, shape)
        CompiledModel(program, encoding, decodings, {}, frames).save(self.camera)
        n = 12
        columns = {"x": 5, "y": 4, "p": 2, "t_us": 1000}
        events = {k: net.random.integers(0, most, n) for k, most in columns.items()}
        np.savez(self.events, **events, offsets=np.array([0, 5, n]), label=np.array([0, 1]))

    def _signed(self) -> None:
        key = SigningKey.read(written(self.signers.with_suffix(""), key=SAME))
        public = self.signers.read_text()
        self.signers.write_text(f'lab namespaces="snn-*" {public}')
        compiled = CompiledModel.load(self.folder)
        compiled.save(self.signed, sign=key)
        record(self.signed, compiled.report, [compiled.verify_golden(compiled.stimulus)])
        compile_model(self.model, emit=(), thresholds="max").save(self.named)


def _loaded(content: bytes) -> np.ndarray | None:
    """An array, if it is one that numpy reads and that is small."""
    try:
        array = np.load(io.BytesIO(content))
    except Exception:  # noqa: BLE001  (whatever a mutant makes numpy raise)
        return None
    return array if isinstance(array, np.ndarray) else None


def resealed(members: Members) -> Members:
    """A compiled network with the hashes of what it holds now, as far as that can be read."""
    try:
        said = json.loads(members["program.json"])
        names = sorted(said["hashes"])
        arrays = {n: _loaded(members.get(f"{k}.npy", b"")) for k, n in enumerate(names)}
        said["hashes"].update(array_hashes({n: a for n, a in arrays.items() if a is not None}))
        members = {**members, "program.json": json.dumps(said).encode()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        pass
    text = members.get("program.json", b"")
    return {**members, "seal": hashlib.sha256(text).hexdigest().encode()}


def _traced(members: Members) -> Members:
    """A trace with the hashes of what it holds now."""
    try:
        said = json.loads(members["header.json"])
        for k, layer in enumerate(said["layers"]):
            digest = hashlib.sha256()
            for number in range(len(said["pieces"])):
                events = _loaded(members[f"{number}/{k}.npy"])
                digest.update(b"" if events is None else events.tobytes())
            layer["sha256"] = digest.hexdigest()
        members = {**members, "header.json": json.dumps(said).encode()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        pass
    text = members.get("header.json", b"")
    return {**members, "seal": hashlib.sha256(text).hexdigest().encode()}


def _sealed_archive(
    random: Random, path: Path, text: str, reseal: Callable[[Members], Members]
) -> bytes:
    """An archive with a JSON text and arrays, mutated and sealed again."""
    if random.random() < 0.2:
        return bytes_of(random, path.read_bytes())
    members = members_of(path)
    if random.random() < 0.6:
        members[text] = dumped(json_of(random, json.loads(members[text])))
        return zipped(reseal(members))
    mutated = archive_of(random, members)
    try:
        return zipped(reseal(members_of_bytes(mutated)))
    except Exception:  # noqa: BLE001  (an archive that lies stays as it is)
        return mutated


def members_of_bytes(data: bytes) -> Members:
    """What an archive in memory holds; fails for doubled names, which would get lost."""
    import zipfile

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise ValueError("doubled")
        return {name: archive.read(name) for name in names}


def _npz(random: Random, path: Path) -> bytes:
    if random.random() < 0.2:
        return bytes_of(random, path.read_bytes())
    return archive_of(random, members_of(path))


def _text(random: Random, path: Path) -> bytes:
    if random.random() < 0.2:
        return bytes_of(random, path.read_bytes())
    return dumped(json_of(random, json.loads(path.read_bytes())))


def _data(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.npz").write_bytes(_npz(random, seeds.data))
    return ("run", str(seeds.folder), "--data", str(place / "m.npz"))


def _events(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.npz").write_bytes(_npz(random, seeds.events))
    return ("run", str(seeds.camera), "--data", str(place / "m.npz"))


def _calibration(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.npz").write_bytes(_npz(random, seeds.data))
    given = random.choice(("--calibrate", "--evaluate"))
    out = str(place / "out.snn")
    return ("compile", str(seeds.model), given, str(place / "m.npz"), "-o", out, "--no-emit")


def _folder(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(random.choice((seeds.folder, seeds.camera)), place / "m.snn"))
    data = seeds.data if folder_of(folder) else seeds.events
    match random.randrange(6):
        case 0 | 1 | 2:
            path = folder / "model.snn"
            path.write_bytes(_sealed_archive(random, path, "program.json", resealed))
        case 3:
            path = folder / "golden" / random.choice(("stimulus.npz", "expected.npz"))
            path.write_bytes(_npz(random, path))
        case 4:
            path = folder / "golden" / "messages.json"
            path.write_bytes(_text(random, path))
        case _:
            path = folder / "report.json"
            path.write_bytes(_text(random, path))
    return random.choice(
        (
            ("inspect", str(folder)),
            ("report", str(folder)),
            ("run", str(folder), "--data", str(data)),
            ("verify", str(folder), "--against", "golden"),
        )
    )


def _signature(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(seeds.signed, place / "m.snn"))
    signers = Path(shutil.copy(seeds.signers, place / "lab.pub"))
    names = ("SHA256SUMS", "SHA256SUMS.sig", "verification.json")
    path = random.choice((signers, *(folder / name for name in names)))
    mutated = _text if path.suffix == ".json" else lambda r, p: bytes_of(r, p.read_bytes())
    path.write_bytes(mutated(random, path))
    return ("inspect", str(folder), *random.choice(((), ("--signer", str(signers)))))


def _provenance(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(seeds.named, place / "m.snn"))
    members = members_of(folder / "model.snn")
    said = json.loads(members["program.json"])
    key = random.choice(list(said["provenance"]))
    kind = random.random()
    words = ("reproduce", str(folder), "--model", str(seeds.model))
    if kind < 0.2:
        return words  # whatever is changed is a difference
    if kind < 0.6:
        options = json_of(random, json.loads(said["provenance"]["options"]))
        said["provenance"]["options"] = json.dumps(options)
    else:
        said["provenance"][key] = random.choice(("", "../x", "/dev/zero", "a\nb", "{", "0" * 64))
    members |= {"program.json": dumped(said)}
    (folder / "model.snn").write_bytes(zipped(resealed(members)))
    return words


def folder_of(folder: Path) -> bool:
    """Whether a copy is of the network that takes frames."""
    return json.loads((folder / "report.json").read_text()).get("model") is not None


def _report(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(seeds.folder, place / "m.snn"))
    path = folder / "report.json"
    path.write_bytes(_text(random, path))
    return (random.choice(("inspect", "report")), str(folder))


def _trace(seeds: Seeds, random: Random, place: Path) -> Words:
    path = place / "m.npz"
    path.write_bytes(_sealed_archive(random, seeds.trace, "header.json", _traced))
    return ("diff", str(random.choice((seeds.folder, seeds.trace))), str(path))


def _hil(seeds: Seeds, random: Random, place: Path) -> Words:
    words = _trace(seeds, random, place)
    if random.random() < 0.5:
        return ("hil", str(seeds.folder), "--replay", words[-1])
    data = _data(seeds, random, place)[-1]
    return ("hil", str(seeds.folder), "--device", "reference", "--data", data)


def _set(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(seeds.vectors, place / "set"))
    vector = random.choice(FEW)
    path = folder / random.choice(
        ("index.json", *(f"{vector}/{name}" for name in conformance.FILES))
    )
    path.write_bytes((_text if path.suffix == ".json" else _npz)(random, path))
    if path.name != "index.json" and random.random() < 0.9:
        index = json.loads((folder / "index.json").read_text())
        (entry,) = (e for e in index["vectors"] if e["name"] == vector)
        entry["files"][path.name]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (folder / "index.json").write_text(json.dumps(index))
    return ("conformance", str(folder), "--check", str(seeds.theirs))


def _theirs(seeds: Seeds, random: Random, place: Path) -> Words:
    folder = Path(shutil.copytree(seeds.theirs, place / "theirs"))
    path = folder / f"{FEW[0]}.npz"
    match random.randrange(3):
        case 0:
            path.write_bytes(_sealed_archive(random, path, "header.json", _traced))
        case 1:
            path.write_bytes(zipped({"V.npy": _npz(random, seeds.data)}))
            path.write_bytes(_npz(random, seeds.data))
        case _:
            path = folder / "excluded.json"
            path.write_bytes(_text(random, path))
    return ("conformance", str(seeds.vectors), "--check", str(folder))


def _target(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.toml").write_bytes(toml_of(random, seeds.target.read_bytes()))
    return ("check", str(seeds.model), "--target", str(place / "m.toml"))


def _config(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.toml").write_bytes(toml_of(random, seeds.config.read_bytes()))
    return ("check", str(seeds.model), "--config", str(place / "m.toml"))


def _checkpoint(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m").write_bytes(checkpoint_of(random, seeds.checkpoint))
    return seeds.tune(place / "m", place / "out.snn")


def _remote(seeds: Seeds, random: Random, place: Path) -> Words:
    """Another host, which answers with a mutant; ``ssh`` here is a script that prints it."""
    _trace(seeds, random, place)
    (place / "ssh").write_text(f"cat >/dev/null; cat {place}/m.npz; exit {random.choice((0, 7))}\n")
    device = ("--device", "remote:far", "--set", f"ssh=sh {place}/ssh")
    return ("hil", str(seeds.folder), *device)


def _onnx(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.onnx").write_bytes(onnx_of(random, place))
    return _imported(random, place / "m.onnx", ("--calibrate", str(seeds.data)))


def _nir(seeds: Seeds, random: Random, place: Path) -> Words:
    (place / "m.nir").write_bytes(nir_of(random))
    producer = random.choice(("snntorch", "norse", "spikingjelly", "sinabs", "other"))
    said = ("--nir-producer", producer, "--nir-reset", "zero", "--nir-dt", "0.001", "-T", "3")
    return _imported(random, place / "m.nir", said, said)


def _imported(random: Random, model: Path, more: Words, always: Words = ()) -> Words:
    """A command that imports a model."""
    if random.random() < 0.7:
        return ("check", str(model), *always)
    out = ("-o", str(model.with_suffix(".snn")), "--no-emit")
    given = more if always or random.random() < 0.3 else ("-T", "3", "--coding", "rate")
    return ("compile", str(model), *out, *given)


KINDS: dict[str, Callable[[Seeds, Random, Path], Words]] = {
    "data": _data,
    "events": _events,
    "calibration": _calibration,
    "folder": _folder,
    "signature": _signature,
    "provenance": _provenance,
    "report": _report,
    "trace": _trace,
    "hil": _hil,
    "set": _set,
    "theirs": _theirs,
    "target": _target,
    "config": _config,
    "remote": _remote,
    "onnx": _onnx,
    "nir": _nir,
    **({"checkpoint": _checkpoint} if TORCH else {}),
}
"""What makes a mutant in an empty folder, and the command line that reads it."""
SLOW = ("calibration", "hil", "remote", "checkpoint", "provenance", "onnx", "nir")
"""A tenth of a second and more for each."""


def mutant(seeds: Seeds, kind: str, number: int, place: Path) -> Words:
    """Write the mutant with a number into an empty folder; the command line that reads it."""
    return KINDS[kind](seeds, Random(f"{kind} {number}"), place)
