"""Source files of a network, searched by name and identified by hash.

A folder is untrusted. Its names are never paths: a file of that name is searched beside the folder
and in the working folder, links excluded; the user must name all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from snn_compile.errors import CompileError, Origin, UsageError, VerificationError, raise_all
from snn_compile.files.documents import describe_error, sha256
from snn_compile.samples.readers.digest import content_hash as data_hash
from snn_compile.sealed.provenance import DATA, INPUTS, TOOL, Provenance, Source
from snn_compile.targets import available, content_hash

_OPTION = {"model": "M", "calibrate": "D", "evaluate": "D", "placement": "FILE", "target": "FILE"}


def require_repeatable(provenance: Provenance, folder: Path) -> None:
    """Check that recompilation can give the same network.

    Raises:
        UsageError: it was tuned, made from arrays, or made by another version; all at once.
    """
    errors: list[CompileError] = []

    def refuse(message: str, code: str, hint: str) -> None:
        errors.append(UsageError(message, code=code, origin=Origin(str(folder)), hint=hint))

    if provenance.tuned:
        refuse(
            f"it was tuned ({provenance.tuned}), and training depends on the machine",
            "not-reproducible",
            "verify compares it with the reference; --sign records who trained it",
        )
    for kind in DATA:
        if kind in provenance.sources and not provenance.sources[kind].name:
            refuse(
                f"--{kind} were arrays in Python, not a file",
                "not-reproducible",
                "compile from files: calibrate='D.npz'",
            )
    if provenance.tool != TOOL:
        refuse(
            f"{provenance.tool} compiled it, and this is {TOOL}",
            "other-version",
            f"pip install {provenance.tool.replace(' ', '==')}",
        )
    raise_all(errors)


def locate(provenance: Provenance, folder: Path, given: Mapping[str, Path]) -> dict[str, Path]:
    """Absolute paths of a network's source files, by role.

    Args:
        provenance: its provenance.
        folder: its path.
        given: files by role, as named by the user.

    Raises:
        CompileError: ``needs-inputs``, ``other-input`` or ``bad-option``; all complaints at once.
    """
    files: dict[str, Path] = {}
    missing: dict[str, Source] = {}
    errors: list[CompileError] = []
    for kind in INPUTS:
        source = provenance.sources.get(kind)
        if source is None or (kind == "target" and source.name in available()):
            if kind in given:
                errors.append(_needless(kind, folder))
            if source is not None and content_hash(source.name) != source.sha256:
                errors.append(_other(kind, source, Path(source.name)))
            continue
        path = given.get(kind)
        candidates = _candidates(source, folder) if path is None else [path]
        if not candidates:
            missing[kind] = source
            continue
        hashes = {candidate: _hash(kind, candidate, errors) for candidate in candidates}
        right = [candidate for candidate, hash in hashes.items() if hash == source.sha256]
        if right:
            files[kind] = right[0].absolute()
        else:
            errors += [_other(kind, source, wrong) for wrong, hash in hashes.items() if hash]
    if missing:
        errors.insert(0, _needed(missing, folder))
    raise_all(errors)
    return files


def _candidates(source: Source, folder: Path) -> list[Path]:
    """Files or folders of that name beside the folder and in the working folder."""
    places = dict.fromkeys([folder.resolve().parent, Path.cwd()])
    paths = [place / source.name for place in places]
    return [path for path in paths if path.exists() and not path.is_symlink()]


def _hash(kind: str, path: Path, errors: list[CompileError]) -> str:
    """The hash of a file's content, by its kind; empty, with an error, if it cannot be read."""
    try:
        if kind in DATA:
            return data_hash(path)
        return content_hash(path) if kind == "target" else sha256(path)
    except OSError as error:
        reason, hint = describe_error(error), f"--{kind} takes the file that it was compiled from"
        errors.append(UsageError(reason, code="file", origin=Origin(str(path)), hint=hint))
    except CompileError as error:
        errors.append(error)
    return ""


def _needed(missing: Mapping[str, Source], folder: Path) -> UsageError:
    named = ", ".join(f"{source.name} ({kind})" for kind, source in missing.items())
    return UsageError(
        f"its source files are neither beside it nor in the working folder: {named}",
        code="needs-inputs",
        origin=Origin(str(folder)),
        hint=" ".join(f"--{kind} {_OPTION[kind]}" for kind in missing),
    )


def _needless(kind: str, folder: Path) -> UsageError:
    return UsageError(
        f"it was compiled without --{kind}",
        code="bad-option",
        origin=Origin(str(folder)),
        hint="omit it",
    )


def _other(kind: str, source: Source, path: Path) -> VerificationError:
    return VerificationError(
        f"it is not the file that the network was compiled from ('{source.name}', SHA-256"
        f" {source.sha256[:16]}...)",
        code="other-input",
        origin=Origin(str(path)),
        hint=f"name the right one: --{kind} {_OPTION[kind]}",
    )
