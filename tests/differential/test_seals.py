"""A network compiled anywhere has the same seal: BLAS kernels, threads, engine and numpy aside."""

from __future__ import annotations

import json

import pytest

import seals


@pytest.fixture(scope="module")
def here(once):
    """The seals that this process computes, once for all workers."""

    def make(folder):
        (folder / "seals.json").write_text(json.dumps(seals.seals()))

    return json.loads((once("seals", make) / "seals.json").read_text())


@pytest.mark.parametrize(
    "environment", [seals.NARROW, pytest.param(seals.WIDE, marks=pytest.mark.slow)]
)
def test_seals_are_the_same_in_other_environments(here, environment):
    if environment not in (known := seals.environments()):
        pytest.skip(f"{environment}: this CPU cannot run it")
    assert seals.run(known[environment]) == here


def test_all_cases_are_different_networks(here):
    assert len(set(here.values())) == len(seals.CASES)


@pytest.mark.slow
@pytest.mark.parametrize("environment", seals.environments())
def test_seals_of_large_networks_are_the_same(shared_data, environment):
    expected = seals.run(seals.environments()["as it comes"], seals.LARGE)
    assert seals.run(seals.environments()[environment], seals.LARGE) == expected


@pytest.mark.slow
def test_seals_are_the_same_with_other_pythons_and_numpys(here):
    found = seals.by_python()
    assert len(found) >= 2, "only this Python is here"
    assert found == dict.fromkeys(found, here)
