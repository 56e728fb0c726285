"""The example notebook shows what its cells give today.

``python tests/docs/test_notebook.py`` runs it, and puts in what is shown.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import notebooks

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "notebook.ipynb"
FILES = ("digits_mlp.onnx", "digits_calibrate.npz", "digits_evaluate.npz")
KINDS = {"code": {"execution_count", "outputs"}, "markdown": set[str]()}
"""Further keys of a cell, as version 4 of the format has them."""


def beside_its_files(folder: Path) -> Path:
    for name in FILES:
        shutil.copy(EXAMPLES / name, folder)
    return folder


def test_the_notebook_is_executed(tmp_path, monkeypatch):
    document = notebooks.read(NOTEBOOK)
    monkeypatch.chdir(beside_its_files(tmp_path))
    assert notebooks.executed(document) == document


def test_the_notebook_is_well_formed():
    document = notebooks.read(NOTEBOOK)
    assert set(document) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in document["cells"]}) == len(document["cells"])
    for cell in document["cells"]:
        more = KINDS[cell["cell_type"]]
        assert set(cell) == {"cell_type", "id", "metadata", "source", *more}
        assert all(line.endswith("\n") for line in cell["source"][:-1])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(beside_its_files(Path(folder)))
        notebooks.written(NOTEBOOK, notebooks.executed(notebooks.read(NOTEBOOK)))


if __name__ == "__main__":
    main()
