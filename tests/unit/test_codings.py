"""Every coding answers for itself, those of other packages too; one that is not there is named."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from dataclasses import is_dataclass
from inspect import isabstract
from types import SimpleNamespace

import numpy as np
import pytest

import scheduled_networks
from quantized_cases import mlp
from snn_compile import coding_registry
from snn_compile import installed as installed_packages
from snn_compile.cli import main
from snn_compile.coding_registry import coding_class, coding_names
from snn_compile.codings import Coding, coding_of
from snn_compile.convert.calibrate import calibrate
from snn_compile.errors import UsageError
from snn_compile.hil.diagnosis import _carried
from snn_compile.ir.quantized import Readout
from snn_compile.ir.schedule import integer_network, is_scheduled
from snn_compile.ir.spiking import InputCoding, Window
from snn_compile.lowering import passes_at_bounds
from snn_compile.options import CALIBRATED, CONVERTED, CompileOptions
from snn_compile.pipeline.driver import compile_model
from snn_compile.pipeline.folding import FOLDING
from snn_compile.report.advice import costliest
from snn_compile.samples.arrays import Samples
from snn_compile.sim import engine, reference

OWN = coding_names()


def forget() -> None:
    installed_packages.forget()
    coding_registry._entries.cache_clear()
    coding_registry.coding_class.cache_clear()


@pytest.fixture
def installed(examples, tmp_path, monkeypatch):
    """The package ``examples/plugins/burst-coding``, as pip puts it into a folder."""
    folder = tmp_path / "site"
    about = folder / "burst_coding-1.0.dist-info"
    about.mkdir(parents=True)
    shutil.copy(examples / "plugins" / "burst-coding" / "burst_coding.py", folder)
    project = tomllib.loads((examples / "plugins" / "burst-coding" / "pyproject.toml").read_text())[
        "project"
    ]
    entries = project["entry-points"][coding_registry.GROUP]
    lines = [f"[{coding_registry.GROUP}]", *(f"{name} = {at}" for name, at in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: burst-coding\nVersion: 1.0\n")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget()
        yield folder
    sys.modules.pop("burst_coding", None)
    forget()


def data(examples):
    with np.load(examples / "digits_calibrate.npz") as archive:
        calibrate = archive["x"]
    with np.load(examples / "digits_evaluate.npz") as archive:
        return {"calibrate": calibrate, "evaluate": (archive["x"], archive["y"])}


def whole(kind: type[Coding], name: str) -> None:
    """Every question has an answer of the right kind."""
    assert not isabstract(kind)
    assert is_dataclass(kind)
    assert kind.name == name
    assert kind.summary
    assert isinstance(kind.input, InputCoding)
    assert set(kind.relevant_options) <= set(CompileOptions.__dataclass_fields__)
    coding = kind.from_options(CompileOptions())
    assert coding.levels >= 1
    assert coding.window.coding == name
    assert kind.levels_of(coding.size) == coding.levels
    assert name in coding.describe()
    if kind.schedule is not None:
        assert kind.single_step
        assert coding.window.schedule is kind.schedule
        assert coding.window.lag == (coding.window.n_steps if kind.schedule.sent else 1)


@pytest.mark.parametrize("name", OWN)
def test_a_coding_answers_everything(name):
    whole(coding_class(name), name)


@pytest.mark.parametrize("name", [n for n in OWN if (s := coding_class(n).schedule) and s.sent])
def test_messages_of_a_window_are_their_value(name):
    """What ``sent`` makes of a value adds up to it, in as many messages as ``spikes`` says."""
    window = Window(name, 5)
    values = np.arange(window.levels + 1).reshape(-1, 1, 1)
    messages = window.schedule.sent(values, 5)
    assert messages.shape == (len(values), 5, 1)
    assert (messages.sum(axis=1) == values[:, 0]).all()
    spikes = values if window.schedule.spikes is None else window.schedule.spikes(values)
    assert ((messages != 0).sum(axis=1) == spikes[:, 0]).all()


@pytest.mark.parametrize("coding", scheduled_networks.SCHEDULED)
def test_a_diagnosis_sees_what_had_arrived_when_a_neuron_decided(coding):
    """Of a network that is spread over time: the values of its integer network."""
    made = scheduled_networks.scheduled(coding, "mlp", 1, 6)
    evidence = SimpleNamespace(program=made.program)
    sent = reference.run(made.program, made.frames, record=True).messages
    values = reference.run(made.single_step, made.frames, record=True).messages
    hidden = [node for node in made.single_step.populations if not isinstance(node, Readout)]
    for node in hidden:
        messages = np.moveaxis(sent[node.id], (0, 1), (-1, -2))
        flat = messages.reshape(-1, *messages.shape[-2:])
        carried = _carried(evidence, flat, 0, 3)
        assert carried.any()
        assert (carried == values[node.id][3].ravel()).all()


def test_digits_can_be_searched_for():
    """What stands for ``auto`` until it is found is a number that the coding takes."""
    options = CompileOptions(coding="radix", timesteps="auto", max_accuracy_drop=1.0)
    assert coding_of(options, "graded").levels == 255


def test_a_window_of_an_unknown_coding_is_refused_by_name():
    with pytest.raises(UsageError, match="no coding 'morse'") as found:
        Window("morse", 3)
    assert found.value.code == "unknown-coding"
    assert "graded, signed, sync, radix, rate, sigma-delta" in found.value.hint


def test_codings_of_other_packages_come_after_ours(installed):
    assert coding_names() == (*OWN, "binary", "burst")
    for name in ("binary", "burst"):
        whole(coding_class(name), name)


BARE = """
from dataclasses import dataclass
from snn_compile.codings import Coding
from snn_compile.codings.rate import Rate
@dataclass(frozen=True)
"""


def entries(installed, line: str) -> None:
    listed = installed / "burst_coding-1.0.dist-info" / "entry_points.txt"
    listed.write_text(f"[{coding_registry.GROUP}]\n{line}\n")
    forget()


def test_no_package_takes_a_name_of_ours(installed, capsys):
    """Ours stays, and nothing else is disturbed; the doctor says so."""
    ours = coding_class("rate")
    entries(installed, "rate = burst_coding:Burst\nbinary = burst_coding:Binary")
    assert coding_names() == (*OWN, "binary")
    assert coding_class("rate") is ours
    assert main(["--help"]) == 0
    assert "burst" not in capsys.readouterr().err
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["coding binary"]["ok"]
    assert not checks["coding rate"]["ok"]
    assert "(burst-coding 1.0) is not used" in checks["coding rate"]["note"]


def test_two_packages_with_one_name_are_refused_when_it_is_asked_for(installed):
    other = installed / "other_coding-2.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-coding\nVersion: 2.0\n")
    (other / "entry_points.txt").write_text(f"[{coding_registry.GROUP}]\nburst = other:Other\n")
    forget()
    assert coding_class("binary").name == "binary"
    assert CompileOptions(coding="burst").automatic == []
    with pytest.raises(UsageError, match=r"of \S+ \d.0 and of \S+ \d.0") as found:
        coding_class("burst")
    assert (found.value.code, found.value.hint) == ("broken-coding", "uninstall all but one")


def test_other_options_do_not_ask_for_the_codings(monkeypatch):
    def fails():
        raise AssertionError

    monkeypatch.setattr(coding_registry, "_entries", fails)
    assert CompileOptions(timesteps=4).automatic == []


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        ("burst = burst_coding:Burst", "from nowhere import Coding", "cannot be loaded: .*nowhere"),
        ("burst = burst_coding:Gone", "", "cannot be loaded: .*Gone"),
        ("morse = burst_coding:Burst", None, "another name"),
        (
            "morse = burst_coding:Morse",
            "from snn_compile.codings import Coding\nclass Morse(Coding): name = 'morse'",
            "does not say what its neurons, size are",
        ),
        ("burst = burst_coding:Burst", "1 / 0", "1.0.* cannot be loaded: ZeroDivisionError"),
        ("burst = burst_coding:Burst", "Burst = 3", "no class that derives from"),
        (
            "burst = burst_coding:Burst",
            "class Burst: name = 'burst'",
            "no class that derives from snn_compile.codings.Coding",
        ),
        (
            "mute = burst_coding:Mute",
            f"{BARE}class Mute(Coding): name, size, neurons = 'mute', 1, None",
            "does not state its summary",
        ),
        (
            "mute = burst_coding:Mute",
            f"{BARE}class Mute(Rate): name, relevant_options = 'mute', 'timesteps'",
            "'relevant_options' is a text, not a list",
        ),
    ],
)
def test_a_coding_that_is_none_is_refused(installed, line, text, message):
    if text is not None:
        (installed / "burst_coding.py").write_text(text)
    entries(installed, line)
    with pytest.raises(UsageError, match=message) as found:
        coding_class(line.partition(" ")[0])
    assert found.value.code == "broken-coding"


def test_a_coding_from_outside_the_tree_does_everything(installed, examples, tmp_path, capsys):
    """It is checked, compiled, mapped, run, shown and verified; gone, it is refused by name."""
    model, folder = str(examples / "digits_mlp.onnx"), tmp_path / "burst.snn"
    options = ["--coding", "burst", "-T", "4"]
    assert main(["check", model, *options]) == 0
    assert main([model, *options, "--emit", "lava", "-o", str(folder), "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "coding burst, T = 4" in out
    assert "activations on 29 levels" in out
    report = json.loads((folder / "report.json").read_text())
    assert (report["coding"], report["timesteps"]) == ("burst", 4)
    rungs = {rung["stage"]: rung["top1"] for rung in report["ladder"]}
    assert rungs["fixed"] > 95
    assert rungs["mapped"] == rungs["fixed"]
    assert main(["inspect", str(folder)]) == 0
    assert "coding burst · 4 steps per layer" in capsys.readouterr().out
    assert main(["run", str(folder), "--data", str(examples / "digits_evaluate.npz")]) == 0
    assert main(["verify", str(folder), "--against", "engine"]) == 0
    assert main(["report", str(folder)]) == 0
    assert "coding burst" in (folder / "report.html").read_text(encoding="utf-8")
    shutil.rmtree(installed)
    forget()
    assert main(["verify", str(folder)]) == 2
    assert "no coding 'burst'" in capsys.readouterr().err


def test_options_that_a_coding_does_not_take_do_nothing(installed):
    """As the report says of them, whatever the coding asks and whatever could be corrected."""
    (installed / "burst_coding.py").write_text(
        f"{BARE}class Plain(Rate): name, relevant_options = 'plain', ('timesteps',)"
    )
    entries(installed, "plain = burst_coding:Plain")
    given = {"reset": "zero", "initial_potential": 0.25, "potential_calibration": True}
    folded = FOLDING(mlp()).graph
    x = np.random.default_rng(0).normal(size=(20, *folded.input.shape))
    found = []
    for more in ({}, given):
        options = CompileOptions(coding="plain", timesteps=6, **more)
        coding = coding_of(options, "graded")
        passes = passes_at_bounds(folded, calibrate(folded, x), options, coding, Samples(x))
        found.append((coding, [step.name for step in passes.steps]))
    assert found[0] == found[1]
    coding, names = found[0]
    assert (coding.n_steps, coding.reset.value, coding.initial_potential) == (6, "subtract", 0.5)
    assert not {"calibrate-potentials", "calibrate-resets"} & set(names)
    facts = {"network": CONVERTED, "coding": "plain", "data": CALIBRATED}
    reported = options.in_effect(facts, {})
    assert reported["reset"] == {"value": "subtract", "origin": "keyword argument, ignored"}
    assert reported["potential_calibration"]["value"] is False


@pytest.mark.parametrize("method", ["neurons", "from_options"])
def test_a_mistake_of_a_coding_is_its_packages(
    installed, examples, tmp_path, monkeypatch, capsys, method
):
    monkeypatch.chdir(tmp_path)

    def fails(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(coding_class("burst"), method, fails)
    assert main(["check", str(examples / "digits_mlp.onnx"), "--coding", "burst"]) == 1
    said = capsys.readouterr().err
    assert (
        f"error[plug-in-failed]: the coding 'burst' (burst-coding 1.0) failed in '{method}'" in said
    )
    assert "ZeroDivisionError: division by zero" in said
    assert "one of burst-coding 1.0, not of snn-compile" in said


@pytest.mark.slow
@pytest.mark.lava
def test_a_coding_from_outside_the_tree_is_verified_in_lava(
    installed, examples, tmp_path, lava_environment
):
    model, folder = str(examples / "digits_mlp.onnx"), tmp_path / "binary.snn"
    assert main([model, "--coding", "binary", "--emit", "lava", "-o", str(folder), "-q"]) == 0
    assert main(["verify", str(folder), "--stimuli", "3"]) == 0


def test_a_schedule_from_outside_the_tree(installed, examples):
    """Engine, reference and integer network agree on every message and every count."""
    compiled = compile_model(
        examples / "digits_mlp.onnx", coding="binary", emit=(), **data(examples)
    )
    assert "--timesteps" not in costliest(compiled.report)  # they mean nothing in it
    program, frames = compiled.program, compiled.stimulus[:8]
    assert is_scheduled(program)
    run, expected = (
        simulate(program, frames, record=True) for simulate in (engine.run, reference.run)
    )
    at_once = reference.run(integer_network(program), frames)
    for node in program.populations:
        assert (run.messages[node.id] == expected.messages[node.id]).all()
    for found in (run, at_once):
        for key, counts in expected.activity.items():
            assert (found.activity[key] == counts).all()
        for key, potentials in expected.outputs.items():
            assert (found.outputs[key] == potentials).all()


def test_options_name_the_codings_of_other_packages(installed):
    assert CompileOptions(coding="burst").coding == "burst"
    with pytest.raises(UsageError) as found:
        CompileOptions(coding="morse")
    assert found.value.hint == f"use one of {', '.join(OWN)}, binary, burst"
