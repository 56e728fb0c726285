"""A configuration beside a model, which nobody asked for, names files of its folder only."""

from __future__ import annotations

import shutil

import pytest

from snn_compile.cli import main, tune
from snn_compile.errors import UsageError


@pytest.fixture
def folder(examples, tmp_path):
    """A model and its data as somebody has sent them, and data of one's own."""
    folder = tmp_path / "sent"
    folder.mkdir()
    shutil.copy(examples / "digits_mlp.onnx", folder / "net.onnx")
    shutil.copy(examples / "digits_calibrate.npz", folder / "theirs.npz")
    shutil.copy(examples / "digits_calibrate.npz", tmp_path / "mine.npz")
    (folder / "link.npz").symlink_to(tmp_path / "mine.npz")
    (folder / "chip.toml").write_text('inherits = "loihi2"\nname = "chip"\n')
    (tmp_path / "chip.toml").write_text('inherits = "loihi2"\nname = "chip"\n')
    (folder / "child.toml").write_text(f'inherits = "{tmp_path}/chip.toml"\nname = "child"\n')
    return folder


def compiled(folder, text, *more):
    (folder / "net.toml").write_text(text + "\ntimesteps = 4\n")
    out = folder.parent / "out.snn"
    return main(["compile", str(folder / "net.onnx"), "-o", str(out), "-q", "--no-emit", *more])


@pytest.mark.parametrize(
    "text",
    [
        'calibrate = "../mine.npz"',
        'calibrate = "{outside}/mine.npz"',
        'evaluate = "link.npz"',
        'evaluate = "/dev/zero"',
        'target = "../chip.toml"',
        'target = "child.toml"',
        'calibrate = "../absent.npz"',
    ],
)
def test_other_files_are_the_users_to_name(folder, capsys, text):
    said = text.replace("{outside}", str(folder.parent))
    assert compiled(folder, said) == 2
    err = capsys.readouterr().err
    assert "error[foreign-path]" in err
    assert "--config" in err
    assert not (folder.parent / "out.snn").exists()


def test_files_of_the_folder_are_read(folder):
    assert compiled(folder, 'calibrate = "theirs.npz"\ntarget = "chip.toml"') == 0


def test_a_user_may_name_the_configuration_or_the_file(folder):
    assert compiled(folder, 'calibrate = "../mine.npz"', "--config", str(folder / "net.toml")) == 0
    mine = str(folder.parent / "mine.npz")
    assert compiled(folder, 'calibrate = "../mine.npz"', "--calibrate", mine) == 0


def test_the_configuration_itself_is_of_the_folder(folder, capsys):
    (folder.parent / "other.toml").write_text("timesteps = 4\n")
    (folder / "net.toml").symlink_to(folder.parent / "other.toml")
    out = str(folder.parent / "out.snn")
    assert main(["compile", str(folder / "net.onnx"), "-o", out, "-q", "--no-emit"]) == 2
    assert "error[foreign-path]" in capsys.readouterr().err


def test_tuning_reads_it_likewise(folder):
    (folder / "net.toml").write_text('calibrate = "../mine.npz"\n')
    with pytest.raises(UsageError) as caught:
        tune._compiling(folder / "net.onnx", {}, None)
    assert caught.value.code == "foreign-path"
