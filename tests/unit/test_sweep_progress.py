"""The record that a running sweep keeps of its progress."""

from __future__ import annotations

import time

import pytest

from snn_compile.pipeline import progress_record
from snn_compile.pipeline.work import folder_of
from snn_compile.sweep import progress
from snn_compile.sweep.run import SilentSweepObserver


def until(condition) -> bool:
    """Whether a condition comes to hold."""
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)


def test_points_are_counted_and_those_that_run_are_named(quick, tmp_path):
    folder, model = tmp_path / "a.sweep", tmp_path / "m.onnx"
    place = folder_of(folder)

    def stages():
        record = progress_record.read(place)
        return {s["stage"]: (s["state"], s["done"], s["total"]) for s in record["stages"]}

    with progress.recorded(SilentSweepObserver(), folder, model) as observer:
        observer.begin(5, 2)
        observer.started("x")
        observer.started("y")
        assert until((place / progress_record.RECORD).exists)
        assert until(lambda: "y" in stages())
        assert stages()["points"] == ("running", 0, 3)
        observer.finished({"name": "x", "state": "done", "seconds": 2.5})
        assert until(lambda: stages()["points"][1] == 1)
        assert (stages()["x"][0], stages()["y"][0]) == ("done", "running")
        record = progress_record.read(place)
        assert (record["output"], record["model"]) == ("a.sweep", "m.onnx")
    assert not place.exists()


def test_it_ends_with_the_sweep_and_leaves_what_is_not_its_own(quick, tmp_path):
    folder = tmp_path / "a.sweep"
    place = folder_of(folder)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (it has to come from within)
        with progress.recorded(SilentSweepObserver(), folder, tmp_path / "m.onnx"):
            assert until((place / progress_record.RECORD).exists)
            raise KeyboardInterrupt
    assert not place.exists()
    place.mkdir()
    (place / "other").write_text("kept")
    with progress.recorded(SilentSweepObserver(), folder, tmp_path / "m.onnx"):
        time.sleep(0.1)
    assert [one.name for one in place.iterdir()] == ["other"]
