"""Folders and lists of files: classes, links, drawing, and hashes."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from image_sets import folder_of, pixels
from snn_compile.errors import CompileError, UsageError
from snn_compile.samples import readers
from snn_compile.samples.readers import Request, open_samples
from snn_compile.samples.readers.digest import content_hash, files_of
from snn_compile.samples.readers.drawing import drawn
from snn_compile.sweep.inputs import _data

SHAPE = (3, 6, 5)


def opened(path, **request):
    return open_samples(path, Request({"x": SHAPE}, **request))


def test_folders_are_classes_in_the_order_of_their_names(tmp_path):
    images = pixels(5)
    folder_of(tmp_path, images, ["dog", "cat", "dog", "bird", "cat"])
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / "Thumbs.db").write_bytes(b"x")
    content = opened(tmp_path)
    assert content.classes == ("bird", "cat", "dog")
    assert content.labels["y"].tolist() == [0, 1, 1, 2, 2]
    assert (content.arrays["x"][:] == images[[3, 1, 4, 0, 2]].transpose(0, 3, 1, 2)).all()


def test_stated_classes_give_the_order(tmp_path):
    folder_of(tmp_path, pixels(3), ["dog", "cat", "dog"])
    content = opened(tmp_path, classes=("horse", "dog", "cat"))
    assert content.labels["y"].tolist() == [2, 1, 1]
    with pytest.raises(CompileError, match="no class of the name cat"):
        opened(tmp_path, classes=("horse", "dog"))


@pytest.mark.parametrize("names", [["1", "2"], ["0", "1", "10", "2"], ["0", "2"]])
def test_numbers_whose_order_is_unclear_are_refused(tmp_path, names):
    folder_of(tmp_path, pixels(len(names)), names)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path)
    assert caught.value.code == "ambiguous-classes"
    assert opened(tmp_path, classes=tuple(names)).classes == tuple(names)


def test_numbers_in_order_are_labels(tmp_path):
    folder_of(tmp_path, pixels(3), ["1", "0", "2"])
    assert opened(tmp_path).labels["y"].tolist() == [0, 1, 2]


def test_links_do_not_leave_the_folder(tmp_path):
    outside = folder_of(tmp_path / "other", pixels(1), ["a"]) / "a"
    root = folder_of(tmp_path / "set", pixels(2), ["a", "b"])
    os.symlink(root / "a" / "0000.png", root / "a" / "again.png")
    assert len(opened(root)) == 3
    os.symlink(outside / "0000.png", root / "a" / "file.png")
    os.symlink(outside, root / "c")
    with pytest.raises(CompileError) as caught:
        opened(root)
    assert {str(error.origin) for error in caught.value.errors} == {
        str(root / "a" / "file.png"),
        str(root / "c"),
    }
    with pytest.raises(CompileError, match="leaves"):
        content_hash(root)


def test_what_is_no_sample_is_named(tmp_path):
    folder_of(tmp_path, pixels(2), ["a", "b"])
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "b" / "clip.gif").write_bytes(b"GIF89a" + bytes(30))
    (tmp_path / "b" / "empty.png").write_bytes(b"")
    with pytest.raises(CompileError) as caught:
        opened(tmp_path)
    assert [str(error.origin).rsplit(os.sep, 1)[1] for error in caught.value.errors] == [
        "notes.txt",
        "clip.gif",
        "empty.png",
    ]
    assert "GIF" in caught.value.errors[1].message


@pytest.mark.parametrize(
    ("name", "start", "said", "hint"),
    [
        ("a.aedat4", b"#!AER-DAT4.0" + bytes(20), "AEDAT recording", "tonic"),
        ("a.avi", b"RIFF\x24\0\0\0AVI LIST", "AVI video", "PNG"),
        ("a.flac", b"fLaC" + bytes(20), "FLAC audio", "PNG"),
    ],
)
def test_known_kinds_that_no_reader_reads_are_refused_by_name(tmp_path, name, start, said, hint):
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / name).write_bytes(start)
    for path in (tmp_path, tmp_path / "dog" / name):
        with pytest.raises(UsageError, match=said) as caught:
            opened(path)
        assert hint in caught.value.hint


def test_every_named_reader_exists():
    for place in (*readers._READERS.values(), *readers._READERS_OF_FILES.values()):
        assert callable(readers._reader(place))


def test_names_that_are_no_text_and_deep_folders_are_refused(tmp_path):
    folder_of(tmp_path, pixels(1), ["a"])
    os.mkdir(os.fsencode(tmp_path) + b"/\xff")
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        opened(tmp_path, part="drawn")
    assert str(caught.value.origin).endswith("\\xff")
    (tmp_path / "deep" / "/".join("d" * 70)).mkdir(parents=True)
    with pytest.raises(UsageError, match="64 folders deep"):
        opened(tmp_path / "deep")


def test_arrays_in_folders_of_classes_are_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.zeros((2, *SHAPE)))
    with pytest.raises(UsageError, match="array for itself"):
        opened(tmp_path)
    (tmp_path / "list.csv").write_text("file,label\na/x.npy,0\nb/x.npy,1\n")
    with pytest.raises(UsageError, match="array for itself"):
        opened(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("text", "code", "classes"),
    [
        ("path,label\na/0000.png,1\na/0000.png,cat\n", "bad-labels", ()),
        ("path,label\na/0000.png,1.0\na/0000.png,10.0\n", "bad-labels", ()),
        ("path,label\na/0000.png,\na/0000.png,cat\n", "bad-labels", ()),
        ("path,label\na/0000.png,1\n", "ambiguous-classes", ("1", "0")),
        ("a/9.png,0\na/0000.png,1\n", "no-such-file", ()),
        (f"path,label\n{'a' * 5000},1\na/0000.png,1\n", "no-such-file", ()),
    ],
)
def test_tables_that_would_be_misread_are_refused(tmp_path, text, code, classes):
    folder_of(tmp_path, pixels(1), ["a"])
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "list.csv", classes=classes)
    assert caught.value.code == code
    assert len(str(caught.value)) < 1000


def test_names_in_tables_may_have_blanks_and_be_absolute(tmp_path, monkeypatch):
    folder_of(tmp_path / "set", pixels(2), ["a", "a"])
    (tmp_path / "set" / "list.csv").write_text("file, label\n a/0000.png, 1\na/0001.png, 0\n")
    assert opened(tmp_path / "set" / "list.csv").labels["y"].tolist() == [1, 0]
    known = content_hash(tmp_path / "set" / "list.csv")
    (tmp_path / "set" / "list.csv").write_text(f"file\n{tmp_path}/set/a/0000.png\n")
    monkeypatch.chdir(tmp_path)
    assert content_hash(Path("set/list.csv")) != known
    assert files_of(Path("set/list.csv")) == [Path("set/a/0000.png")]
    (tmp_path / "set" / "list.csv").write_text("file\n../set/a/0000.png\n")
    with pytest.raises(UsageError, match="elsewhere"):
        opened(tmp_path / "set" / "list.csv")


def test_the_points_of_a_sweep_depend_on_all_files_of_a_set(tmp_path):
    folder_of(tmp_path / "set", pixels(2), ["a", "b"])
    (tmp_path / "set" / "list.csv").write_text("a/0000.png,0\na/0000.png,1\n")
    listed = _data(tmp_path / "set" / "list.csv")
    assert [*listed.together] == ["list.csv", "a/0000.png"]
    os.remove(tmp_path / "set" / "list.csv")
    folder = _data(tmp_path / "set")
    assert [*folder.together] == ["set/a/0000.png", "set/b/0001.png"]
    (tmp_path / "set" / "b" / "0001.png").write_bytes(b"other")
    assert _data(tmp_path / "set").group != folder.group


def test_a_table_names_files_and_labels(tmp_path):
    images = pixels(3)
    folder_of(tmp_path, images, ["i"] * 3)
    table = tmp_path / "list.csv"
    table.write_text("path,label\ni/0002.png,dog\ni/0000.png,cat\n")
    content = opened(table)
    assert content.labels["y"].tolist() == [1, 0]
    assert content.classes == ("cat", "dog")
    assert (content.arrays["x"][:] == images[[2, 0]].transpose(0, 3, 1, 2)).all()
    table.write_text("i/0002.png;4\ni/0001.png;0\n")
    assert opened(table).labels["y"].tolist() == [4, 0]
    table.write_text("path,label\ni/0002.png,dog\n../x.png,cat\ni/9.png,cat\n")
    with pytest.raises(CompileError) as caught:
        opened(table)
    assert len(caught.value.errors) == 2


def test_the_same_number_of_each_class_is_drawn():
    labels = [k % 3 if k < 90 else 3 for k in range(94)]
    keys = [f"{k}.png" for k in range(94)]
    chosen = drawn(keys, labels, 40, 0)
    counts = Counter(labels[k] for k in chosen)
    assert counts == {0: 12, 1: 12, 2: 12, 3: 4}
    assert chosen.tolist() == drawn(keys, labels, 40, 0).tolist()
    assert chosen.tolist() != drawn(keys, labels, 40, 1).tolist()
    assert [labels[k] for k in chosen[:8]] == [0, 1, 2, 3, 0, 1, 2, 3]
    # Neither the order of the folder nor what is not drawn changes what is.
    back = drawn(keys[::-1], labels[::-1], 40, 0)
    assert {keys[k] for k in chosen} == {keys[::-1][k] for k in back}
    assert len(drawn(keys, None, 1000, 0)) == 94


def test_a_folder_given_to_both_is_split_without_copies(tmp_path):
    images = pixels(20)
    images[19] = images[0]
    folder_of(tmp_path, images, ["a", "b"] * 10)
    parts = [opened(tmp_path, part=part, n_drawn=16) for part in ("half", "rest")]
    ours, theirs = (
        {content.arrays["x"][k : k + 1].tobytes() for k in range(len(content))} for content in parts
    )
    assert len(parts[0]) == 10
    assert not ours & theirs
    assert len(ours | theirs) == 19
    assert sorted(parts[0].labels["y"][:]) == [0] * 5 + [1] * 5


def test_the_first_samples_to_evaluate_are_of_all_classes(tmp_path):
    """Stages in floating point are evaluated on the first samples only."""
    folder_of(tmp_path, pixels(12), ["a"] * 4 + ["b"] * 4 + ["c"] * 4)
    mixed = opened(tmp_path, part="mixed")
    assert mixed.labels["y"][:].tolist() == [0, 1, 2] * 4
    assert opened(tmp_path).labels["y"][:].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_the_hash_is_that_of_the_content(tmp_path):
    hashes = []
    for name, seed, labels in [("p", 0, "ab"), ("q", 0, "ab"), ("r", 0, "ba"), ("s", 1, "ab")]:
        hashes.append(content_hash(folder_of(tmp_path / name, pixels(2, seed), [*labels])))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    table = tmp_path / "p" / "list.csv"
    table.write_text("file,label\na/0000.png,0\n")
    before = content_hash(table)
    (tmp_path / "p" / "a" / "0000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert content_hash(table) != before


@pytest.mark.parametrize("name", ["nothing", "nothing.npz", "nothing.csv"])
def test_a_missing_path_is_named(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / name)
    assert caught.value.code == "no-such-file"


def test_an_empty_folder_has_no_samples(tmp_path):
    with pytest.raises(UsageError, match="no samples"):
        opened(tmp_path)
    assert np.array_equal(drawn([], None, 4, 0), [])
