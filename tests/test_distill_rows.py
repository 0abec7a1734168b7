"""Distilling with the user's own rows, checks with measured values, labels from a table, and shapes by name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import one_line, random_dna, toy_checkpoint, yeast_contract

pytest.importorskip("torch", reason="distilling needs legscore[train]")

from test_distill import OPTIMISED, QUICK, Interrupted

from legscore.distill.check_rows import of_rows, tiles_with_snvs
from legscore.distill.drawn_groups import kmers_of
from legscore.distill.input_rows import InputRows, read_rows
from legscore.distill.labels import windows_of
from legscore.distill.make_student import distill
from legscore.distill.material import gather
from legscore.distill.options import DistillOptions
from legscore.distill.own_rows import groups_of, hold_out
from legscore.distill.pruning import parse_shape
from legscore.distill.sources import RandomDna
from legscore.distill.student_figures import sd_figures
from legscore.distill.student_trainer import OWN_RATE, RATE, StudentTrainer
from legscore.distill.teacher_table import read_teacher
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import BASES, Output, reverse_complement
from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.engine.open_engine import open_engine
from legscore.errors import LegscoreError
from legscore.model.checkpoint import load_checkpoint
from legscore.model.forward import Forward
from legscore.model.student import student_record

OPTIONS = replace(QUICK, steps=4, force_student=True)


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    """One thread: those of a small network would mostly wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("legscore.distill.student_trainer.BATCH_GROUPS", 8)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in (1, 2, 3):
        toy_checkpoint(seed, **OPTIMISED).save(folder / f"seed{seed}.safetensors")
    return str(folder)


def pair_table(path: Path, rng: np.random.Generator, references: int, changes: int) -> str:
    """Pairs that change one base, with numbers that go by what is changed."""
    lines = ["ref_sequence,alt_sequence,measured,ref_score,alt_score,ref_b,alt_b"]
    for _ in range(references):
        ref = random_dna(rng, 80)
        for place in rng.permutation(80)[:changes]:
            alt = ref[:place] + BASES[(BASES.index(ref[place]) + 1) % 4] + ref[place + 1 :]
            low, high = ref.count("G") / 10, alt.count("G") / 10
            lines.append(f"{ref},{alt},{high - low + 0.01 * place},{low},{high},{low + 1},{2 * high}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def record_of(path: Path) -> dict[str, Any]:
    record = student_record(load_checkpoint(path))
    assert record is not None
    return record


# the user's own rows


def test_own_rows_are_split_by_what_they_change(tmp_path: Path) -> None:
    path = pair_table(tmp_path / "own.csv", np.random.default_rng(1), 50, 7)
    said: list[str] = []
    rng = np.random.default_rng(2)
    rows = read_rows(path, yeast_contract(), 80, 0.5, 10_000, rng, said.append)
    assert 140 < len(rows) < 210
    assert f"{len(rows)} usable of {len(rows)} rows drawn from 350" in said[-1]
    train, held = hold_out(rows, rng)
    assert held is not None
    assert 0.15 < len(held.alt_E) / len(rows) < 0.35
    assert held.ref_E is not None
    assert (held.inserts_NL[held.ref_E] != held.inserts_NL[held.alt_E]).sum(axis=1).tolist() == [1] * len(
        held.alt_E
    )
    references = {bytes(row) for row in held.inserts_NL[held.ref_E]}
    assert not references & {bytes(row) for row in train.anchors}
    groups = groups_of(train, rng)
    assert groups.shape[1:] == (4, 80)
    assert {bytes(row) for row in train.alt_NL} <= {bytes(row) for row in groups[:, 1:].reshape(-1, 80)}
    assert {bytes(row) for row in train.anchors} == {bytes(row) for row in groups[:, 0]}


def test_own_rows_in_every_form(tmp_path: Path) -> None:
    """Edits, sequences and oligos; rows without a window are left out and counted."""
    rng, contract = np.random.default_rng(3), yeast_contract()
    texts = [random_dna(rng, 80) for _ in range(5)]
    more = [texts[0][:-1], texts[1].replace("A", "N"), ""]
    (tmp_path / "s.csv").write_text("sequence\n" + "\n".join([*texts, *more]) + "\n")
    (tmp_path / "o.csv").write_text(
        "sequence\n" + "\n".join(contract.adapter5 + text + contract.adapter3 for text in texts) + "\n"
    )
    (tmp_path / "p.csv").write_text(
        "sequence,offset,alt_base,ref_seq,alt_seq\n"
        + "\n".join(
            f"{text},9,{'A' if text[9] != 'A' else 'C'},{text},{text[:-1]}{'A' if text[-1] != 'A' else 'C'}"
            for text in texts
        )
    )  # fits three kinds; its pairs are read
    (tmp_path / "e.csv").write_text(
        "sequence,offset,alt_base\n"
        + "\n".join(f"{text},9,{'A' if text[9] != 'A' else 'C'}" for text in texts)
    )
    for name in ("s.csv", "o.csv", "p.csv", "e.csv"):
        said: list[str] = []
        rows = read_rows(str(tmp_path / name), contract, 80, 1.0, 100, rng, said.append)
        assert [bytes(row) for row in rows.anchors] == [bytes(encode_text(text)) for text in texts]
        assert f"5 usable of {8 if name == 's.csv' else 5} rows drawn" in said[-1]
        assert (rows.ref_NL is None) == (name in ("s.csv", "o.csv"))
    train, held = hold_out(rows, rng)
    assert (len(train), held is not None) == (4, True)
    alone = rows.take(np.zeros(4, dtype=int))
    assert hold_out(alone, rng) == (alone, None)
    singles = InputRows(rows.alt_NL, None, rows.value_NV)
    assert (groups_of(singles, rng)[:, 0] == rows.alt_NL).all()
    assert of_rows("x", singles).values(np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]


def test_what_is_checked_shares_nothing_with_training(tmp_path: Path) -> None:
    """Held-out groups, tiles, own rows and a table of a genome from which training is drawn too; both strands."""
    rng = np.random.default_rng(4)
    dna = random_dna(rng, 20_000)
    (tmp_path / "g.fa").write_text(f">c\n{dna}\n")
    lines = ["sequence,offset,alt_base"]
    for start in range(0, 18_000, 45):
        text = dna[start : start + 80]
        lines += [f"{text},{k},{'A' if text[k] != 'A' else 'C'}" for k in (3, 40)]
    (tmp_path / "own.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "check.csv").write_text("\n".join([lines[0], *lines[-20:]]) + "\n")
    (tmp_path / "apart.csv").write_text(f"sequence\n{dna[19_000:19_080]}\n{dna[19_060:19_140]}\n")
    options = DistillOptions(
        labels=800, apart=(str(tmp_path / "apart.csv"),), fasta=(str(tmp_path / "g.fa"),), own=str(tmp_path / "own.csv"), own_share=60,
        check=(str(tmp_path / "check.csv"),), check_tiles=5,
    )  # fmt: skip
    said: list[str] = []
    material = gather(yeast_contract(), 80, options, said.append)
    assert [check.name for check in material.checks] == ["groups", "tiles", "own", "check.csv"]
    assert any("share 20 bases with checked rows; left out" in line for line in said)
    kept_apart = np.stack([encode_text(dna[at : at + 80]) for at in (19_000, 19_060)])
    checked = np.concatenate([material.checked, kept_apart])
    apart, all_apart = (
        np.union1d(kmers_of(some), kmers_of(reverse_complement(some))) for some in (material.checked, checked)
    )
    for groups, its in ((material.train_GKL, all_apart), (material.own_GKL, apart)):
        assert len(groups) > 20
        assert not np.isin(kmers_of(groups.reshape(-1, 80)), its).any()
    assert gather(yeast_contract(), 80, options, said.append).sha256 == material.sha256
    everything = replace(options, check=(str(tmp_path / "own.csv"),))
    with pytest.raises(LegscoreError, match="--own: every row shares 20 bases in a row with checked rows"):
        gather(yeast_contract(), 80, everything, said.append)


def test_tiles_have_changes_of_one_base() -> None:
    rng = np.random.default_rng(5)
    tiles = tiles_with_snvs(RandomDna(80).draw(30, rng), rng)
    assert tiles.shape == (30, 25, 80)
    changed = tiles[:, 1:] != tiles[:, :1]
    assert (changed.sum(axis=2) == 1).all()
    assert len({bytes(row) for row in tiles[0]}) == 25


def test_a_student_with_own_rows_says_how_it_does_on_others(
    ensemble: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what was measured; interrupted anywhere it ends with the same bytes, at half the size if asked."""
    rng = np.random.default_rng(6)
    own, check = pair_table(tmp_path / "own.csv", rng, 30, 6), pair_table(tmp_path / "check.csv", rng, 4, 5)
    lines = [
        "sequence,measured",
        *(f"{text},{text.count('G')}" for text in (random_dna(rng, 80) for _ in range(12))),
    ]
    (tmp_path / "levels.csv").write_text("\n".join(lines) + "\n")
    options = replace(
        OPTIONS, steps=8, own=own, own_share=80, check=(check,), truth="measured",
        measured=(str(tmp_path / "levels.csv"),), labels=400,
    )  # fmt: skip
    whole = distill([ensemble], tmp_path / "whole.safetensors", options)
    record = record_of(whole)
    assert record["own_groups"] > 20
    checks = {one["name"]: one for one in record["fidelity"]["checks"]}
    assert list(checks) == ["tiles", "own", "check.csv", "levels.csv"]
    assert checks["levels.csv"]["effects"]["pearson"] is None
    assert checks["levels.csv"]["measured"]["of"] == "levels"
    assert (checks["tiles"]["tiles"], checks["tiles"]["rows"]) == (4, 96)
    assert checks["tiles"]["drawn_from"] == "measured"
    assert (checks["check.csv"]["rows"], checks["check.csv"]["tiles"]) == (20, 4)
    measured = checks["check.csv"]["measured"]
    assert (measured["rows"], measured["of"]) == (20, "effects")
    assert -1 <= measured["student"]["pearson"] <= 1
    assert measured["ensemble"] != measured["student"]
    assert [one["what"] for one in checks["own"]["baselines"]] == ["one member", "one member, forward strand"]
    assert record["cascade"]["tiles"] == record["intervals"]["tiles"] == 4
    at = int(np.random.default_rng().integers(1, 8))
    path = tmp_path / "again.safetensors"
    with pytest.raises(KeyboardInterrupt):
        distill([ensemble], path, options, Interrupted(at, kill=True))
    distill([ensemble], path, options)
    assert path.read_bytes() == whole.read_bytes(), f"interrupted at step {at}"
    half = distill([ensemble], tmp_path / "half.safetensors", replace(options, half=True))
    assert half.stat().st_size < 0.8 * whole.stat().st_size
    assert record_of(half)["windows_sha256"] == record["windows_sha256"]


def test_own_rows_come_last_and_seldom(ensemble: str, tmp_path: Path) -> None:
    """For a tenth more steps, OWN_PASSES times each or, where they are few or many, less; until then the
    student is that of drawn windows alone."""
    start = load_checkpoint(Path(ensemble) / "seed1.safetensors")
    rng = np.random.default_rng(4)

    def trainer(n_own: int, steps: int) -> StudentTrainer:
        inserts, labels = rng.integers(0, 4, (60 + n_own, 4, 80)), rng.normal(size=(3, 60 + n_own, 4))
        return StudentTrainer(
            start, inserts.astype(np.uint8), labels.astype(np.float32), n_own, steps, 1, tmp_path / "s", {}
        )

    def groups_of_steps(trained: StudentTrainer) -> np.ndarray:
        found = []
        for step in range(trained.steps):
            trained.step = step
            found.append(trained._rows())
        return np.array(found)

    plain = groups_of_steps(trainer(0, 200))
    assert len(plain) == 200
    for n_own, own_steps, a_batch in ((1, 7, 1), (5, 20, 2), (400, 20, 3)):
        mixed = groups_of_steps(trainer(n_own, 200))
        assert len(mixed) == 200 + own_steps
        assert np.array_equal(plain, mixed[:200])
        assert ((mixed[200:] >= 60).sum(axis=1) == a_batch).all()
        times = np.bincount(mixed[200:].ravel(), minlength=60 + n_own)[60:]
        assert times.max() == -(-own_steps * a_batch // n_own)
    rates = [trainer(5, 200)._rate(step) for step in (199, 211, 219)]
    assert max(rates) == rates[1] <= OWN_RATE / RATE
    assert trainer(3, 1).steps == 2


@pytest.mark.parametrize(
    ("engine", "precision"), [("openvino", "fp32"), ("torch", "fp32"), ("native", "bf16")]
)
def test_every_engine_scores_a_student(
    engine: str, precision: str, ensemble: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if engine == "native" and not library_path().is_file():
        pytest.skip("kernels/cpu is not built here: python setup.py build_cpu")
    path = tmp_path_factory.getbasetemp() / "engines.safetensors"
    if not path.exists():
        distill([ensemble], path, replace(OPTIONS, half=True))
    student = load_checkpoint(path)
    codes = windows_of(RandomDna(80).draw(30, np.random.default_rng(7)), student.contract)
    truth = Forward(student, both_strands=False, is_singleton=False).score(codes)
    opened = open_engine([student], Request(engine, precision, both_strands=False))
    try:
        found = opened.score(Batch(codes))[0]
    finally:
        opened.close()
    assert np.abs(found - truth).max() < {"fp32": 1e-3, "bf16": 0.05}[precision]


# labels from a table


def test_a_table_can_be_the_teacher(ensemble: str, tmp_path: Path) -> None:
    """Its scores count bases, which these models know nothing of: the student comes nearer to them."""
    path = pair_table(tmp_path / "scores.csv", np.random.default_rng(8), 60, 8)
    options = replace(
        OPTIONS, check_tiles=None, teacher_table=path, teacher_columns=("ref_score:alt_score", "ref_b:alt_b")
    )
    records = [
        record_of(distill([ensemble], tmp_path / f"{n}.safetensors", replace(options, steps=n)))
        for n in (2, 120)
    ]
    assert [one["name"] for one in records[0]["teacher"]] == [
        "scores.csv ref_score:alt_score",
        "scores.csv ref_b:alt_b",
    ]
    short, long = (record["fidelity"] for record in records)
    assert long["levels"]["rmse"] < 0.7 * short["levels"]["rmse"]
    assert long["checks"] == []
    assert records[0]["cascade"]["tiles"] == short["groups"]
    assert len(short["baselines"]) == 2
    again = tmp_path / "again.safetensors"
    with pytest.raises(KeyboardInterrupt):
        distill([ensemble], again, replace(options, steps=2), Interrupted(1, kill=True))
    distill([ensemble], again, replace(options, steps=2))
    assert again.read_bytes() == (tmp_path / "2.safetensors").read_bytes()


def test_a_table_of_sequences_promises_nothing_of_effects(ensemble: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    texts = [random_dna(rng, 80) for _ in range(700)]
    path = tmp_path / "scores.csv"
    path.write_text(
        "sequence,score\n" + "".join(f"{text},{text.count('G') / 10}\n" for text in texts) + "AC,1\n"
    )
    options = replace(OPTIONS, labels=800, check_tiles=None, teacher_table=str(path))
    record = record_of(distill([ensemble], tmp_path / "s.safetensors", options))
    assert "cascade" not in record
    assert record["labels"] <= 700
    assert record["fidelity"]["sd"] is None  # one column, whose values do not differ between members


def test_what_a_teachers_table_cannot_give(ensemble: str, tmp_path: Path, cli: Any) -> None:
    rng = np.random.default_rng(10)
    few = pair_table(tmp_path / "few.csv", rng, 5, 8)
    out = tmp_path / "s.safetensors"
    asked = ["distill", "-m", ensemble, "-o", out, "--cost", 4, "--teacher-table"]
    one_line(cli(*asked, few), "few.csv: ", "share no 20 bases with those held out", "a student needs 100")
    one_line(cli(*asked, few, "--teacher-columns", "ref_score"), "--teacher-columns ref_score", "REF:ALT")
    one_line(cli(*asked, few, "--teacher-columns", "ref_x:alt_score"), "has no column 'ref_x'")
    one_line(cli(*asked, tmp_path / "none.csv"), "none.csv")
    text = (tmp_path / "few.csv").read_text().replace("ref_b", "ref_b", 1)
    lines = text.splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:-2], "low", "1"])
    (tmp_path / "text.csv").write_text("\n".join(lines) + "\n")
    one_line(
        cli(*asked, tmp_path / "text.csv", "--teacher-columns", "ref_b:alt_b"), "'ref_b' must hold numbers"
    )
    for option, value in (("--own", few), ("--check", few), ("--measured", few), ("--check-tiles", 3)):
        one_line(cli(*asked, few, option, value), f"{option} gives windows that an ensemble labels")


def test_all_rows_of_a_teachers_table_are_read_unless_labels_say_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legscore.distill.options.LABELS", 400)
    path = pair_table(tmp_path / "scores.csv", np.random.default_rng(14), 250, 8)
    for labels, least, most in ((None, 2_000, 2_000), (1_000, 850, 1_150)):
        said: list[str] = []
        table = read_teacher(path, yeast_contract(), 80, DistillOptions(labels=labels), said.append)
        (line,) = [line for line in said if "rows drawn from 2,000" in line]
        read = int(line.split(": ")[1].split()[0].replace(",", ""))
        assert least <= read <= most
        assert table.material.train_GKL.shape[0] > read / 4


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (lambda row, level: level - 6, ("its scores go from -6", "tell scores from 0 to 17 only", "scalar head")),
        (lambda row, level: level + 16.5, ("its scores go from 16.5", "0 to 17")),
        (lambda row, level: 1e300 if row == 5 else level, ("row 6 of column 'score' holds 1e+300", "float32")),
        (lambda row, level: 3, ("the table gives all rows the same score",)),
        (lambda row, level: 10 + level * 1e-7, ("scores of the table differ by", "9.54e-07 apart around 10")),
    ],
)  # fmt: skip
def test_scores_that_no_student_can_learn(
    ensemble: str, tmp_path: Path, cli: Any, score: Any, told: tuple[str, ...]
) -> None:
    rng = np.random.default_rng(15)
    lines = ["sequence,score"]
    lines += [f"{random_dna(rng, 80)},{score(row, rng.random())!r}" for row in range(900)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    asked = ["distill", "-m", ensemble, "-o", tmp_path / "s.safetensors", "--cost", 4, "--steps", 2]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        one_line(cli(*asked, "--teacher-table", tmp_path / "t.csv"), "t.csv: ", *told)
    assert not list(tmp_path.glob("*.distill/*"))


def test_a_scalar_head_takes_any_level_and_changes_without_an_effect_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(16)
    texts = [random_dna(rng, 80) for _ in range(900)]
    (tmp_path / "s.csv").write_text("sequence,score\n" + "".join(f"{t},{t.count('G') - 60}\n" for t in texts))
    scalar = yeast_contract(output=Output("scalar", "log2"))
    table = read_teacher(str(tmp_path / "s.csv"), scalar, 80, DistillOptions(), print)
    assert table.labels_MN.max() < 0
    lines = [
        f"{t},{t[:40]}{'A' if t[40] != 'A' else 'C'}{t[41:]},{k % 9},{k % 9}" for k, t in enumerate(texts)
    ]
    head = "ref_sequence,alt_sequence,ref_score,alt_score\n"
    (tmp_path / "p.csv").write_text(head + "\n".join(lines) + "\n")
    with pytest.raises(LegscoreError, match=r"p.csv: the table gives all rows the same effect"):
        read_teacher(str(tmp_path / "p.csv"), scalar, 80, DistillOptions(), print)


def test_scores_of_one_reference_that_differ_are_averaged_and_told(tmp_path: Path) -> None:
    path = pair_table(tmp_path / "scores.csv", np.random.default_rng(14), 250, 8)
    header, *lines = Path(path).read_text().splitlines()
    at = header.split(",").index("ref_score")
    changed = lines[0].split(",")
    before = float(changed[at])
    changed[at] = str(before + 0.8)
    (tmp_path / "odd.csv").write_text("\n".join([header, ",".join(changed), *lines[1:]]) + "\n")
    told = []
    for name in (path, str(tmp_path / "odd.csv")):
        said: list[str] = []
        table = read_teacher(name, yeast_contract(), 80, DistillOptions(), said.append)
        told.append([line for line in said if "their means are taken" in line])
    assert told[0] == []
    assert "1 references have scores that differ between their rows, by up to 0.8" in told[1][0]
    assert np.isin(np.float32(before + 0.1), table.labels_MN), "a mean over eight rows"


# shapes, and what else is refused


def test_a_shape_in_the_users_words() -> None:
    member = toy_checkpoint(2, **OPTIMISED)
    contract, a = member.contract.cropped(80, 8), member.architecture
    assert parse_shape(a, contract, "8").widths == (8, 8, a.widths[-1])
    assert parse_shape(a, contract, "16,8/16,8").inner_widths == (16, 8)
    assert parse_shape(a, contract, "999").widths == a.widths
    for text, why in {
        "8,8,8": "3 widths; these models have 2",
        "a": "widths are whole numbers",
        "8/": "",
        "17,8": "widths go from 1 to those of the member (16,8)",
        "0": "widths go from 1",
        "8/1,999": "inner widths go from 1",
        "-8": "widths are whole numbers",
    }.items():
        if not why:
            assert parse_shape(a, contract, text).inner_widths == a.inner_widths
            continue
        with pytest.raises(LegscoreError) as refused:
            parse_shape(a, contract, text)
        assert why in str(refused.value)
    grouped = toy_checkpoint(1, filters_per_group=4)
    with pytest.raises(LegscoreError, match="multiples of 4"):
        parse_shape(grouped.architecture, contract, "8/6,8")


def test_options_that_do_not_go_together(ensemble: str, tmp_path: Path, cli: Any) -> None:
    rng = np.random.default_rng(11)
    table = pair_table(tmp_path / "t.csv", rng, 5, 4)
    asked = ["distill", "-m", ensemble, "-o", tmp_path / "s.safetensors"]
    one_line(cli(*asked, "--cost", 4, "--architecture", "8"), "--cost and --architecture exclude each other")
    one_line(cli(*asked, "--architecture", "8,x"), "--architecture '8,x'", "whole numbers")
    one_line(cli(*asked, "--truth", "measured"), "--truth names a column of --check or --measured")
    one_line(cli(*asked, "--own-share", 5), "--own-share is a share of --own rows")
    one_line(cli(*asked, "--teacher-columns", "a"), "--teacher-columns names columns of a --teacher-table")
    twice = ("--teacher-table", table, "--teacher-columns", "a:b,c:d,a:b")
    one_line(cli(*asked, *twice), "a:b stands twice and would weigh twice")
    asked += ["--cost", 4]
    one_line(
        cli(*asked, "--check", table, "--truth", "nothing"), "--truth nothing: no --check or --measured table"
    )
    one_line(cli(*asked, "--own", tmp_path / "none.csv"), "none.csv")
    one_line(cli(*asked, "--own", table, "--insert", 70), "no", "inserts of 70 bases", "--insert")
    one_line(
        cli(*asked, "--own", "v.vcf.gz"), "v.vcf.gz holds variants", "legscore variants v.vcf.gz --fasta"
    )
    one_line(cli(*asked, "--own", table, "-o", table, "--force"), "end its name in .safetensors")


# the spread of members


def test_an_sd_that_only_follows_the_level_carries_nothing() -> None:
    rng = np.random.default_rng(12)
    tile_N = np.repeat(np.arange(300), 4)
    level, own = rng.normal(size=1_200), rng.normal(size=1_200)
    spread = np.exp(0.5 * level + 0.8 * own)
    labels = level + spread * np.array([[-1.0], [0.0], [1.0]])
    knows, follows = (
        sd_figures(own + level, labels, tile_N),
        sd_figures(level + 0.01 * own[::-1], labels, tile_N),
    )
    assert knows is not None
    assert follows is not None
    assert knows["informative"] is True
    assert follows["spearman"] > 0.4
    assert follows["informative"] is False
    assert abs(follows["beyond_level"]) < 0.1
    assert knows["low"] < knows["beyond_level"] < knows["high"]
    assert sd_figures(own, labels[:1], tile_N) is None


def test_run_prints_the_checks(ensemble: str, tmp_path: Path, cli: Any) -> None:
    own = pair_table(tmp_path / "own.csv", np.random.default_rng(13), 20, 6)
    student = distill([ensemble], tmp_path / "s.safetensors", replace(OPTIONS, own=own, own_share=90))
    ran = cli("run", own, "-m", student, "-o", tmp_path / "o.csv", "--keep", "measured")
    assert ran.code == 0, ran.err
    (line,) = [line for line in ran.err.splitlines() if line.startswith("student:")]
    assert "single changes of 4 tiles Pearson" in line
    assert "your own rows" in line
    kept = json.loads((tmp_path / "o.csv.run.json").read_text())["models"][0]["student"]
    assert kept["fidelity"]["checks"][1]["name"] == "own"
