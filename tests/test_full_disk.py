"""The disk is full at any file that a command puts there: one line, exit code 2, the output not there or whole;
with room the same command ends with the bytes of an undisturbed one."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

KINDS = ("a folder", "a null", "a join", "a scored VCF", "variants")


def command(kind: str, world: Path, toy_model: Path, cli: Any) -> tuple[list[Any], str]:
    """Words of a command without its output, and how the output's name ends."""
    rng = np.random.default_rng(0)
    pairs = [random_dna(rng, 40) for _ in range(24)]
    alts = [text[:20] + {"A": "C", "C": "A", "G": "T", "T": "G"}[text[20]] + text[21:] for text in pairs]
    pq.write_table(pa.table({"ref_sequence": pairs, "alt_sequence": alts}), world / "pairs.parquet")
    run = ["run", world / "pairs.parquet", "-m", toy_model, "--engine", "null", "--part-rows", 8, "-q"]
    genome = ["--fasta", world / "g.fa", "--promoters", world / "g.gtf", "--length", 40]
    if kind == "a folder":
        return [*run, "--file-rows", 8], "/"
    if kind == "a null":
        return [*run, "--shuffle-null", 2], ".parquet"
    if kind == "a scored VCF":
        words = ["run", world / "v.vcf", "-m", toy_model, "--engine", "null", *genome, "-q"]
        return words, ".vcf"
    if kind == "variants":
        return ["variants", world / "v.vcf", *genome, "-q"], ".parquet"
    for i in (1, 2):
        assert cli(*run, "--shard", f"{i}/2", "-o", world / f"shard{i}.parquet").code == 0
    return ["merge", world / "shard1.parquet", world / "shard2.parquet", "-q"], ".parquet"


def found(out: str) -> dict[str, bytes] | None:
    """The files of an output, as if it were called `o`; None where it is not there."""
    path = Path(out)
    if not path.exists():
        return None
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {
        file.name.replace("whole", "o"): file.read_bytes().replace(b"whole.vcf", b"o.vcf") for file in files
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_disk_fills_at_any_file(
    world: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    words, ending = command(kind, world, toy_model, cli)
    assert cli(*words, "-o", f"{world}/whole{ending}").code == 0
    right, out = found(f"{world}/whole{ending}"), f"{world}/o{ending}"
    before = set(os.listdir(world))
    failed = 0
    for at in range(200):
        ran = _with_a_full_disk(cli, monkeypatch, at, *words, "-o", out)
        if ran is not None:
            failed += 1
            one_line(ran, "No space left on device")
            assert found(out) in (None, right) or out.endswith("/"), (at, "half an output")
            hidden = [name for name in set(os.listdir(world)) - before if name.startswith(".")]
            assert not hidden, (at, hidden)
            again = cli(*words, "-o", out)
            assert again.code == 0, (at, again.err)
        assert found(out) == right, (at, "other bytes")
        if ran is None:
            break
        assert cli(*words, "--force", "-o", out).code == 0
        _remove(out)
    assert failed >= (1 if kind in ("a join", "variants") else 4)


def _with_a_full_disk(cli: Any, patch: pytest.MonkeyPatch, at: int, *words: Any) -> Ran | None:
    """The command while the sync number `at` of a file fails; None where it ended before that one."""
    sync, left = os.fsync, [at]

    def fsync(handle: int) -> None:
        if not os.path.isdir(f"/proc/self/fd/{handle}"):  # folders may refuse
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with patch.context() as full:
        full.setattr(os, "fsync", fsync)
        ran: Ran = cli(*words)
    if left[0] >= 0:
        assert ran.code == 0, ran.err
        return None
    assert ran.code == 2, (at, ran)
    return ran


def _remove(out: str) -> None:
    for path in (Path(out), Path(out.rstrip("/") + ".run.json")):
        for inner in path.iterdir() if path.is_dir() else ():
            inner.unlink()
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("rows", [3, 3000])
@pytest.mark.parametrize("option", ["--json", "--csv", "-o"])
def test_a_full_device_is_named(tmp_path: Path, cli: Any, toy_model: Path, option: str, rows: int) -> None:
    """Whether it refuses the first bytes or what is left in a buffer at the end."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 2))
    texts = [random_dna(rng, 40) for _ in range(rows)]
    table = pa.table({"t": values[:, 0], "p": values[:, 1], "sequence": texts})
    pq.write_table(table, tmp_path / "p.parquet")
    words: tuple[Any, ...] = ("--truth", "t", "--prediction", "p", "--bootstrap", 0, option, "/dev/full")
    if option == "-o":
        words = ("-m", toy_model, "--engine", "null", "-q", "--format", "tsv", "-o", "/dev/full")
    ran = cli("run" if option == "-o" else "evaluate", tmp_path / "p.parquet", *words)
    one_line(ran, "/dev/full cannot be written: No space left on device")
