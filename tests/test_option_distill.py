"""Every option of `distill` changes the student or what is recorded of it: else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Ran, random_dna, toy_checkpoint
from test_distill import OPTIMISED, tile_table
from test_distill_rows import pair_table
from test_option_pairs import names_of, refused, walk, words

from legscore.cli import distill
from legscore.model.checkpoint import load_checkpoint

Given = dict[str, tuple[Any, ...]]
BASE: Given = {
    "models": ("ensemble",), "cost": (4,), "labels": (400,), "steps": (2,), "engine": ("torch",), "precision": ("fp32",),
    "force_student": (), "check_tiles": (2,),
}  # fmt: skip
"""A student this poor is written only when told to."""
OPTIONS: Given = {
    "models": ("ensemble/seed1.safetensors",), "cost": (14,), "insert": (70,), "labels": (480,), "tiles": ("tiles.parquet",),
    "fasta": ("g.fa",), "measured": ("measured.parquet",), "minutes": (1,), "steps": (3,), "seed": (9,),
    "engine": ("openvino",), "precision": ("bf16",), "device": ("1",), "half": (), "own": ("own.csv",), "own_share": (40,),
    "check_tiles": (3,), "check": ("pairs.csv",), "truth": ("measured",), "architecture": ("12/16",),
    "teacher_table": ("scores.csv",), "teacher_columns": ("ref_b:alt_b",),
}  # fmt: skip
RECORDED = {"engine", "precision", "device", "check_tiles", "check", "truth"}
TOGETHER = {("own", "own_share"), ("check", "truth"), ("teacher_table", "teacher_columns")}
ALONE = {"cost": "architecture", "check_tiles": "teacher_table"}
"""What is in the base and excludes another option, which is tried without it."""
WITHOUT_EFFECT = {
    "output", "force_student", "save_every", "log_every", "restart", "keep_labels", "labels_from", "threads", "force", "quiet",
    "apart",
}  # fmt: skip
"""Where it goes and whether it may, how it goes on after an interruption (test_distill), what need not be scored
again (test_kept_labels), and what is told; and what only matters where rows share DNA with what is drawn
(test_distill_rows)."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An ensemble, tables and a genome. One thread: those of a small network would wait for each other."""
    torch = pytest.importorskip("torch", reason="distilling needs legscore[train]")
    rng = np.random.default_rng(0)
    (tmp_path / "ensemble").mkdir()
    for seed in (1, 2, 3):
        toy_checkpoint(seed, **OPTIMISED).save(tmp_path / f"ensemble/seed{seed}.safetensors")
    dna = random_dna(rng, 60_000)
    tile_table(tmp_path / "tiles.parquet", dna, 80)
    tile_table(tmp_path / "measured.parquet", random_dna(rng, 60_000), 80)
    (tmp_path / "g.fa").write_text(f">1\n{dna}\n")
    pair_table(tmp_path / "own.csv", rng, 40, 8)
    pair_table(tmp_path / "pairs.csv", rng, 3, 5)
    pair_table(tmp_path / "scores.csv", rng, 60, 8)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("legscore.distill.student_trainer.BATCH_GROUPS", 8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_every_option_is_walked() -> None:
    assert set(names_of(distill.command)) - set(OPTIONS) == WITHOUT_EFFECT


@pytest.mark.long
def test_options_of_distill(here: Path, cli: Callable[..., Ran]) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = here / f"o{next(count)}.safetensors"
        base = {name: value for name, value in BASE.items() if ALONE.get(name) not in given}
        ran = cli("distill", "-o", out, "-q", *words(distill.command, {**base, **given}))
        if refused(ran):
            return None
        student = load_checkpoint(out)
        weights = sorted((name, array.tobytes()) for name, array in student.arrays.items())
        return repr(weights), json.dumps(student.training, sort_keys=True)

    idle, accepted = walk(OPTIONS, one, lambda a, b: (a, b) in TOGETHER, RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted == len(TOGETHER)
