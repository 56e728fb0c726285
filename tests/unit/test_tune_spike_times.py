"""Training on spike trains and by neighbours: networks in fixed point, from a NIR file on."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

import tuning_tasks as tasks  # noqa: E402
from snn_compile import CompileOptions  # noqa: E402
from snn_compile.bundle import CompiledModel  # noqa: E402
from snn_compile.cli import main  # noqa: E402
from snn_compile.errors import CompileErrors, UnsupportedError, UsageError  # noqa: E402
from snn_compile.ir.serialize import array_hashes, dump_program  # noqa: E402
from snn_compile.report.observer import SilentObserver  # noqa: E402
from snn_compile.sim import engine, reference  # noqa: E402
from snn_compile.tune import TuneOptions, tune_model  # noqa: E402
from snn_compile.tune.method import Task  # noqa: E402
from snn_compile.tune.neighborhood import NeighborhoodAggregation  # noqa: E402
from snn_compile.tune.network import Network  # noqa: E402
from snn_compile.tune.spike_targets import (  # noqa: E402
    correlation,
    keep_of,
    van_rossum_loss,
)

pytest.importorskip("nir", reason="nir is not installed (extra: nir)")
from spiking_graphs import write_mlp  # noqa: E402

STEPS = 30


def trains(seed=0, n=1, n_in=60, n_out=1):
    random = np.random.default_rng(seed)
    x = (random.random((n, STEPS, n_in)) < 0.1).astype(np.int64)
    return x, (random.random((n, STEPS, n_out)) < 0.15).astype(np.int64)


def options(method, **more):
    course = {"epochs": 25, "batch_size": 1, "learning_rate": 0.1, "patience": 0, "threads": 1}
    return TuneOptions(method=method, **{**course, **more})


def tuned(folder, method, sizes=(60, 1), seed=0, **more):
    data = trains(seed, n_in=sizes[0], n_out=sizes[-1])
    file = write_mlp(folder / "net.nir", sizes, seed=seed, gain=20)
    compiling = CompileOptions(timesteps=STEPS, emit=())
    return tune_model(file, data, options=options(method, **more), compile_options=compiling), data


@pytest.mark.parametrize("method", ["na", "normad"])
@pytest.mark.parametrize("sizes", [(60, 1), (60, 20, 2)])
def test_a_network_learns_trains_and_runs_as_it_was_judged(tmp_path, method, sizes):
    found, (x, wanted) = tuned(tmp_path, method, sizes)
    tune = found.report["tune"]
    curve, best = tune["curve"], tune["curve"][tune["best_epoch"]]
    assert best["held_out_loss"] < curve[0]["held_out_loss"]
    assert best["held_out_top1"] > curve[0]["held_out_top1"]
    assert tune["measure"] == "van Rossum correlation"
    frames = found.encoding(x)
    slow = reference.run(found.program, frames, record=True)
    fast = engine.run(found.program, frames, record=True)
    (output,) = found.decodings
    for name, messages in slow.messages.items():
        assert np.array_equal(messages, fast.messages[name])
    sent = np.diff(slow.messages[output].reshape(wanted.shape), axis=1, prepend=0) > 0
    kept = correlation(np.moveaxis(sent, 1, -1), np.moveaxis(wanted, 1, -1), 4.0).mean()
    assert 100 * kept == best["held_out_top1"]


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.parametrize("method", ["na", "normad"])
def test_a_tuned_network_equals_lava(lava_environment, tmp_path, method):
    from snn_backends.lava import LavaBackend

    found, (x, _) = tuned(tmp_path, method, (60, 20, 2))
    backend = LavaBackend()
    assert backend.check(found.program) == []
    with TemporaryDirectory() as folder:
        backend.emit(found.program, Path(folder), options={})
        verified = backend.verify(found.program, Path(folder), found.encoding(x), time_limit=600)
    assert verified.equal, verified.details
    assert verified.mode.startswith(lava_environment.mode)


@pytest.mark.slow
@pytest.mark.lava
def test_a_chip_that_learned_spike_xor_equals_lava(lava_environment):
    import chip_xor
    from snn_backends.lava import LavaBackend

    found, backend = chip_xor.learn(2), LavaBackend()
    assert chip_xor.outcome(found)[0] == len(chip_xor.PAIRS)
    assert backend.check(found.program) == []
    x, _ = chip_xor.patterns()
    with TemporaryDirectory() as folder:
        backend.emit(found.program, Path(folder), options={})
        verified = backend.verify(found.program, Path(folder), found.encoding(x), time_limit=600)
    assert verified.equal, verified.details
    assert verified.mode.startswith(lava_environment.mode)


class StoppedError(Exception):
    pass


class StopsAt(SilentObserver):
    """Ends a training in the middle."""

    def __init__(self, epoch):
        self.last = f"epoch {epoch}"

    def stage(self, name, text):
        if name == self.last:
            raise StoppedError


@pytest.mark.parametrize("method", ["na", "normad"])
def test_an_interrupted_training_on_trains_ends_where_it_would_have(tmp_path, method):
    data = trains(2, n=3)
    file = write_mlp(tmp_path / "net.nir", (60, 1), gain=20)

    def course(**more):
        return tune_model(
            file,
            data,
            options=options(method, epochs=4),
            compile_options=CompileOptions(timesteps=STEPS, emit=()),
            **more,
        )

    whole = course()
    kept = tmp_path / "kept"
    with pytest.raises(StoppedError):
        course(checkpoint=kept, observer=StopsAt(3))
    resumed = course(checkpoint=kept)
    assert resumed.report["tune"]["curve"] == whole.report["tune"]["curve"]
    assert dump_program(resumed.program)[0] == dump_program(whole.program)[0]
    assert array_hashes(dump_program(resumed.program)[1]) == array_hashes(
        dump_program(whole.program)[1]
    )


@given(seed=st.integers(0, 2**32 - 1), tau=st.floats(1.1, 20))
@settings(max_examples=20, deadline=None)
def test_what_is_trained_is_what_is_judged(seed, tau):
    random = np.random.default_rng(seed)
    a, b = (random.random((2, 12, 3)) < 0.3 for _ in range(2))  # (N, T, outputs)
    keep = keep_of(tau)
    first, second = (torch.tensor(x.swapaxes(0, 1), dtype=torch.float64) for x in (a, b))
    loss = float(van_rossum_loss(first, second, keep))
    d = a.astype(float) - b
    powers = keep ** np.arange(12)
    filtered = np.stack(
        [sum(powers[t - j] * d[:, j] for j in range(t + 1)) for t in range(12)], axis=1
    )
    assert np.isclose(loss, (((1 - keep) * filtered) ** 2).sum() / 2 / len(d))


@pytest.mark.parametrize("kind", ["lif", "subtract", "zero"])
def test_neighbours_are_those_of_the_spikes_that_run(kind):
    program = tasks.spiking_mlp(kind=kind, seed=3)
    x, _ = tasks.spike_patterns(16, seed=3)
    output, unit = program.readouts[0].id, np.full(4, 1e-3)
    network = Network(program, {output: unit})
    method = NeighborhoodAggregation(Task(network, output, unit, TuneOptions(method="na")))
    answers = network(network.messages(x), method.respond, keep=True).answers
    for name, messages in reference.run(program, x, record=True).messages.items():
        if name in answers:
            seen = np.moveaxis(answers[name].messages.detach().numpy(), 0, 1)
            assert np.array_equal(seen, messages), name
            assert messages.any()


def test_the_command_tunes_a_nir_file(tmp_path, capsys):
    x, spikes = trains(1)
    np.savez(tmp_path / "train.npz", x=x, spikes=spikes)
    file = write_mlp(tmp_path / "net.nir", (60, 1), gain=20)
    words = ["tune", str(file), "--train", str(tmp_path / "train.npz"), "-T", str(STEPS)]
    words += ["--method", "normad", "--epochs", "3", "--threads", "1", "--no-progress"]
    assert main([*words, "-o", str(tmp_path / "out"), "--emit", ""]) == 0
    assert "van Rossum correlation" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Mean van Rossum correlation in percent on the training samples" in page
    folder = CompiledModel.load(tmp_path / "out")
    assert folder.report["tune"]["options"]["method"] == "normad"


def refused(source, data, method="normad", **compiling):
    with pytest.raises((UsageError, UnsupportedError, CompileErrors)) as caught:
        tune_model(
            source,
            data,
            options=options(method),
            compile_options=CompileOptions(**{"timesteps": STEPS, "emit": (), **compiling}),
        )
    error = caught.value
    return [e.code for e in getattr(error, "errors", [error])]


def test_what_cannot_be_trained_is_refused(tmp_path, examples):
    x, spikes = trains()
    ends = write_mlp(tmp_path / "ends.nir", (60, 1), gain=20)
    assert refused(ends, (x, spikes[:, 1:])) == ["bad-spikes"]
    assert refused(ends, (x, 2 * spikes)) == ["bad-spikes"]
    sums = write_mlp(tmp_path / "sums.nir", (60, 8, 2), gain=20, spiking_end=False)
    two = np.repeat(spikes, 2, axis=2)
    assert refused(sums, (x, two)) == ["tune-output"]
    assert refused(sums, (x, two), "na") == ["tune-output"]
    assert refused(sums, (np.repeat(x, 4, axis=0), np.arange(4) % 2)) == ["missing-spikes"]
    still = write_mlp(tmp_path / "still.nir", (60, 1), tau_mem=1e9, gain=1e9)
    assert refused(still, (x, spikes)) == ["tune-neurons"]
    with np.load(examples / "digits_calibrate.npz") as file:
        images = file["x"][:64]
    labels = np.arange(64) % 10
    signed = {"timesteps": 4, "coding": "signed", "calibrate": examples / "digits_calibrate.npz"}
    codes = refused(examples / "digits_cnn.onnx", (images, labels), "na", **signed)
    assert set(codes) == {"tune-neurons"}
    assert len(codes) > 1


def test_correlation_is_a_cosine_of_filtered_trains():
    a = np.zeros((3, 50))
    b = np.zeros((3, 50))
    a[1, 10] = b[1, 10] = 1
    a[2, 10], b[2, 14] = 1, 1
    found = correlation(a, b, 4.0)
    assert found[0] == 1
    assert np.isclose(found[1], 1)
    assert np.isclose(found[2], np.exp(-4 / 4.0))  # of two exponentials, exactly
    assert correlation(a[1], np.zeros(50), 4.0) == 0


@pytest.mark.slow
def test_normad_solves_spike_xor():
    import spike_time_tasks

    found = spike_time_tasks.xor(range(10))
    assert (found.solved <= 400).sum() >= 9


@pytest.mark.slow
@pytest.mark.parametrize(("hidden", "epochs"), [(None, 100), (50, 300)])
def test_normad_learns_generic_trains(hidden, epochs):
    import spike_time_tasks as spike_times

    course = spike_times.ONE_LAYER if hidden is None else spike_times.TWO_LAYERS
    assert course.epochs == epochs
    found = spike_times.generic(range(3), course, hidden=hidden)
    assert (spike_times.first_at(found) > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_neuron_learns_a_pattern_by_its_neighbours(tmp_path, seed):
    random = np.random.default_rng(seed)  # 0 ends at 79.95 %: tuning-spike-times.md says why
    x = (random.random((1, STEPS, 200)) < 0.1).astype(np.int64)
    spikes = (random.random((1, STEPS, 1)) < 0.25).astype(np.int64)
    file = write_mlp(tmp_path / "net.nir", (200, 1), seed=seed, gain=20)
    found = tune_model(
        file,
        (x, spikes),
        options=options("na", epochs=200, smallest_width=0.1, spike_tau=2.0, seed=seed),
        compile_options=CompileOptions(timesteps=STEPS, emit=()),
    )
    losses = [epoch["held_out_loss"] for epoch in found.report["tune"]["curve"]]
    assert min(losses) <= 0.2 * losses[0]
