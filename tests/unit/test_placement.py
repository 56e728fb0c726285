"""A placement as a file: what is written is read back, and what does not fit is refused."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from mapping_networks import UNLIMITED, maps, with_values
from snn_compile.errors import CapacityError, CompileErrors, UsageError
from snn_compile.mapping import core_rules, map_program, resources
from snn_compile.mapping.chips import crossing, spread
from snn_compile.mapping.placement_file import compared, read_placement, to_csv, to_toml

TARGET = with_values(UNLIMITED, neurons_per_core=40, chips=2, cores_per_chip=4)


@pytest.fixture
def program():
    return maps(2, 8)


@pytest.fixture
def written(program):
    return to_toml(map_program(program, TARGET).graph.placements, TARGET)


def mapped_by(text, program, tmp_path, target=TARGET):
    file = tmp_path / "placement.toml"
    file.write_text(text, encoding="utf-8")
    return map_program(program, target, read_placement(file)).graph


def complaints(text, program, tmp_path):
    with pytest.raises((UsageError, CompileErrors)) as caught:
        mapped_by(text, program, tmp_path)
    errors = getattr(caught.value, "errors", (caught.value,))
    assert {error.code for error in errors} == {"bad-placement"}
    assert all(error.hint and error.origin for error in errors)
    return "\n".join(error.message for error in errors)


def test_what_is_written_is_read_back(program, written, tmp_path):
    again = mapped_by(written, program, tmp_path)
    assert again.placements == map_program(program, TARGET).graph.placements
    assert len(again.placements) > 3
    assert to_toml(again.placements, TARGET) == written


def test_blocks_may_go_elsewhere(program, written, tmp_path):
    moved = mapped_by(
        written.replace("core = 0\nchip = 0", "core = 7\nchip = 1"), program, tmp_path
    )
    assert {p.core for p in moved.placements if p.population == "a"} == {1, 2, 3, 7}
    assert moved.chips == 2


def test_everything_wrong_with_a_file_is_said_at_once(program, written, tmp_path):
    text = written.replace('layer = "out"', 'layer = "none"').replace("core = 1\n", "core = 9\n")
    found = complaints(text, program, tmp_path)
    assert "no layer 'none'" in found
    assert "core 9 is on chip 2 of unlimited, not 0" in found
    assert "has no core 9" in found
    assert "2 neurons of 'out' are not placed" in found


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("channels = [0, 1]", "channels = [0, 3]", "outside of 'a'"),
        ("channels = [0, 1]", "channels = [1, 0]", "not [start, stop]"),
        ("channels = [0, 1]", "channels = 3", "not [start, stop]"),
        ("core = 0\n", "core = true\n", "whole numbers"),
        ("core = 0\n", "", "lacks 'core'"),
        ("core = 0\n", "core = 0\nspeed = 3\n", "unknown key 'speed'"),
        ("[[block]]", "[[blocks]]", "unknown key 'blocks'"),
    ],
)
def test_damaged_files_are_refused(before, after, message, program, written, tmp_path):
    assert before in written
    assert message in complaints(written.replace(before, after), program, tmp_path)


def test_neurons_in_two_blocks_are_refused(program, written, tmp_path):
    block = written[written.index("[[block]]") :].split("\n\n")[0]
    assert "placed more than once" in complaints(f"{written}\n{block}\n", program, tmp_path)


def test_a_placement_that_breaks_a_rule_is_refused(program, written, tmp_path):
    crowded = written.replace("core = 1\n", "core = 0\n")
    with pytest.raises(CapacityError, match="of 40 neurons") as caught:
        mapped_by(crowded, program, tmp_path)
    assert caught.value.code == "neurons-per-core"


def test_a_layer_is_pinned_to_cores_and_the_rest_is_placed(program, tmp_path):
    mapped = mapped_by("[pin]\nout = { cores = [5, 6] }\n", program, tmp_path)
    assert {p.core for p in mapped.placements if p.population == "out"} == {5}
    assert {p.core for p in mapped.placements if p.population == "a"} == {0, 1, 2, 3}


def test_a_layer_is_pinned_to_a_chip(program, tmp_path):
    mapped = mapped_by("[pin]\na = { chip = 1 }\n", program, tmp_path)
    assert {p.chip for p in mapped.placements if p.population == "a"} == {1}
    assert {p.chip for p in mapped.placements if p.population == "out"} == {0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pin]\nb = { chip = 1 }\n", "no layer 'b'"),
        ("[pin]\na = { chip = 2 }\n", "has no core 11"),
        ("[pin]\na = { cores = [1, 1] }\n", "not { cores"),
        ("[pin]\na = 3\n", "not { cores"),
        ("[pin]\na = { cores = [0, 1] }\nout = { cores = [1] }\n", "share some of their cores"),
        ("", "has [[block]] tables, or a [pin] table"),
    ],
)
def test_pins_that_mean_nothing_are_refused(text, message, program, tmp_path):
    assert message in complaints(text, program, tmp_path)


def test_pins_to_too_few_cores_are_refused(program, tmp_path):
    with pytest.raises(CapacityError, match="pinned to 1 core of unlimited: needs 4") as caught:
        mapped_by("[pin]\na = { cores = [2] }\n", program, tmp_path)
    assert caught.value.code == "pinned-cores"


def test_two_placements_are_compared(program, written, tmp_path):
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    a.write_text(written)
    b.write_text(written.replace("core = 0\nchip = 0", "core = 7\nchip = 1", 1))
    first, second = read_placement(a), read_placement(b)
    assert all(row["moved"] == row["chips_moved"] == 0 for row in compared(first, first))
    moved = {row["layer"]: (row["moved"], row["chips_moved"]) for row in compared(first, second)}
    assert moved == {"a": (32, 32), "out": (0, 0)}
    b.write_text(written[: written.index('[[block]]\nlayer = "out"')])
    with pytest.raises(UsageError, match="another size"):
        compared(first, read_placement(b))


def test_the_figures_of_the_cores_are_a_table(program):
    taken = resources(map_program(program, TARGET).graph)
    rows = list(csv.DictReader(io.StringIO(to_csv(taken.per_core))))
    assert [int(row["neurons"]) for row in rows] == [core.neurons for core in taken.per_core]
    assert {row["populations"] for row in rows} <= {"a", "a out", "out"}


def test_what_is_linked_is_put_on_the_same_chip():
    """Two rings of eight cores, every other core of the order in each."""
    ring = [(c, (c + 2) % 16) for c in range(16)]
    edges = tuple(np.array(each) for each in (*zip(*ring, strict=True), [10] * 16))
    chips = spread(16, 8, edges)
    assert np.bincount(chips).tolist() == [8, 8]
    assert crossing(chips, edges) <= 40
    assert crossing(np.arange(16) // 8, edges) == 40
    pairs = tuple(np.array(each) for each in (range(8), range(15, 7, -1), [1] * 8))
    assert crossing(spread(16, 8, pairs), pairs) == 0


def test_traffic_between_chips_is_reported_and_limited(program, monkeypatch):
    two = with_values(TARGET, cores_per_chip=3, chips=2)
    (link,) = resources(map_program(program, two).graph).between_chips
    assert (link.sender, link.reader) in {(0, 1), (1, 0)}
    counted = []
    original = core_rules.between_chips
    monkeypatch.setattr(core_rules, "between_chips", lambda *a: counted.append(a) or original(*a))
    enough = with_values(two, link_messages_per_step=link.messages)
    assert map_program(program, enough).graph.chips == 2
    with pytest.raises(CapacityError, match=f"up to {link.messages} messages") as caught:
        map_program(program, with_values(two, link_messages_per_step=link.messages - 1))
    assert caught.value.code == "link-bandwidth"
    assert not counted  # the placement has counted them
