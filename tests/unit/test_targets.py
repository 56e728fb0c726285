"""Targets: every figure has a source, and a wrong file says everything that is wrong with it."""

from __future__ import annotations

import json
import tomllib
from importlib import resources

import pytest

from snn_compile.cli import main
from snn_compile.errors import CompileErrors, UsageError, exit_code
from snn_compile.targets import Confidence, Times, available, figure_entries, load, load_target

FILES = resources.files("snn_compile.targets")


def tables(name):
    return tomllib.loads(FILES.joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def test_available():
    boards = ["hala-point", "kapoho-point", "oheo-gulch"]
    assert available() == sorted(["loihi1", "loihi2", "loihi2-nxcore", "unlimited", *boards])


@pytest.mark.parametrize("name", ["loihi1", "loihi2", "unlimited"])
def test_every_figure_states_its_source_and_how_well_it_is_founded(name):
    n_figures = 0
    for section, figures in tables(name).items():
        if not isinstance(figures, dict):
            assert section in {"name", "description"}
            continue
        for key, figure in figures.items():
            n_figures += 1
            assert len(figure["source"]) > 15, key
            assert figure["confidence"] in {c.value for c in Confidence}, key
            assert figure["unit"], key
    assert n_figures >= 20
    assert load_target(name).name == name


def test_loihi1_figures():
    target = load_target("loihi1")
    assert target.cores_per_chip.value == 128
    assert target.cores == 32 * 128
    assert target.neurons_per_core.value == 1024
    assert target.synapse_memory_per_core.value == 16384 * 64
    assert target.input_axons_per_core.value == target.output_axons_per_core.value == 4096
    assert 7 not in target.weight_bits.value
    assert target.neurons_per_soft_reset_neuron.value == 2
    assert target.synapses_per_soft_reset_neuron.value == 1
    assert target.default_coding.value == "rate"
    assert not target.shared_kernels.value
    assert target.synaptic_op.value == 23.6


def test_loihi2_says_that_its_energies_are_not_its_own():
    target = load_target("loihi2")
    assert target.default_coding.value == "graded"
    assert target.shared_kernels.value
    for energy in (target.synaptic_op, target.neuron_update, target.spike):
        assert energy.confidence is Confidence.ASSUMED
        assert energy.source.startswith("NOT a figure of Loihi 2")
    # nobody published these either
    for figure in (target.input_axons_per_core, target.synapse_memory_per_core):
        assert figure.confidence is Confidence.ASSUMED


def test_loihi2_can_use_all_of_its_neurons():
    target = load_target("loihi2")
    assert target.output_axons_per_core.value >= target.neurons_per_core.value


@pytest.mark.parametrize(
    ("name", "chips", "cores"),
    [("oheo-gulch", 1, 128), ("kapoho-point", 8, 1024), ("hala-point", 1152, 140544)],
)
def test_boards_are_loihi2_with_other_chips(name, chips, cores):
    board, chip = load_target(name), load_target("loihi2")
    assert (board.chips.value, board.cores) == (chips, cores)
    assert board.synapse_memory_per_core == chip.synapse_memory_per_core


def test_a_link_of_hala_point_has_its_share_of_the_bandwidth_between_all_chips():
    link = load_target("hala-point").times.link_message
    bytes_per_second = 5e12 / 1152 / 6
    assert link.value == link.high == round(8 / bytes_per_second * 1e9, 1)
    assert link.low == round(4 / bytes_per_second * 1e9, 1)
    assert load_target("loihi2").times.link_message is None


@pytest.mark.parametrize("name", ["loihi1", "loihi2", "hala-point"])
def test_that_no_source_limits_a_link_is_said(name):
    _, found = figure_entries(name)
    (link,) = [each for each in found if each.key == "link_messages_per_step"]
    assert (link.value, link.confidence) == ("unlimited", "assumed")
    assert "no public figure" in link.source


def test_chips_of_the_command_line_replace_those_of_the_file():
    target = load_target("loihi2", 3)
    assert target.cores == 3 * 128
    assert (target.chips.source, target.chips.unit) == ("--chips", "chips")
    assert load_target("loihi2", None) == load_target("loihi2")


def test_unlimited_has_no_limits_and_no_energies():
    target = load_target("unlimited")
    assert target.cores is None
    assert target.neurons_per_core.value is None
    assert target.codings.value is None
    assert target.synaptic_op is None
    assert target.times == Times()


def test_times_of_loihi2_are_those_of_loihi1_by_the_factors_of_the_brief():
    one, two = load_target("loihi1").times, load_target("loihi2").times
    for name, factor in (("synaptic_op", 5), ("neuron_update", 2), ("spike_out", 10)):
        before, after = getattr(one, name), getattr(two, name)
        for end in ("low", "value", "high"):
            assert getattr(after, end) == pytest.approx(getattr(before, end) / factor)
    assert (two.message_in.value, two.message_out.value) == (16.0, 5.1)


def test_ranges_are_of_cited_constants():
    """An end of a range is a figure that the source names, and no energy is invented."""
    one, two = load_target("loihi1"), load_target("loihi2")
    for name in ("synaptic_op", "neuron_update", "spike"):
        ends = [(c.low, c.value, c.high) for c in (getattr(one, name), getattr(two, name))]
        assert ends[0] == ends[1]


def test_a_time_is_checked_as_an_energy_is(tmp_path):
    file = tmp_path / "late.toml"
    file.write_text(
        'inherits = "loihi1"\n[time.barrier]\nvalue = 1.0\nlow = 2.0\nhigh = 3.0\n'
        'unit = "us"\nsource = "me"\nconfidence = "assumed"\n'
    )
    with pytest.raises(CompileErrors) as caught:
        load_target(file)
    assert "[time.barrier] must have 0 <= low <= value <= high" in str(caught.value)
    assert "'unit' of [time.barrier] is 'us', not 'ns'" in str(caught.value)
    file.write_text('inherits = "loihi1"\ntime = 3\n')
    with pytest.raises(UsageError, match="'time' must be a table"):
        load_target(file)


def test_a_file_may_inherit_and_state_only_what_differs(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'inherits = "loihi2"\nname = "mine"\n'
        '[board.chips]\nvalue = 1\nunit = "chips"\nsource = "my desk"\nconfidence = "published"\n'
    )
    target = load_target(file)
    assert (target.name, target.cores) == ("mine", 128)
    assert target.neurons_per_core == load_target("loihi2").neurons_per_core
    assert load_target(str(file)) == target


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UsageError, match="no target named 'lohi2'") as caught:
        load_target("lohi2")
    assert caught.value.code == "unknown-target"
    assert "did you mean 'loihi2'" in caught.value.hint


def test_missing_file_and_broken_toml(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_target(tmp_path / "none.toml")
    assert caught.value.code == "unreadable-target"
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(UsageError) as caught:
        load_target(broken)
    assert caught.value.code == "invalid-target"


def test_inheritance_in_a_circle(tmp_path):
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    a.write_text(f'inherits = "{b}"')
    b.write_text(f'inherits = "{a}"')
    with pytest.raises(UsageError, match="circular"):
        load_target(a)


def test_all_complaints_at_once(tmp_path):
    file = tmp_path / "bad.toml"
    good = 'unit = "x"\nsource = "me"\nconfidence = "assumed"\n'
    file.write_text(
        'inherits = "loihi1"\nname = "bad"\ncolour = 3\n'
        f'[board.chips]\nvalue = "many"\n{good}'
        f"[board.cores_per_chip]\nvalue = true\n{good}"
        f"[core.neurns]\nvalue = 3\n{good}"
        f'[core.neurons]\nvalue = 3\nunit = "x"\nsource = " "\nconfidence = "sure"\n'
        "[core.synapse_memory]\nvalue = 3\n"
        f"[features.weight_bits]\nvalue = 8\ntypo = 1\n{good}"
        "[features]\nstate_bits = 24\n"
        "[energy.spike]\nvalue = 1.0\nlow = 2.0\nhigh = 3.0\n"
        'unit = "nJ"\nsource = "me"\nconfidence = "assumed"\n'
    )
    # a table may not be opened twice in TOML: keep the sub-tables only
    file.write_text(file.read_text().replace("[features]\nstate_bits = 24\n", ""))
    with pytest.raises(CompileErrors) as caught:
        load_target(file)
    text = str(caught.value)
    for part in (
        "unknown key 'colour'",
        "'value' of [board.chips] is 'many'",
        "'value' of [board.cores_per_chip] is True",
        "unknown key 'neurns' in [core]",
        "did you mean 'neurons'?",
        "'source' of [core.neurons]",
        "'confidence' of [core.neurons] is 'sure'",
        "[core.synapse_memory] lacks 'source'",
        "unknown key 'typo' in [features.weight_bits]",
        "[energy.spike] must have 0 <= low <= value <= high",
        "'unit' of [energy.spike] is 'nJ'",
    ):
        assert part in text, part
    assert exit_code(caught.value) == 2
    assert all(str(file) in str(error) for error in caught.value.errors)


def test_missing_figures_are_listed(tmp_path):
    file = tmp_path / "empty.toml"
    file.write_text('name = "empty"\ndescription = "nothing"\n')
    with pytest.raises(CompileErrors, match=r"core\.neurons"):
        load_target(file)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('[features.default_coding]\nvalue = "graded"', "not among 'codings'"),
        ("[features.payload_bits]\nvalue = 8", "'payload_bits' must be 0"),
        ("[board.chips]\nvalue = 0", "at least 1"),
    ],
)
def test_contradictions(tmp_path, lines, message):
    file = tmp_path / "odd.toml"
    rest = 'unit = "x"\nsource = "me"\nconfidence = "assumed"\n'
    file.write_text(f'inherits = "loihi1"\n{lines}\n{rest}')
    with pytest.raises(UsageError, match=message):
        load_target(file)


def test_a_file_whose_figures_are_shown_is_read_once(tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.toml"
    path.write_text('inherits = "loihi2"\nname = "mine"\ndescription = "a chip"\n')
    read = []
    original = load.read_bytes
    monkeypatch.setattr(load, "read_bytes", lambda *a: (read.append(a[0]), original(*a))[1])
    assert main(["targets", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "mine"
    assert read == [path]
