"""The grid of a sweep: axes, points, names, what is refused before any work, and fronts."""

from __future__ import annotations

import pytest

from snn_compile.errors import CompileError, CompileErrors, UsageError
from snn_compile.options import CompileOptions
from snn_compile.sweep.axes import MAX_POINTS, grid_of, read_grid
from snn_compile.sweep.goal import parse_goal
from snn_compile.sweep.pareto import front
from snn_compile.sweep.points import expand
from snn_compile.sweep.prediction import in_order


def points_of(axes, points=(), is_spiking=False):
    return expand(grid_of(axes, points), CompileOptions().override, is_spiking=is_spiking)


def codes(raised: CompileError) -> list[str]:
    return [one.code for one in getattr(raised, "errors", (raised,))]


def test_lists_on_the_command_line_are_axes_and_single_values_are_fixed():
    words = {"coding": "graded,rate", "timesteps": "8, 16", "seed": "3", "mean_values": "0.5,0.25"}
    grid = read_grid(None, words)
    assert grid.axes == {"coding": ("graded", "rate"), "timesteps": (8, 16)}
    assert grid.fixed == {"seed": 3, "mean_values": (0.5, 0.25)}
    assert grid.size == 4


def test_a_list_may_be_longer_than_a_file_name():
    many = range(1, 129)
    assert read_grid(None, {"timesteps": ",".join(map(str, many))}).axes["timesteps"] == (*many,)


def test_a_grid_file_has_lists_points_and_exclusions_and_the_command_line_wins(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text(
        'calibrate = "x.npz"\ncoding = ["graded", "radix"]\nweight-bits = [4, 8]\n'
        'emit = [["lava"], ["lava", "nir"]]\nscale_values = [2.0, 4.0]\noutputs = []\n'
        '[[exclude]]\ncoding = "radix"\nweight_bits = 4\n'
        '[[points]]\ncoding = "rate"\ntimesteps = 64\n'
    )
    grid = read_grid(file, {"weight_bits": "6,8"})
    fixed = {"calibrate": tmp_path / "x.npz", "scale_values": (2.0, 4.0), "outputs": ()}
    assert grid.fixed == fixed
    assert grid.axes["weight_bits"] == (6, 8)
    assert grid.axes["emit"] == (("lava",), ("lava", "nir"))
    assert grid.points == ({"coding": "rate", "timesteps": 64},)
    assert grid.excludes({"coding": "radix", "weight_bits": 4, "timesteps": 8})
    assert not grid.excludes({"coding": "radix", "weight_bits": 6})
    assert grid.origins["coding"] == f"{file}:coding"


def test_all_complaints_about_a_grid_come_at_once(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('weight_bits = [4, 9]\nbogus = 1\nevaluate = ["a.npz", "b.npz"]\n')
    with pytest.raises(CompileErrors) as raised:
        read_grid(file, {"coding": "graded,grated", "timesteps": "x,,0"})
    messages = [one.message for one in raised.value.errors]
    wanted = ("bogus", "weight-bits cannot be 9", "evaluate", "'grated'", "'x'", "be 0")
    assert all(any(word in message for message in messages) for word in wanted), messages
    assert len(messages) == 7  # and the empty one


def test_values_that_do_not_apply_together_are_skipped_with_the_reason():
    points, skipped = points_of({"coding": ["graded", "radix"], "timesteps": [8, 32]})
    assert [point.name for point in points] == ["graded", "radix-T8"]
    assert points[0].note == "without timesteps: coding is graded"
    assert not points[0].options.is_given("timesteps")
    reasons = {one.name: one.reason for one in skipped}
    assert reasons["graded-T32"].startswith("the same as graded")
    assert "at most 16 steps" in reasons["radix-T32"]


def test_the_default_coding_decides_too_and_options_depend_on_each_other():
    points, skipped = points_of({"timesteps": [8, 16]})
    assert (len(points), len(skipped)) == (1, 1)
    points, _ = points_of({"equalize": ["none", "l4"], "per_layer": [True, False]})
    assert [point.name for point in points] == [
        "equalize-none-per-layer-on",
        "equalize-none-per-layer-off",
        "equalize-l4",
    ]
    points, _ = points_of({"neurons": ["any", "stock"], "timesteps": [4, 8]})
    assert [point.name for point in points] == [
        "neurons-any",
        *(f"neurons-stock-T{t}" for t in (4, 8)),
    ]


def test_of_a_network_with_spikes_no_conversion_option_applies():
    points, _ = points_of({"coding": ["rate", "sync"], "weight_bits": [4, 8]}, is_spiking=True)
    assert {point.options.weight_bits for point in points} == {4, 8}
    assert points[0].coding is None


def test_explicit_points_stand_beside_the_product_and_duplicates_run_once():
    own = [{"coding": "rate", "timesteps": 8}, {"coding": "rate", "timesteps": 8}]
    points, skipped = points_of({"coding": ["rate"], "timesteps": [8, 16]}, own)
    assert [point.options.timesteps for point in points] == [8, 16]
    assert [one.reason for one in skipped] == ["the same as T8"] * 2


def test_what_every_point_is_refused_for_is_refused():
    with pytest.raises(UsageError, match="at most 16 steps, not 20"):
        points_of({"coding": ["radix"], "timesteps": [20]})
    with pytest.raises(CompileErrors) as raised:
        points_of({"target": ["loihi2", "loihi9", "loihi8"]})
    assert codes(raised.value) == ["unknown-target"] * 2
    many = {name: list(range(2, 9)) for name in ("weight_bits", "input_bits", "payload_bits")}
    many |= {"seed": list(range(MAX_POINTS // 49))}
    with pytest.raises(UsageError, match="above its limit"):
        grid_of(many)


def test_names_are_folder_names_and_differ():
    axes = {"thresholds": ["max", "percentile:99.9", "percentile:99:9"[:13]], "seed": [0]}
    points, _ = points_of(axes)
    assert points[1].name == "thresholds-percentile-99.9"
    layers = [
        {"a/b*": {"weight_bits": 4}},
        {"a/b*": {"weight_bits": 5}},
        {"../x": {"weight_bits": 4}},
    ]
    points, _ = points_of({"layers": layers})
    names = [point.name for point in points]
    assert len(set(names)) == 3
    assert all("/" not in name and not name.startswith(".") and len(name) < 100 for name in names)


def test_points_are_ordered_from_cheap_to_dear():
    axes = {"coding": ["rate", "radix", "graded"], "timesteps": [16, 4], "weight_bits": [8, 4]}
    points, _ = points_of(axes)
    by_energy = [point.name for point in in_order(points, "energy")]
    assert by_energy[:4] == ["graded-w4", "graded-w8", "rate-T4-w4", "radix-T4-w4"]
    assert set(by_energy[-2:]) == {"rate-T16-w8", "radix-T16-w8"}
    by_cores = [point.options.weight_bits for point in in_order(points, "cores")]
    assert by_cores == sorted(by_cores)


def test_conditions():
    goal = parse_goal("drop<1 and cores <= 4 and accuracy>9e1")
    assert goal.holds({"drop": 0.9, "cores": 4, "accuracy": 90.5})
    assert not goal.holds({"drop": 1.0, "cores": 4, "accuracy": 90.5})
    assert not goal.holds({"drop": None, "cores": 4, "accuracy": 90.5})
    assert not goal.holds({"cores": 4})
    assert str(goal) == "drop < 1 and cores <= 4 and accuracy > 90"
    assert goal.measured == ["drop", "accuracy"]


@pytest.mark.parametrize(
    ("text", "errors"),
    [("drop", 1), ("drop<1 and", 1), ("drop==1", 1), ("foo<1 and bar>2", 2), ("drop<nan", 1),
     ("drop<1 or cores<2", 1), ("1<drop", 1), ("__import__('os')<1", 1), ("", 1)],
)  # fmt: skip
def test_anything_else_is_no_condition(text, errors):
    with pytest.raises(CompileError) as raised:
        parse_goal(text)
    assert codes(raised.value) == ["bad-condition"] * errors


def test_a_front_has_the_points_that_no_other_surpasses():
    table = [("a", 90, 5), ("b", 92, 7), ("c", 91, 8), ("d", 92, 7), ("e", 90, 6), ("f", None, 1)]
    points = [{"name": n, "accuracy": y, "energy": x} for n, y, x in table]
    assert front(points, "energy") == ["a", "b", "d"]
    assert front([{"name": "r", "accuracy": -40.0, "cores": 1}], "cores") == ["r"]
    for point in points[:-1]:  # by definition
        better = any(
            (o["accuracy"], -o["energy"]) != (point["accuracy"], -point["energy"])
            and o["accuracy"] >= point["accuracy"]
            and o["energy"] <= point["energy"]
            for o in points[:-1]
        )
        assert (point["name"] in front(points, "energy")) is not better
