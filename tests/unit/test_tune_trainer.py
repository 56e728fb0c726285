"""Training as such: it learns, it resumes bit for bit, and it refuses what does not belong."""

from __future__ import annotations

import os
import zipfile

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra: tune)")

import numpy as np  # noqa: E402

from snn_compile.errors import UsageError  # noqa: E402
from snn_compile.ir.quantized import CubaLIFNeurons, IFNeurons  # noqa: E402
from snn_compile.ir.serialize import array_hashes, dump_program  # noqa: E402
from snn_compile.sim import engine  # noqa: E402
from snn_compile.tune.method import Task  # noqa: E402
from snn_compile.tune.network import Network  # noqa: E402
from snn_compile.tune.options import TuneOptions  # noqa: E402
from snn_compile.tune.psg import ParametricSurrogate  # noqa: E402
from snn_compile.tune.scratch import fold, reinitialize  # noqa: E402
from snn_compile.tune.session import evaluate_scores  # noqa: E402
from snn_compile.tune.trainer import (  # noqa: E402
    Trainer,
    TrainingData,
    split,
    typical_size,
)
from tuning_tasks import COURSE, THRESHOLD, spike_patterns, spiking_mlp, train  # noqa: E402

UNIT = np.full(4, 1 / (4 * THRESHOLD))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Course:
    """A small training that can be interrupted."""

    def __init__(self, checkpoint=None, kind="lif", **options):
        self.options = TuneOptions(
            **{"epochs": 6, "learning_rate": 0.01, "patience": 0, "distill": 0.0, **options}
        )
        self.x, self.y = spike_patterns(160, seed=3)
        program = spiking_mlp(seed=3, kind=kind)
        self.output = program.readouts[0].id
        self.network = Network(program, {self.output: UNIT})
        method = ParametricSurrogate(Task(self.network, self.output, UNIT, self.options))
        if self.options.from_scratch:
            few = self.network.messages(self.x[:64])
            reinitialize(self.network, few, method.respond, self.options.seed)
        data = TrainingData(self.x, self.y)
        self.trainer = Trainer(self.network, method, data, self.judge, self.options, checkpoint)

    def judge(self):
        scores = engine.run(self.network.tuned(), self.x).outputs[self.output]
        return evaluate_scores(scores.reshape(len(self.x), -1) * UNIT, self.y)

    def integers(self):
        return array_hashes(dump_program(self.network.tuned())[1])


class Killed(Exception):  # noqa: N818
    """In place of the signal."""


def killed_after(samples):
    left = [samples]

    def advance(n):
        left[0] -= n
        if left[0] < 0:
            raise Killed

    return advance


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("lif", {}),
        ("lif-subtract", {"from_scratch": True}),  # folding changes what a spike takes, too
        ("subtract", {"from_scratch": True}),
        ("zero", {"pda": 0.01}),
    ],
)
def test_a_resumed_training_ends_with_the_same_integers(tmp_path, kind, options):
    options = {"epochs": 4, **options}
    whole = Course(kind=kind, **options)
    curve = whole.trainer.run().curve
    file = tmp_path / "half.checkpoint"
    for killed in (1 * 160 + 70, 2 * 160 + 90):  # in the middle of the second epoch, then the third
        with pytest.raises(Killed):
            Course(file, kind=kind, **options).trainer.run(advance=killed_after(killed))
    resumed = Course(file, kind=kind, **options)
    told = []
    found = resumed.trainer.run(told.append)
    assert found.curve == curve == told
    assert resumed.integers() == whole.integers()


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    file = tmp_path / "c"
    Course(file, epochs=1).trainer.run()
    with pytest.raises(UsageError) as caught:
        Course(file, epochs=1, seed=1).trainer.run()
    assert caught.value.code == "other-checkpoint"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UsageError) as caught:
        Course(file, epochs=1).trainer.run()
    assert caught.value.code == "bad-checkpoint"


def huge(tensor):
    """One that claims 4 TiB of four bytes."""
    return torch.zeros(1).expand(1 << 40)


def first(tensors, change):
    name = next(iter(tensors))
    tensors[name] = change(tensors[name])


BROKEN = {
    "a list": lambda content: [content],
    "a number": lambda content: 7,
    "no curve": lambda content: content.pop("curve"),
    "a curve of texts": lambda content: content["curve"].append("x"),
    "an epoch too late": lambda content: content.update(best=9),
    "a merit of text": lambda content: content.update(merit="x"),
    "huge parameters": lambda content: first(content["parameters"], huge),
    "huge averages": lambda content: first(content["average"], huge),
    "other names": lambda content: content["best_state"].update(other=torch.zeros(1)),
    "not finite": lambda content: first(content["parameters"], lambda t: t * float("nan")),
    "integers": lambda content: first(content["parameters"], lambda t: t.int()),
    "huge moments": lambda content: first(content["optimizer"]["state"][0], huge),
    "text for moments": lambda content: first(content["optimizer"]["state"][0], lambda t: "x"),
    "a parameter too many": lambda content: content["optimizer"]["state"].update({99: {}}),
    "no groups": lambda content: content["optimizer"].update(param_groups=[]),
    "another decay": lambda content: content["optimizer"]["param_groups"][0].update(betas=(2, 2)),
    "an epoch with more": lambda content: content["curve"][0].update(other=1),
    "a number for a state": lambda content: content["optimizer"].update(state=7),
    "a number for moments": lambda content: content["optimizer"]["state"].update({0: 7}),
    "a moment missing": lambda content: content["optimizer"]["state"][0].pop("step"),
    "complex moments": lambda content: first(content["optimizer"]["state"][0], lambda t: t + 0j),
    "a rate of text": lambda content: content["optimizer"]["param_groups"][0].update(lr="x"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, how):
    file = tmp_path / "c"
    Course(file, epochs=1).trainer.run()
    content = torch.load(file, weights_only=True)
    returned = BROKEN[how](content)
    torch.save(returned if how in ("a list", "a number") else content, file)
    with pytest.raises(UsageError) as caught:
        Course(file, epochs=1).trainer.run()
    assert caught.value.code == "bad-checkpoint"


def test_a_checkpoint_of_an_earlier_version_is_named_so(tmp_path):
    file = tmp_path / "c"
    Course(file, epochs=1).trainer.run()
    content = torch.load(file, weights_only=True)
    content["schema"] = 1
    del content["merit"]
    for epoch in content["curve"]:
        del epoch["merit"]
    torch.save(content, file)
    with pytest.raises(UsageError, match="schema 1; this version reads 2") as caught:
        Course(file, epochs=1).trainer.run()
    assert caught.value.code == "bad-checkpoint"
    assert caught.value.hint


def test_a_checkpoint_of_parameters_beyond_every_state_is_confined(tmp_path):
    file = tmp_path / "c"
    Course(file, epochs=1).trainer.run()
    content = torch.load(file, weights_only=True)
    for tensor in content["best_state"].values():
        tensor.fill_(-1e38)
    torch.save(content, file)
    resumed = Course(file, epochs=1)
    resumed.network.restore(resumed.trainer.run().best_state)
    before = resumed.integers()
    resumed.network.confine()
    assert resumed.integers() == before


def test_a_checkpoint_that_is_a_pipe_or_inflates_is_refused(tmp_path, monkeypatch):
    pipe, bomb = tmp_path / "pipe", tmp_path / "bomb"
    os.mkfifo(pipe)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 25))
    monkeypatch.setenv("SNN_COMPILE_MAX_MEMORY", "16M")
    for path, code in ((pipe, "bad-checkpoint"), (bomb, "too-large")):
        with pytest.raises(UsageError) as caught:
            Course(path, epochs=1).trainer.run()
        assert caught.value.code == code


def test_the_best_epoch_is_kept():
    course = Course(learning_rate=0.9, epochs=3)
    merits = []
    course.trainer.judge = lambda: merits.append(course.judge()) or merits[-1]
    progress = course.trainer.run()
    best = max(range(4), key=lambda epoch: merits[epoch].merit)
    assert progress.best == best
    assert course.judge() == merits[best]
    assert progress.curve[best].held_out_loss == merits[best].loss


def test_epochs_are_compared_at_the_best_temperature():
    """How sure a network is of its answers makes it no better and no worse."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 300)
    scores = random.normal(size=(300, 4)) + 2 * np.eye(4)[labels]
    found = [evaluate_scores(factor * scores, labels) for factor in (0.25, 1, 4)]
    assert len({one.loss for one in found}) == 3
    assert len({one.top1 for one in found}) == 1
    assert np.ptp([one.merit for one in found]) < 1e-6
    assert all(one.merit >= -one.loss for one in found)
    worse = evaluate_scores(with_noise(scores, random), labels)
    assert worse.merit < found[1].merit
    # The float network's outputs stand in for labels as far as they do in training.
    other = evaluate_scores(scores, labels, teacher=with_noise(scores, random), distill=1.0)
    same = evaluate_scores(scores, labels, teacher=scores, distill=1.0)
    assert (other.top1, other.loss) == (same.top1, same.loss) == (found[1].top1, found[1].loss)
    assert other.merit < same.merit
    assert evaluate_scores(scores, labels, teacher=scores, distill=0.0) == found[1]


def test_training_stops_where_nothing_improves():
    course = Course(learning_rate=0.9, patience=1, epochs=40)
    progress = course.trainer.run()
    assert progress.epoch < 40
    assert progress.epoch - progress.best == 1


def test_training_from_scratch_learns_and_leaves_a_plain_network():
    for kind, neurons in (("lif", CubaLIFNeurons), ("subtract", IFNeurons)):
        course = Course(kind=kind, from_scratch=True, epochs=12)
        progress = course.trainer.run()
        assert progress.curve[0].held_out_top1 < 50
        assert progress.curve[progress.best].held_out_top1 > 80
        program = course.network.tuned()
        hidden = [node for node in program.populations if isinstance(node, neurons)]
        assert len(hidden) == 2
        assert all(np.unique(node.threshold.values).size > 1 for node in hidden)


def test_a_channel_with_a_tiny_threshold_does_not_hasten_the_others():
    """Of a neuron that hardly ever fires, in units of its threshold weights are enormous."""
    weight = torch.tensor(np.random.default_rng(0).normal(size=(9, 4, 3, 3)))
    size = typical_size(weight)
    assert 0.7 < size < 1.4
    weight[2] *= 1000
    assert typical_size(weight) == pytest.approx(size, rel=0.3)
    weight[3:] = 0
    assert typical_size(weight) > 0
    assert typical_size(torch.zeros(3, 2)) == 1


@pytest.mark.parametrize("kind", ["lif", "lif-subtract", "subtract", "zero"])
def test_folding_changes_few_spikes(kind):
    """With the statistics of all the data, the folded network is the normalized one, but for
    rounded thresholds: here a batch is all there is."""
    course = Course(kind=kind, from_scratch=True, batch_size=160)
    network, method = course.network, course.trainer.method
    with torch.no_grad():
        for layer in network.layers.values():
            if layer.normalization is not None:
                layer.normalization.gamma.fill_(0.7)
        messages = network.messages(course.x)
        before = network(messages, method.respond, keep=True)
        fold(network, course.trainer._batches(0), method.respond)
        after = network(messages, method.respond, keep=True)
    first, second, _ = before.answers
    for name, limit in ((first, 0.02), (second, 0.1)):
        one, other = before.answers[name].messages, after.answers[name].messages
        assert one.sum() > 0
        assert float((one - other).abs().sum() / one.sum()) < limit, name
    assert network.layers[first].normalizing is None


@pytest.mark.parametrize("kind", ["subtract", "zero"])
@pytest.mark.parametrize("from_scratch", [True, False])
def test_shrinking_changes_few_spikes(kind, from_scratch):
    """What is scaled with its threshold does what it did, but for rounding: normalized layers, and
    thresholds that take up most of the state."""
    course = Course(kind=kind, from_scratch=from_scratch)
    network, method = course.network, course.trainer.method
    network.state_bits = 11  # to 1,023; the thresholds are 512
    layer = next(iter(network.layers.values()))
    messages = network.messages(course.x)

    def sent():
        with torch.no_grad():
            return network(messages, method.respond, keep=True).answers[layer.node.id].messages

    sent()  # normalizations have statistics
    before, threshold = sent(), layer.folded()["threshold"].detach().clone()
    network._shrink(layer, np.full(layer.node.shape[0], 1.3))
    assert float((before - sent()).abs().sum() / before.sum()) < 0.05
    factor = float((layer.folded()["threshold"].detach() / threshold).mean())
    assert factor == pytest.approx(0.999 / 1.3, rel=0.02)


def test_folding_changes_nothing_but_the_form():
    """With a gain of two, thresholds and starts are halved, and the offset is a bias."""
    course = Course(kind="subtract", from_scratch=True)
    layer = next(iter(course.network.layers.values()))
    normalization = layer.normalization
    with torch.no_grad():
        normalization.gamma.fill_(2.0)
        normalization.var.fill_(1 - 1e-5)
        normalization.mean.fill_(0.125)
        normalization.beta.fill_(0.5)
    before = layer.tuned()
    assert (before.threshold.values == THRESHOLD // 2).all()
    assert (before.initial_potential.values == THRESHOLD // 4).all()
    assert (before.bias.values == (0.25 - 0.125) * THRESHOLD).all()
    layer.fold()
    assert layer.normalizing is None
    after = layer.tuned()
    for name in ("threshold", "initial_potential", "bias"):
        assert (getattr(after, name).values == getattr(before, name).values).all()


def test_a_tenth_is_held_out_and_never_nothing():
    rows, held = split(100, 0.1, 0)
    assert len(held) == 10
    assert sorted([*rows, *held]) == list(range(100))
    assert [len(part) for part in split(2, 0.01, 0)] == [1, 1]
    with pytest.raises(UsageError):
        split(1, 0.5, 0)


def with_noise(scores, random):
    return scores + random.normal(size=scores.shape)


@pytest.mark.slow
def test_a_learned_width_recovers_what_a_narrow_one_loses():
    options = {**COURSE, "surrogate": "rectangle", "width": 0.05}
    stalled = train(1, TuneOptions(**options, learn_width=False))
    learned = train(1, TuneOptions(**options))
    assert stalled.reached < 0.1
    assert learned.top1 >= stalled.top1 + 10
    assert min(learned.widths) > 0.2 - 1e-9


@pytest.mark.slow
def test_distribution_adjustment_halves_the_offset_of_the_mean():
    before = train(1, TuneOptions(**COURSE))
    after = train(1, TuneOptions(**COURSE, pda=0.01))
    assert np.mean(after.offsets) <= np.mean(before.offsets) / 2
    assert all(b >= a for a, b in zip(before.inside, after.inside, strict=True))
