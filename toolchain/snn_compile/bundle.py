"""A compiled network: what it computes, and the sealed folder it lives in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from snn_compile import sealed, signing
from snn_compile.errors import Origin, UsageError
from snn_compile.files.claims import exclusive_claim, was_interrupted
from snn_compile.files.folders import replacing, require_replaceable
from snn_compile.hil import golden
from snn_compile.hil.golden import Recorded
from snn_compile.hil.verification import Verification
from snn_compile.ir.encoding import Encoding, OutputDecoding
from snn_compile.ir.fixedpoint import Int
from snn_compile.ir.graph import NodeId, Shape
from snn_compile.ir.host_tail import HostTail
from snn_compile.ir.quantized import QuantizedGraph
from snn_compile.mapping.placement_file import CORES, PLACEMENT
from snn_compile.passes import Finding
from snn_compile.plugins import BACKENDS, Backend, StatesBorders, StatesEncoding
from snn_compile.plugins.host import TAIL, HostRunner, whole_on_chip
from snn_compile.report import files
from snn_compile.report.schema import REPORT, REPORT_PAGE
from snn_compile.report.views import ReportViews
from snn_compile.samples.named import ArraysLike, join_named
from snn_compile.samples.rows import Rows
from snn_compile.sealed import GOLDEN, MODEL, writing
from snn_compile.signing import SigningKey
from snn_compile.sim import engine, reference
from snn_compile.sim.batches import Advance, no_progress
from snn_compile.sim.reference import Run
from snn_compile.stream import Borders, Stream

PIECE_BYTES, PIECE_SAMPLES = reference.RECORDED_BYTES, 512
"""Memory, and samples, that a piece of a long simulation takes at most."""
INPUT_COPIES = 4
"""Arrays as large as the input's messages that exist, at most, while these are made."""


@dataclass(frozen=True, eq=False, repr=False)
class CompiledModel(ReportViews):
    """A network in fixed point, with the borders to real numbers and its report.

    Attributes:
        program: the network; it defines the answer.
        encoding: of the inputs.
        decodings: of each output.
        report: the content of ``report.json``.
        stimulus: encoded frames that verification uses, (N, *encoded sample).
        provenance: hashes of what the network was made from.
        golden: for each layer and stimulus, the hash of its messages at compile time.
        expected: potentials of each output for the stimuli at compile time.
        backends: that ``save`` writes too; the seal names them.
        findings: what there was to say of the folder that it was read from.
        placement: texts that say where its neurons are on the target, by file name.
        tail: what is left to the host, if anything.
    """

    program: QuantizedGraph
    encoding: Encoding
    decodings: Mapping[NodeId, OutputDecoding]
    report: dict[str, Any]
    stimulus: Int
    provenance: Mapping[str, str] = field(default_factory=dict)
    golden: Mapping[str, list[str]] = field(default_factory=dict)
    expected: Mapping[str, Int] = field(default_factory=dict)
    backends: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    placement: Mapping[str, str] = field(default_factory=dict)
    tail: HostTail | None = None

    def run(self, x: ArraysLike) -> Any:
        """The outputs for real inputs, from the bit-accurate simulator.

        Args:
            x: (N, *input shape) in the units that the trained network takes; of several inputs
                each by its name.

        Returns:
            (N, *output shape) float64; of a network with several outputs, one array for each, by
            its name in the user's file.

        Raises:
            UsageError: x has other shapes, or other names.
        """
        run = self.simulate(x)
        decoded = {name: decoding(run.outputs[name]) for name, decoding in self.decodings.items()}
        if len(decoded) == 1:
            return next(iter(decoded.values()))
        return {self.output_names[name]: values for name, values in decoded.items()}

    @cached_property
    def output_names(self) -> dict[NodeId, str]:
        """The name of each output in the user's file.

        Their ids are these names, unless another node has the name: then the id is longer, and the
        report, which nothing seals, is asked for what it is short for.
        """
        named = {one["layer"]: one["name"] for one in self.report.get("outputs") or ()}
        names = {
            output: name if output.startswith(f"{name}.") else str(output)
            for output, name in ((output, named.get(output, "")) for output in self.decodings)
        }
        unique = len(set(names.values())) == len(names)
        return names if unique else {output: str(output) for output in names}

    def run_host_tail(self, x: ArraysLike) -> dict[str, npt.NDArray[Any]]:
        """The outputs of the model file by name: those of the network, and of its host tail.

        Args:
            x: as for ``run``.

        Returns:
            (N, *shape) for each output. Where the number of rows varies from sample to sample, the
            rows of all of them, and their numbers as ``rows/NAME``.

        Raises:
            UsageError: x has another shape, or onnxruntime is missing.
        """
        host = self.host()
        pieces: dict[str, list[npt.NDArray[Any]]] = {}
        for rows in self.host_rows(host, self.simulate(x), self._samples(x)[:]):
            for name, values in rows.items():
                pieces.setdefault(name, []).append(values)
        return {name: np.concatenate(values) for name, values in pieces.items()}

    def host(self) -> HostRunner:
        """What is left to the host, ready to run; it may be nothing.

        Raises:
            UsageError: onnxruntime is missing, or an older version has compiled the network.
            ModelError: it is not what this tool writes.
        """
        if self.tail is None and "tail" not in self.report:
            raise UsageError(
                "nothing says whether the readouts are the outputs of the model file",
                code="no-host-tail",
                hint="compile the model again, or leave out --host-tail",
            )
        outputs = {self.output_names[n]: (n, one.shape) for n, one in self.decodings.items()}
        return HostRunner.of(self.tail or whole_on_chip(outputs))

    def host_rows(
        self, host: HostRunner, run: Run, x: npt.NDArray[Any]
    ) -> Iterator[dict[str, npt.NDArray[Any]]]:
        """The outputs of the file for each sample of a run, as rows of arrays for all samples."""
        decoded = {name: decode(run.outputs[name]) for name, decode in self.decodings.items()}
        return (host.rows(outputs) for outputs in host(decoded, x))

    def simulate(
        self, x: ArraysLike, *, record: bool = False, advance: Advance = no_progress
    ) -> Run:
        """Outputs as integers, activity and, if recorded, every message for real inputs."""
        frames = self.encoding(self._samples(x)[:])
        return engine.run(self.program, frames, record=record, advance=advance)

    def simulate_in_pieces(
        self, x: ArraysLike, *, record: bool = False, advance: Advance = no_progress
    ) -> Iterator[Run]:
        """What ``simulate`` gives, as runs of a few samples that follow each other.

        The memory that it takes does not grow with the number of samples, provided that a piece is
        let go of before the next one is asked for: what is encoded, sent by the input and recorded
        of a piece takes ``PIECE_BYTES`` at most, or is of a single sample.
        """
        samples = self._samples(x)
        at_once = self.samples_per_batch(record)
        before: Int | None = None
        for first in range(0, len(samples), at_once):
            frames = self.encoding(samples[first : first + at_once])
            yield engine.run(
                self.program, frames, first=first, before=before, record=record, advance=advance
            )
            before = frames[-1]

    def stream(self, *, keep_state: bool = False, threads: int = 1) -> Stream:
        """The network behind a sensor: one sample in, one answer out.

        Args:
            keep_state: whether neurons, readouts included, go on from where the sample before has
                left them, as on a chip that is not reset. By default each sample begins at rest,
                as in ``run``.
            threads: number of threads that compute a sample together, if that takes milliseconds.

        Returns:
            What answers ``stream(x)``; use it in a ``with``.

        Raises:
            UsageError: state is to be kept, and the network has none, or there is no engine.
        """
        borders = Borders(self.encoding, self.decodings, self.output_names, self.input_shapes)
        return Stream(self.program, borders, keep_state=keep_state, threads=threads)

    def samples_per_batch(self, record: bool) -> int:
        """Samples in a piece of ``simulate_in_pieces``."""
        program = self.program
        sent = reference.encode_inputs(program.inputs, self._blank(), program.window.n_steps, 0)
        held = INPUT_COPIES * sent.nbytes
        if record:
            held += sum(self.message_bytes.values())
        return max(1, min(PIECE_SAMPLES, PIECE_BYTES // held))

    @cached_property
    def message_bytes(self) -> dict[NodeId, int]:
        """Bytes that each layer's recorded messages take for one sample."""
        run = engine.run(self.program, self._blank(), record=True)
        return {name: messages.nbytes for name, messages in run.messages.items()}

    def _blank(self) -> Int:
        return self.encoding(np.zeros((1, *self.encoding.shape)))

    @property
    def input_shapes(self) -> dict[str, Shape]:
        """The shape of a sample of each input, by its name."""
        parts = zip(self.program.inputs, self.encoding.parts, strict=True)
        return {node.id: part.shape for node, part in parts}

    def _samples(self, x: ArraysLike) -> Rows:
        samples = join_named(x, self.input_shapes)
        if samples.shape[1:] != self.encoding.shape:
            raise UsageError(
                f"x has the shape {samples.shape}, but the network takes"
                f" (N, {', '.join(str(n) for n in self.encoding.shape)})",
                code="wrong-shape",
            )
        return samples

    def backend(self, name: str) -> Backend:
        """A backend for this network.

        Raises:
            UsageError: there is no such backend.
        """
        backend: Backend = BACKENDS.load(name)
        if isinstance(backend, StatesBorders):
            return backend.with_borders(self.encoding, self.decodings)
        return backend

    def emit(self, backend: str, folder: str | Path, **options: Any) -> None:
        """Write the network for a backend into a new folder.

        Raises:
            UsageError: there is no such backend, or the folder is not empty.
            CompileError: the backend cannot express the network.
        """
        target = Path(folder)
        emitter = self.backend(backend)
        target.mkdir(parents=True, exist_ok=True)
        if isinstance(emitter, StatesEncoding):
            options = {**emitter.options_for(self.encoding), **options}
        emitter.emit(self.program, target, options=options)

    def save(
        self,
        folder: str | Path,
        *,
        sign: SigningKey | None = None,
        advance: Advance = no_progress,
    ) -> None:
        """Write the folder that ``load`` reads: beside it first, then renamed.

        Holds the sealed network, the golden stimuli, both reports and every backend's files. An
        older compiled folder is replaced.

        Args:
            folder: to write.
            sign: the key to sign it with, if it is to be signed.
            advance: progress callback of the golden messages (``hil.golden.record``).

        Raises:
            UsageError: something else is there, or another process is writing it.
            OSError: it cannot be written. What was there before is as it was.
        """
        with claimed_output(folder), replacing(Path(folder)) as beside:
            self.write_network(beside, advance)
            for backend in self.backends:
                self.emit(backend, beside / backend)
            if self.tail is not None:
                sealed.tail.write(self.tail, beside)
            for name, text in {**self.placement, **files.contents(self.report)}.items():
                (beside / name).write_text(text, encoding="utf-8")
            if sign is not None:
                signing.sign(beside, sign, sealed.read_seal(beside))

    def write_network(self, folder: Path, advance: Advance = no_progress) -> None:
        """Write into a folder what ``load`` and devices need: network and stimuli, no report."""
        (folder / MODEL).write_bytes(self.sealed_bytes())
        writing.write_golden(folder / GOLDEN, self.program, self.stimulus, advance)

    def sealed_bytes(self) -> bytes:
        """The bytes of ``model.snn``, the same for the same network."""
        parts = self.program, self.encoding, self.decodings
        return writing.network_bytes(*parts, self.provenance, self.backends)

    def verify_golden(
        self,
        frames: Int,
        advance: Advance = no_progress,
        recorded: Recorded | None = None,
    ) -> Verification:
        """Compare the simulators of today with what was recorded at compile time.

        ``recorded`` is what ``golden.record`` gives for the frames, if it is known.
        """
        recorded = recorded or golden.record(self.program, frames, advance)
        return golden.verification(self.program, len(frames), recorded, self.expected, self.golden)

    @staticmethod
    def load(folder: str | Path, *, signer: str | Path | None = None) -> CompiledModel:
        """Read a folder that ``save`` wrote.

        Args:
            folder: to read.
            signer: a file with public keys. One of them has to have signed the folder, and nothing
                in it may have changed since; else nothing else of it is read.

        Raises:
            UsageError: there is no compiled network, or the keys cannot be used.
            ModelError: the file is damaged, or not what this tool writes.
            VerificationError: its content does not match its seal, or its signature.
        """
        path = Path(folder) / MODEL
        if was_interrupted(Path(folder)):
            with exclusive_claim(Path(folder)):
                pass  # whoever claims it puts back what was there
        if signer is not None and Path(folder).is_dir():
            signing.check(Path(folder), signing.trusted_keys(Path(folder), signer))
        if not path.is_file():
            raise UsageError(
                "no compiled network here",
                code="not-compiled",
                origin=Origin(str(folder)),
                hint="compile a model first: snn-compile MODEL.onnx",
            )
        found = sealed.read(Path(folder))
        order = [one["layer"] for one in found.report.get("outputs") or ()]
        first = {NodeId(name): found.decodings[name] for name in order if name in found.decodings}
        return CompiledModel(
            found.program,
            found.encoding,
            {**first, **found.decodings},
            found.report,
            found.stimulus,
            found.provenance,
            found.golden,
            found.expected,
            found.backends,
            found.findings,
            tail=found.tail,
        )


load = CompiledModel.load
"""The name in ``snn_compile``."""


@contextmanager
def claimed_output(folder: str | Path) -> Iterator[None]:
    """Be the only process that writes a compiled folder, and see that nothing else is lost by it.

    Raises:
        UsageError: something else is there, or another process is writing it.
        OSError: nothing can be written there.
    """
    known = {
        MODEL,
        GOLDEN,
        REPORT,
        REPORT_PAGE,
        PLACEMENT,
        CORES,
        TAIL,
        sealed.tail.DESCRIPTION,
        *signing.UNSIGNED,
        *BACKENDS.names(),
    }

    def ours(entry: Path) -> bool:
        return entry.name in known

    with exclusive_claim(Path(folder), make_parents=True):
        require_replaceable(Path(folder), MODEL, ours)
        yield
