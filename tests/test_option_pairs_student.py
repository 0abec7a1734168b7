"""Every option of `run` has an effect beside a student that scores first, or is refused; and so do the
student's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Ran, make_student
from test_option_pairs import (
    STUDENT,
    TABLE,
    calibration,
    everything,
    metadata_of,
    refused,
    rows_of,
    telling,
    walk,
    words,
)

from legscore.cli import run

__all__ = ["everything", "telling"]
REFUSED = {"singleton", "rc", "out_of_fold", "shifts", "shuffle_null", "background"}
"""The last one needs --shuffle-null."""


def test_options_of_run_beside_a_student(
    everything: Path, cli: Callable[..., Ran], telling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(everything)
    calibration(everything)
    for seed, name in enumerate(("s.safetensors", "t.safetensors")):
        make_student(Path("models"), Path(name), cost=20.0 + seed)
    count, alone = itertools.count(), {}

    def one(given: dict[str, tuple[Any, ...]]) -> Any:
        out = everything / f"o{next(count)}.parquet"
        base = {"kind": ("edit",), "sequence_is": ("insert",), "part_rows": (8,)}
        base |= {"student": ("s.safetensors",), "rescore": ("abs_effect>0.04",)}
        ran = cli("run", "t.parquet", "-m", "models", "-o", out, *words(run.command, {**base, **given}))
        found = None if refused(ran) else (rows_of(out), metadata_of(out))
        if len(given) == 1:
            alone[next(iter(given))] = found
        return found

    # each beside a student is each in a pair with the student's options
    options = {**TABLE, "kind": ("pair",), **STUDENT}
    idle, accepted = walk(options, one, lambda a, b: {a, b} <= set(STUDENT), ("student", *ENGINE_AND_SIZES))
    assert idle == [], "\n".join(idle)
    assert accepted == 3
    assert {name for name, found in alone.items() if found is None} == REFUSED


ENGINE_AND_SIZES = ("engine", "precision", "recipe", "device", "part_rows", "rescore_sample")
"""Their effect is in the metadata, and so is that of a student whose weights are those of another."""
