"""A name in a stranger's model file is text: no part of it is ever run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import hostile
from snn_compile.cli import main


def payload(marker: Path, indent: str) -> str:
    return f"{indent}open({str(marker)!r}, 'w').close()"


def compiled(folder: Path, name: str) -> Path:
    hostile.write_model(folder / "net.onnx", name)
    target = folder / "net.snn"
    assert main([str(folder / "net.onnx"), "-o", str(target), "-q", "-T", "4"]) == 0
    return target


@pytest.mark.parametrize("line_break", hostile.BREAKS.values(), ids=hostile.BREAKS)
@pytest.mark.parametrize("indent", ["", "    "])
def test_emitted_text_is_the_same_whatever_the_names(tmp_path, line_break, indent):
    marker = tmp_path / "marker"
    texts = []
    for place, name in (("a", ""), ("b", line_break + payload(marker, indent) + " #")):
        (tmp_path / place).mkdir()
        lava = compiled(tmp_path / place, name) / "lava"
        files = [path for path in lava.rglob("*") if path.suffix in (".py", ".md")]
        texts.append({path.relative_to(lava): path.read_bytes() for path in files})
    assert len(texts[0]) == 10
    assert texts[0] == texts[1]


@pytest.mark.lava
@pytest.mark.parametrize("line_break", ["\n", "\r"])
def test_verify_runs_nothing_of_a_name(lava_environment, tmp_path, line_break):
    """With the indentation of a function's body, where the name once stood in a comment."""
    marker = tmp_path / "marker"
    folder = compiled(tmp_path, line_break + payload(marker, "    ") + " #")
    status = main(["verify", str(folder), "--against", "lava", "--stimuli", "2", "-q"])
    assert not marker.exists()
    assert status == 0


def test_names_become_no_paths(tmp_path):
    """Neither of files nor of arrays in archives, which somebody may unpack."""
    folder = compiled(tmp_path, "/../../../escaped")
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    assert not [name for name in names if "escaped" in name]
    for path in folder.rglob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            assert not [name for name in archive.namelist() if "/" in name or ".." in name], path
