"""The drawings of the chips and of the traffic between layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from network_builder import INPUT, Builder
from snn_compile.ir.spiking import InputCoding
from snn_compile.mapping import map_program, resources
from snn_compile.mapping.counts import counts_of
from snn_compile.report import html
from snn_compile.report.chip import chips
from snn_compile.report.shares import Bar, shares
from snn_compile.report.traffic import traffic
from snn_compile.targets import load_target


def core(number: int, percent: float, *layers: str, chip: int = 0) -> dict[str, Any]:
    return {"core": number, "chip": chip, "percent": percent, "populations": list(layers)}


def report(cores: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": 1,
        "layers": [
            {"name": "conv", "neurons": 100, "spikes_per_inference": 50.0},
            {"name": "fc", "neurons": 10, "spikes_per_inference": None},
        ],
        "resources": {
            "cores": len(cores),
            "chips": 1 + max(c["chip"] for c in cores),
            "per_core": cores,
            "links": [
                {"source": "input", "target": "conv", "axons": 64},
                {"source": "conv", "target": "fc", "axons": 300},
            ],
        },
    }


def test_every_core_is_a_tile_with_its_text() -> None:
    given = report([core(0, 50.0, "conv"), core(1, 100.0, "conv", "fc"), core(2, 10.0, "fc")])
    drawing = chips(given)
    assert drawing is not None
    assert [tile.layer for tile in drawing.tiles] == ["conv", "conv +1", "fc"]
    assert [tile.title for tile in drawing.tiles] == ["0: 50 %", "1: 100 %", "2: 10 %"]
    assert [tile.fill for tile in drawing.tiles] == [23.0, 46, 4.6]  # of 46
    assert [len(tile.stripes) for tile in drawing.tiles] == [1, 2, 1]
    assert [words for _, _, words in drawing.legend] == ["2 cores", "2 cores"]
    assert html.render(given).count('class="use"') == 4


def test_neighbours_share_a_tile_where_there_are_many() -> None:
    cores = [core(i, 60.0 + i % 7, "conv", chip=i // 128) for i in range(300)]
    drawing = chips(report([*cores, core(300, 5.0, "fc", chip=2)]))
    assert drawing is not None
    assert [board.label for board in drawing.boards] == [
        "chip 0 · 128 cores",
        "chip 1 · 128 cores",
        "chip 2 · 45 cores",
    ]
    assert [tile.title for tile in drawing.tiles] == [
        "0–127: 60 to 66 %",
        "128–255: 60 to 66 %",
        "256–299: 60 to 66 %",
        "300: 5 %",
    ]


def test_traffic_counts_messages_for_each_block_that_they_reach() -> None:
    drawing = traffic(report([core(0, 50.0, "conv"), core(1, 10.0, "fc")]))
    assert drawing is not None
    # 300 axons x 50 spikes of 100 neurons; the input counts as one message a value.
    assert drawing.links == (("conv", "fc", "150"), ("input", "conv", "64"))
    assert [stop.name for stop in drawing.stops] == ["input", "conv", "fc"]
    assert drawing.arcs[1].width > drawing.arcs[0].width
    assert traffic({"resources": {"links": []}}) is None
    assert chips({"resources": {"per_core": []}}) is None


def test_links_of_a_mapped_network_are_what_its_blocks_read() -> None:
    net = Builder(0, (2, 9, 9), n_steps=4, coding=InputCoding.CURRENT)
    first = net.neurons("subtract", net.conv(INPUT, 4))
    # Two groups of one source into one layer, and a chip that pays for a soft reset.
    second = net.neurons("subtract", net.conv(first, 4), net.conv(first, 4))
    net.neurons("readout", net.dense(second, 3))
    program = net.build()
    target = load_target("loihi1")
    small = replace(target, input_axons_per_core=replace(target.input_axons_per_core, value=300))
    mapped = map_program(program, small).graph
    expected: Counter[tuple[str, str]] = Counter()
    for population in program.populations:
        blocks = [p.block for p in mapped.placements if p.population == population.id]
        for group in program.synapses_into(population):
            (source,) = group.inputs
            counts = counts_of(group, program.graph[source].shape)
            expected[source, population.id] += sum(map(counts.sources, blocks))
    assert len(mapped.placements) > 3
    axons = {(link.source, link.target): link.axons for link in resources(mapped).links}
    assert axons == expected


def test_each_layer_has_bars_beside_its_bound() -> None:
    given = report([core(0, 50.0, "conv"), core(1, 100.0, "conv", "fc")])
    for layer, energy in zip(given["layers"], (3e-6, 1e-6), strict=True):
        layer["energy"] = {"value": energy, "low": energy, "high": 2 * energy, "unit": "J"}
    given["resources"]["lower_bound"] = {
        "cores": 2,
        "used": 2,
        "layers": [
            {"layer": "conv", "rule": "neurons", "bound": 100, "used": 150, "limit": 100},
            {"layer": "conv", "rule": "output axons", "bound": 9, "used": 14, "limit": 10},
            {"layer": "conv", "rule": "input axons", "bound": 900, "used": 900, "limit": None},
            {"layer": "fc", "rule": "neurons", "bound": 30, "used": 30, "limit": 100},
        ],
    }
    conv, fc = shares(given)
    assert conv.cores == Bar("1.5, bound 1.0, on 2 cores", 1.0, 1 / 1.5)
    assert fc.cores == Bar("0.3, bound 0.3, on 1 core", 0.3 / 1.5, 0.3 / 1.5)
    assert conv.energy == Bar("3 µJ", 1.0)
    assert fc.energy == Bar("1 µJ", 1 / 3)
    assert conv.time is None
    assert 'style="left:66.7%"' in html.render(given)
