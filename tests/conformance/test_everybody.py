"""One suite for all that runs networks: every vector is equal, or left out for a stated reason."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

import conformance_exclusions as exclusions
import lava_batch
import transcription
from snn_backends.c import CBackend
from snn_backends.lava import LavaBackend
from snn_compile.conformance import check, files
from snn_compile.conformance.check import DIFFERS, EQUAL, EXCLUDED, Row
from snn_compile.errors import DeviceError
from snn_compile.plugins import BACKENDS, open_device


def assert_as_stated(rows, stated):
    """Every row is equal, but for the exclusions, whose reasons are the stated ones."""
    used, wrong = set(), {}
    for row in rows:
        pattern = next((p for p in stated if fnmatchcase(row.vector, p)), None)
        if pattern is None or row.verdict == EQUAL:
            if row.verdict != EQUAL or not row.compared or row.note.startswith("not recorded"):
                wrong[row.vector] = f"{row.verdict}: {row.why} {row.note}"
        elif row.verdict != EXCLUDED or stated[pattern] not in row.why:
            wrong[row.vector] = f"{row.verdict}: {row.why}, not '{stated[pattern]}'"
        else:
            used.add(pattern)
    assert wrong == {}
    assert used == set(stated), "exclusions that nobody needs"


def on_device(cases, name, folder):
    """Each vector on a device, in this process."""
    for case in cases:
        device = open_device(name, {})
        try:
            capabilities = device.load(case.program, folder)
        except DeviceError as error:
            if not check.cannot_run(error):
                raise
            yield Row(case.name, EXCLUDED, why=error.message)
            continue
        record = folder / f"{case.name}.npz"
        yield check.run_on(case, device, capabilities, name, record, 60)
        device.close()


def of_messages(case, messages, folder):
    """A row for messages that somebody made, by way of the file that a third party would write."""
    path = folder / f"{case.name}.npz"
    np.savez(path, **messages)
    return check.of_trace(case, path)


def test_the_reference(cases, tmp_path):
    assert_as_stated(on_device(cases, "reference", tmp_path), {})


def test_the_engine(cases, build, tmp_path):
    assert_as_stated(on_device(cases, f"engine:{build}", tmp_path), exclusions.ENGINE)


def test_the_transcription(cases, tmp_path):
    def rows():
        for case in cases:
            trace = transcription.transcribe(case.program, case.frames)
            shape = len(case.frames), case.program.window.n_steps
            messages = {k: np.array(v).reshape(*shape, -1) for k, v in trace.messages.items()}
            yield of_messages(case, messages, tmp_path)

    assert_as_stated(rows(), {})


def in_company(case):
    """Pairs of a neuron model and something else that a vector exercises."""
    models = [word for word in case.exercises if word.startswith("neurons:")]
    return {(model, word) for model in models for word in case.exercises}


def covering(cases, exercised):
    """Few vectors that exercise everything that any of them does: Lava takes long for each layer.

    Greedy, by what a vector adds to those taken already for each of its layers; then without those
    that the later ones have made needless, the largest first.
    """
    chosen = []
    missing = set().union(*(exercised(case) for case in cases))
    while missing:
        best = max(cases, key=lambda c: len(missing & exercised(c)) / len(c.program.populations))
        chosen.append(best)
        missing -= exercised(best)
    for case in sorted(chosen, key=lambda c: len(c.program.populations), reverse=True):
        others = [other for other in chosen if other is not case]
        if exercised(case) <= set().union(*map(exercised, others)):
            chosen = others
    return chosen


def test_a_covering_exercises_everything_and_nothing_is_needless(cases):
    chosen = covering(cases, in_company)

    def exercised(some):
        return set().union(*map(in_company, some))

    assert exercised(chosen) == exercised(cases)
    for case in chosen:
        assert exercised(c for c in chosen if c is not case) < exercised(cases)


def words(case):
    """Everything that a vector exercises, by itself."""
    return set(case.exercises)


@pytest.mark.lava
@pytest.mark.parametrize(
    ("form", "exercised"),
    [
        ("sparse", words),
        pytest.param("sparse", in_company, marks=pytest.mark.slow),
        pytest.param("conv", words, marks=pytest.mark.slow),
    ],
)
def test_lava(cases, lava_environment, form, exercised, tmp_path):
    """Every word; with the slow ones every model of a neuron together with every other word."""
    refused = [c for c in cases if LavaBackend().check(c.program)]
    accepted = [c for c in cases if c not in refused]
    those = [c for c in accepted if form == "sparse" or "synapses:conv" in c.exercises]
    chosen = covering(those, exercised)
    assert 5 < len(chosen) < len(accepted)
    assert_lava([*refused, *chosen], form, lava_environment, tmp_path)


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.parametrize("form", ["sparse", "conv"])
def test_lava_on_all(cases, lava_environment, form, tmp_path):
    assert_lava(cases, form, lava_environment, tmp_path)


def assert_lava(cases, form, environment, folder):
    plans = lava_batch.emitted(cases, folder)
    sent = lava_batch.run(environment, cases, plans, form, folder)
    (folder / form).mkdir()

    def rows():
        for case in cases:
            if case.name in plans:
                yield of_messages(case, sent[case.name], folder / form)
            else:
                yield Row(case.name, EXCLUDED, why=check.refusal(case, "lava"))

    assert_as_stated(rows(), exclusions.LAVA)


@pytest.mark.parametrize(
    ("backend", "stated"), [("nir", "NIR"), ("netx", "NETX"), ("onnx", "ONNX")]
)
def test_exporters_by_what_they_read_back(cases, backend, stated, tmp_path):
    """What other runtimes make of the files is in ``tests/differential``."""
    pytest.importorskip({"nir": "nir", "netx": "h5py", "onnx": "onnxruntime"}[backend])
    rows = [check.verified_by(case, backend, tmp_path, 60) for case in cases]
    assert_as_stated(rows, getattr(exclusions, stated))


def test_c(cases, tmp_path):
    """On this machine, watched by sanitizers: every model of a neuron, every form of synapses."""

    def told(case):
        return {w for w in case.exercises if w.startswith(("neurons:", "synapses:", "input:"))}

    rows = []
    for case in covering(cases, told):
        folder = tmp_path / case.name
        folder.mkdir()
        CBackend().emit(case.program, folder)
        found = CBackend().verify(case.program, folder, case.frames, emulators=False)
        why = found.details[0] if found.details else ""
        verdict = EQUAL if found.equal else DIFFERS
        rows.append(Row(case.name, verdict, found.compared, why=why))
    assert_as_stated(rows, exclusions.C)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS.names())
def test_backends_verify_what_they_emit(cases, backend, lava_environment, tmp_path):
    """For Lava with the probes of every synapse group, a process of its own for each vector."""
    rows = [check.verified_by(case, backend, tmp_path, 120) for case in cases]
    assert_as_stated(rows, getattr(exclusions, backend.upper()))


@pytest.fixture(scope="session")
def cases(tmp_path_factory) -> list[files.Case]:
    """The set, written and read back."""
    from snn_compile.conformance.vectors import vectors

    folder: Path = tmp_path_factory.mktemp("conformance") / "set"
    files.write(folder, vectors())
    return files.read(folder)
