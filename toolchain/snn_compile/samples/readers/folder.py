"""Folders of samples: a folder for each class, or files without labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from snn_compile.errors import CompileError, UsageError
from snn_compile.files.documents import describe_error, inside
from snn_compile.samples.readers.content import complaint, raise_some

MAX_CLASSES = 100_000
MAX_DEPTH = 64
"""Of folders in the folder of a class."""
_OF_SYSTEMS = ("thumbs.db", "desktop.ini", "__macosx")
"""Entries that operating systems leave behind; so do names that begin with a dot."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder.

    Attributes:
        files: in the order of their names, class by class.
        labels: a class for each; None in a folder without classes.
        classes: names of the classes in their order.
        keys: the path of each within the folder.
    """

    files: Sequence[Path]
    labels: list[int] | None
    classes: tuple[str, ...]
    keys: list[str]


def listed(root: Path, classes: Sequence[str] = ()) -> Listing:
    """The files of a folder, with labels by the folders that they lie in.

    Args:
        root: the folder.
        classes: names in their order; without them, folders are counted in the order of names.

    Raises:
        UsageError: it is empty or ambiguous, or a link leads out of it; all complaints at once.
    """
    folders, loose, errors = list[Path](), list[Path](), list[CompileError]()
    for entry in _entries(root, errors):
        (folders if entry.is_dir() else loose).append(entry)
    if folders and loose:
        some = ", ".join(entry.name for entry in loose[:3])
        errors.append(
            complaint(
                root,
                f"it has folders, and files beside them: {some}",
                "unreadable-data",
                "put every file into the folder of its class",
            )
        )
    if not folders:
        raise_some(errors, root, "files")
        return _checked(root, Listing(loose, None, (), [entry.name for entry in loose]))
    names = [folder.name for folder in folders]
    if not classes:
        errors += _unclear(root, names)
        classes = names
    elif unknown := [name for name in names if name not in classes]:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        errors.append(
            complaint(
                root,
                f"--labels has no class of the name {shown}",
                "bad-class-names",
                "name the folders as the classes",
            )
        )
    elif twice := [name for name in names if list(classes).count(name) > 1]:
        errors.append(
            complaint(
                root,
                f"--labels has two classes of the name {twice[0]}",
                "bad-class-names",
                "give each a name of its own, to the folders too",
            )
        )
    files, labels, keys = list[Path](), list[int](), list[str]()
    for folder in folders:
        found = list(_files_below(folder, errors))
        files += found
        keys += [file.relative_to(root).as_posix() for file in found]
        if folder.name in classes:
            labels += [list(classes).index(folder.name)] * len(found)
    raise_some(errors, root, "files")
    return _checked(root, Listing(files, labels, tuple(classes), keys))


def _checked(root: Path, listing: Listing) -> Listing:
    if not listing.files:
        raise complaint(root, "it holds no samples", "empty-data", "give a folder with files")
    return listing


def _entries(folder: Path, errors: list[CompileError]) -> Iterator[Path]:
    """The entries that count, by name; links out of the folder are complaints."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        text = f"cannot be read: {describe_error(error)}"
        errors.append(complaint(folder, text, "unreadable-data", "check its permissions"))
        return
    for entry in found:
        if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
            continue
        path = folder / entry.name
        if not _is_text(entry.name):
            shown = folder / os.fsencode(entry.name).decode(errors="backslashreplace")
            text, hint = "its name is not UTF-8", "rename it"
            errors.append(complaint(shown, text, "unreadable-data", hint))
            continue
        if entry.is_symlink():
            try:
                inside(folder, entry.name)
            except (ValueError, OSError, RuntimeError):
                errors.append(_leaves(path))
                continue
        yield path


def _is_text(name: str) -> bool:
    """Whether the bytes of a name are text, which reports and hashes need."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _files_below(folder: Path, errors: list[CompileError], depth: int = 0) -> Iterator[Path]:
    """All files of a class, in folders within folders."""
    if depth > MAX_DEPTH:
        text = f"it lies more than {MAX_DEPTH} folders deep"
        hint = "put the files of a class into fewer folders"
        errors.append(complaint(folder, text, "unreadable-data", hint))
        return
    for entry in _entries(folder, errors):
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink():
            errors.append(_leaves(entry))  # it may lead in a circle
        else:
            yield from _files_below(entry, errors, depth + 1)


def files_below(root: Path) -> list[Path]:
    """All files of a data set that is a folder.

    Raises:
        UsageError: links lead out of it.
    """
    errors = list[CompileError]()
    found = list(_files_below(root, errors))
    raise_some(errors, root, "files")
    return found


def _leaves(path: Path) -> UsageError:
    return complaint(
        path,
        "it is a link that leaves its folder",
        "unreadable-data",
        "copy what it leads to, or name that folder instead",
    )


def _unclear(root: Path, names: Sequence[str]) -> list[CompileError]:
    """Numbers as names, whose order as texts is another one."""
    if not all(name.isascii() and name.isdigit() for name in names):
        return []
    if [int(name) for name in names] == list(range(len(names))):
        return []
    return [
        complaint(
            root,
            f"its folders are numbers, but not 0 to {len(names) - 1} in the order of names"
            f" ({', '.join(names[:4])}, ...)",
            "ambiguous-classes",
            "state the classes with --labels FILE: the names of the folders, one a line, in the"
            " order of the network's outputs",
        )
    ]


def check_number(root: Path, found: int, n_classes: int) -> None:
    """Compare the number of named classes with that of the network.

    Raises:
        UsageError: they differ, so that nobody knows which class is which.
    """
    if found != n_classes:
        raise complaint(
            root,
            f"it names {found} classes, and the network has {n_classes}",
            "ambiguous-classes",
            "state all classes with --labels FILE: one name a line, in the order of the network's"
            " outputs",
        )
