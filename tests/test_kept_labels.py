"""Labels that another distillation kept: what they hold is not scored again, and the student is the same."""

from __future__ import annotations

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Ran, one_line, random_dna, toy_checkpoint

pytest.importorskip("torch", reason="distilling needs legscore[train]")

from test_distill import OPTIMISED, QUICK, _small_batches, ensemble, tile_table  # noqa: F401

from legscore.distill.labels import PIECE, PLAN, WINDOWS, Labels
from legscore.distill.make_student import distill
from legscore.engine.base import ThreadedEngine
from legscore.errors import LegscoreError
from legscore.system.json_records import parse_record, sealed

OPTIONS = replace(QUICK, steps=3, force_student=True, keep_labels=True)


@pytest.fixture(scope="module")
def kept(ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Labels of a distillation."""
    path = tmp_path_factory.mktemp("kept") / "s.safetensors"
    distill([str(ensemble)], path, OPTIONS)
    return Path(f"{path}.distill")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Windows that an engine scored on both strands, and on the forward strand alone."""
    counts = {"both": 0, "forward": 0}
    submit, forward = ThreadedEngine.submit, ThreadedEngine.scores_forward

    def submitted(self: ThreadedEngine, batch: Any, *more: Any) -> Any:
        counts["both"] += len(batch.codes_WL)
        return submit(self, batch, *more)

    def forward_alone(self: ThreadedEngine, batch: Any, members: Any) -> Any:
        counts["forward"] += len(batch.codes_WL)
        return forward(self, batch, members)

    monkeypatch.setattr(ThreadedEngine, "submit", submitted)
    monkeypatch.setattr(ThreadedEngine, "scores_forward", forward_alone)
    return counts


def windows_in(folder: Path, kind: str) -> np.ndarray:
    found = Labels(folder).windows(kind)
    assert found is not None
    return found


def test_nothing_is_scored_twice(kept: Path, ensemble: Path, tmp_path: Path, scored: dict[str, int]) -> None:  # noqa: F811
    alone, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    other = replace(OPTIONS, cost=8)
    distill([str(ensemble)], alone, other)
    n, checked = len(windows_in(kept, "labels")), len(windows_in(kept, "forward"))
    assert scored["both"] >= n
    assert scored["forward"] == checked
    scored.update(both=0, forward=0)
    distill([str(ensemble)], again, replace(other, labels_from=(str(kept),)))
    assert scored["forward"] == 0
    assert scored["both"] < n  # the student's own scores
    assert again.read_bytes() == alone.read_bytes()


def test_only_new_windows_are_scored(
    kept: Path,
    ensemble: Path,  # noqa: F811
    tmp_path: Path,
    scored: dict[str, int],
    cli: Any,
) -> None:
    """A table to check on is new; of the drawn windows, which share nothing with it, none is."""
    tiles = tile_table(tmp_path / "tiles.parquet", random_dna(np.random.default_rng(5), 800), 80)
    asked = ["distill", "-m", ensemble, "--check", tiles, "--cost", 4, "--labels", 400, "--check-tiles", 4]
    asked += ["--steps", 3, "--engine", "openvino", "--precision", "fp32", "--force-student", "--keep-labels"]
    alone = cli(*asked, "-o", tmp_path / "a.safetensors")
    assert alone.code == 0, alone.err
    before = dict(scored)
    ran = cli(*asked, "-o", tmp_path / "b.safetensors", "--labels-from", kept)
    assert ran.code == 0, ran.err
    n = len(windows_in(kept, "labels"))
    assert f"labels: {n:,} of {n + 10:,} were kept before\n" in ran.err
    assert before["both"] - (scored["both"] - before["both"]) == n
    assert scored["forward"] - before["forward"] == 10
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    of_both = tmp_path / "b.safetensors.distill"
    assert {p.name for p in of_both.iterdir()} == {
        p.name for p in (tmp_path / "a.safetensors.distill").iterdir()
    }


def test_damaged_pieces_and_windows_are_scored_again(
    kept: Path,
    ensemble: Path,  # noqa: F811
    tmp_path: Path,
    scored: dict[str, int],
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(kept, copy)
    for path in copy.iterdir():
        forward = WINDOWS.fullmatch(path.name) and "forward" in path.name
        if forward or (PIECE.fullmatch(path.name) and path.name.startswith("labels-")):
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
    distill([str(ensemble)], tmp_path / "s.safetensors", replace(OPTIONS, labels_from=(str(copy), str(kept))))
    assert scored["forward"] == 0  # the second folder has them
    n, checked = len(windows_in(kept, "labels")), len(windows_in(kept, "forward"))
    assert scored["both"] < n
    scored.update(both=0, forward=0)
    distill([str(ensemble)], tmp_path / "t.safetensors", replace(OPTIONS, labels_from=(str(copy),)))
    assert scored["both"] >= n
    assert scored["forward"] == checked
    assert (tmp_path / "s.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()


def test_labels_that_do_not_fit_are_refused(kept: Path, ensemble: Path, tmp_path: Path, cli: Any) -> None:  # noqa: F811
    def ran(folder: Path, *more: Any, models: Path = ensemble) -> Ran:
        asked = [
            "distill",
            "-m",
            models,
            "-o",
            tmp_path / "s.safetensors",
            "--cost",
            4,
            "--labels",
            400,
            "--steps",
            2,
        ]
        found = cli(*asked, "--engine", "openvino", "--precision", "fp32", "--labels-from", folder, *more)
        assert not (tmp_path / "s.safetensors").exists()
        assert isinstance(found, Ran)
        return found

    (tmp_path / "others").mkdir()
    toy_checkpoint(9, **OPTIMISED).save(tmp_path / "others/seed9.safetensors")
    one_line(
        ran(kept, models=tmp_path / "others"), "--labels-from", "of other models or another engine (models"
    )
    one_line(ran(kept, "--engine", "torch"), "of other models or another engine (engine")
    one_line(ran(tmp_path / "nothing"), "no labels are kept there (plan.json is not there)")
    one_line(ran(tmp_path / "s.safetensors.distill"), "this distillation's own labels are used anyway")
    copy = tmp_path / "copy"
    shutil.copytree(kept, copy)
    record = parse_record((copy / "plan.json").read_bytes())
    (copy / "plan.json").write_text(json.dumps({**record, "plan": {}}))
    one_line(ran(copy), "its plan.json is damaged")
    (copy / "plan.json").write_text(sealed({"plan": 7}))
    one_line(ran(copy), "its plan.json is damaged")
    (copy / "plan.json").write_text("{")
    one_line(ran(copy), "its plan.json cannot be read")


@pytest.mark.parametrize("calls", range(6))
def test_a_clearing_that_is_killed_leaves_no_labels_for_another_distillation(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    folder, unlink, done = tmp_path / "s.safetensors.distill", Path.unlink, 0
    shutil.copytree(kept, folder)

    class Killed(BaseException):
        pass

    def killed(path: Path, **how: Any) -> None:
        nonlocal done
        done += 1
        if done > calls:
            raise Killed
        unlink(path, **how)

    listed = Path.iterdir
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda self: iter(sorted(listed(self), key=lambda p: p.name != PLAN)))
        patch.setattr(Path, "unlink", killed)
        with contextlib.suppress(Killed):
            Labels(folder).clear()
    with contextlib.suppress(LegscoreError):  # where the plan is still there, it is refused
        Labels(folder).begin({"windows": "others"}, restart=False)
        assert not [p.name for p in folder.iterdir() if PIECE.fullmatch(p.name) or WINDOWS.fullmatch(p.name)]
