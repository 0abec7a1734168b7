"""The notebooks of examples/: executed as a user does, in a copy; kept without outputs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import FEW_WINDOWS, REPOSITORY

FOLDER = REPOSITORY / "examples" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
PICTURES = {"score_a_table": 1, "saturation_map": 2, "vcf_to_annotated_vcf": 1, "design": 2}


def read(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))


def test_the_notebooks_are_listed() -> None:
    assert set(PICTURES) == set(NOTEBOOKS)
    page = (REPOSITORY / "docs" / "notebooks.md").read_text()
    assert all(f"`{name}.ipynb`" in page for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    for cell in read(name)["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert set(read(name)["metadata"]) == {"kernelspec"}


@pytest.mark.long
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    """Every cell, with no error and no text on standard error but warnings of legscore's; its pictures are drawn."""
    if not os.environ.get("LEGSCORE_REQUIRE_NOTEBOOKS"):
        for needed in ("nbclient", "ipykernel", "matplotlib", "polars"):
            pytest.importorskip(needed)
    import nbformat
    from nbclient import NotebookClient

    examples = tmp_path / "examples"
    shutil.copytree(FOLDER.parent, examples, ignore=shutil.ignore_patterns("original", "*.parts"))
    notebook = nbformat.read(examples / "notebooks" / f"{name}.ipynb", 4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FEW_WINDOWS))
    here = {"metadata": {"path": str(examples / "notebooks")}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=here).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn == PICTURES[name]
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            assert "LegscoreWarning" in output.text, output.text
    left = {path.name for path in (examples / "notebooks").iterdir()} - {".ipynb_checkpoints"}
    assert left == {f"{one}.ipynb" for one in NOTEBOOKS}, "a notebook left files behind"
