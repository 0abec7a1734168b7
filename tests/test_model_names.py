"""What -m may name, in every command that takes models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import one_line

import legscore
from legscore.errors import ModelError
from legscore.model.checkpoint import find_checkpoints
from legscore.model.model_names import are_bundled, locate_models
from legscore.system.resources import folder


def test_a_path_goes_before_a_name(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert locate_models(["bundled", toy_models], said.append) == [folder("bundled"), toy_models]
    assert not said
    assert are_bundled([])
    assert are_bundled(["bundled"])
    shutil.copytree(toy_models, tmp_path / "bundled")
    assert locate_models(["bundled"], said.append) == [Path("bundled")]
    assert said == [f"models: bundled is the path {tmp_path}/bundled, not the models of that name"]
    assert not are_bundled(["bundled"])
    assert len(find_checkpoints(["bundled"])) == 3
    with pytest.raises(ModelError, match=r"bundle: no such file or directory; .* or a name: bundled"):
        locate_models(["bundle"])
    with pytest.raises(ModelError, match="an empty name"):
        locate_models([""])
    assert len(legscore.load_ensemble(engine="null")) == len(find_checkpoints([folder("bundled")]))


@pytest.mark.parametrize(
    "command",
    [
        ("run", "s.csv", "-o", "o.parquet", "--engine", "null", "-m"),
        ("show",),
        ("bench", "--rounds", "1", "-m"),
        ("compile",),
    ],
)
def test_every_command_knows_the_same_names(
    tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.csv").write_text("sequence\nACGTACGTACGT\n")
    ran = cli(*command, "bundled") if command[0] in ("run", "show") else None
    assert ran is None or ran.code == 0, ran.err
    one_line(cli(*command, "bundle"), "bundle: no such file or directory", "a name: bundled")


def test_the_bundled_student_is_used_where_it_is_named_alone(
    tmp_path: Path, toy_models: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was not made, the message says how it is."""
    monkeypatch.chdir(tmp_path)
    Path("s.csv").write_text("sequence\nACGTACGTACGT\n")
    lies_in = {"student": tmp_path, "bundled": toy_models}
    monkeypatch.setattr("legscore.model.model_names.folder", lies_in.__getitem__)
    given = ("run", "s.csv", "-m", "bundled-student", "-o", "o.csv", "--engine", "null")
    one_line(cli(*given), "bundled-student does not come with this legscore", "examples/make_student.py")
    one_line(cli("show", "bundled-student"), "does not come with this legscore")
    with pytest.raises(ModelError) as none:
        locate_models(["nowhere"])
    assert "bundled-student" not in str(none.value), "a name that would be refused is not offered"
    shutil.copyfile(sorted(toy_models.glob("*.safetensors"))[0], "bundled_student.safetensors")
    assert locate_models(["bundled-student"]) == [tmp_path / "bundled_student.safetensors"]
    assert not are_bundled(["bundled-student"])
    with pytest.raises(ModelError, match="a name: bundled, bundled@1, bundled-student"):
        locate_models(["nowhere"])
    ran = cli(*given)
    assert ran.code == 0, ran.err
    assert ran.err.startswith("models: 1 (")


def test_names_of_ensembles_where_none_are_taken(tmp_path: Path, cli: Any) -> None:
    """The name is what is wrong, and not the file."""
    (tmp_path / "f.safetensors").write_bytes(b"")
    for path in (tmp_path / "f.safetensors", "bundled"):
        ran = cli("show", "-m", f"a={path}")
        one_line(ran, f"a={path}: no such file", "legscore run", "leave a= out")
