"""Distilling: windows held out for good, labels and training that go on, a student that says how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import human_contract, one_line, random_dna, toy_checkpoint, yeast_contract

pytest.importorskip("torch", reason="distilling needs legscore[train]")

from legscore.distill.agreement import agreement, best_member
from legscore.distill.drawn_groups import draw_groups, kmers_of, with_changes
from legscore.distill.labels import PIECE, WINDOWS, windows_of
from legscore.distill.make_student import distill
from legscore.distill.options import DistillOptions, Follower
from legscore.distill.pruning import cost_of, pruned, student_shape
from legscore.distill.sources import RandomDna, open_sources
from legscore.distill.student_trainer import targets_of
from legscore.dna.codes import encode_text
from legscore.dna.contract import reverse_complement
from legscore.errors import InputError, LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint, load_checkpoint, load_members
from legscore.model.forward import Forward
from legscore.model.student import sealed_student, student_record

OPTIMISED: dict[str, Any] = {
    "se": "plain",
    "filters_per_group": 1,
    "concat_order": "fx,x",
    "final_activation": "none",
}
KINDS = {
    "original": toy_checkpoint(1, filters_per_group=4),
    "optimised": toy_checkpoint(2, **OPTIMISED),
    "added": toy_checkpoint(3, residual="add", se="plain"),
    "alone": toy_checkpoint(4, residual="none", se="none"),
    "human": toy_checkpoint(5, human_contract(), pools=(2, 2), **OPTIMISED),
    "other alphabet": toy_checkpoint(
        6, yeast_contract(alphabet="ACGT", channels=(*"ACGT", "is_reverse", "is_singleton"))
    ),
}
QUICK = DistillOptions(
    cost=4,
    labels=400,
    steps=12,
    save_every=5,
    log_every=4,
    check_tiles=4,
    engine="openvino",
    precision="fp32",
)


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
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in (1, 2, 3):
        toy_checkpoint(seed, **OPTIMISED).save(folder / f"seed{seed}.safetensors")
    return folder


@pytest.fixture(scope="module")
def student(ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    return distill([str(ensemble)], path, replace(QUICK, force_student=True))


# windows


def test_a_group_is_a_reference_and_changes_of_it() -> None:
    rng = np.random.default_rng(0)
    groups = with_changes(RandomDna(80).draw(500, rng), rng)
    changed = groups[:, 1:] != groups[:, :1]
    assert (changed[:, :2].sum(axis=2) == 1).all()
    assert not (changed[:, 0] & changed[:, 1]).any()
    several = changed[:, 2].sum(axis=1)
    assert (several.min(), several.max()) == (3, 15)
    assert groups.max() == 3


def tile_table(path: Path, dna: str, step: int, length: int = 80) -> str:
    tiles = [dna[start : start + length] for start in range(0, len(dna) - length + 1, step)]
    pq.write_table(pa.table({"sequence": tiles}), path)
    return str(path)


@pytest.mark.parametrize("form", ["tiles", "fasta"])
def test_held_out_windows_share_no_20_bases_with_others(tmp_path: Path, form: str) -> None:
    """Though tiles overlap, on both strands."""
    dna = random_dna(np.random.default_rng(1), 30_000)
    tiles: tuple[str, ...] = ()
    fasta: tuple[str, ...] = ()
    if form == "tiles":
        tiles = (tile_table(tmp_path / "tiles.parquet", dna, 7),)
    else:
        (tmp_path / "g.fa").write_text(f">c\n{dna}\n")
        fasta = (str(tmp_path / "g.fa"),)
    sources = open_sources(yeast_contract(), 80, tiles, fasta, (), 1, lambda line: None)
    drawn = draw_groups(sources, 400, 40, 5)
    assert len(drawn) == 400
    held, others = (part.reshape(-1, 80) for part in (drawn.inserts_GKL[:40], drawn.inserts_GKL[40:]))
    apart = np.union1d(kmers_of(held), kmers_of(reverse_complement(held)))
    assert not np.isin(kmers_of(others), apart).any()
    of_genome = np.isin(kmers_of(others), kmers_of(encode_text(dna)[None])).any(axis=1)
    assert of_genome.mean() > 0.1  # or nothing was at stake
    assert draw_groups(sources, 400, 40, 5).sha256 == drawn.sha256 != draw_groups(sources, 400, 40, 6).sha256


def test_kmers_are_numbers_of_20_bases() -> None:
    codes = np.random.default_rng(2).integers(0, 4, (3, 25), dtype=np.uint8)
    expected = [
        [sum(int(b) * 4 ** (19 - i) for i, b in enumerate(row[s : s + 20])) for s in range(6)]
        for row in codes
    ]
    assert kmers_of(codes).tolist() == expected
    assert kmers_of(codes[:, :7]).shape == (3, 1)


def test_a_genome_that_is_all_held_out_is_refused(tmp_path: Path) -> None:
    tiles = tile_table(tmp_path / "t.parquet", random_dna(np.random.default_rng(3), 120), 1)
    sources = open_sources(yeast_contract(), 80, (tiles,), (), (), 1, lambda line: None)
    with pytest.raises(InputError, match=r"share no 20 bases with those held out; give more --tiles"):
        draw_groups([(1.0, sources[1][1])], 200, 20, 1)


def test_tables_give_inserts_in_every_form_and_leave_out_the_others(tmp_path: Path) -> None:
    rng, contract = np.random.default_rng(4), yeast_contract()
    inserts = [random_dna(rng, 80) for _ in range(6)]
    for form, texts in {
        "insert": inserts,
        "oligo": [contract.adapter5 + insert + contract.adapter3 for insert in inserts],
        "window": [contract.window(insert) for insert in inserts],
    }.items():
        path = tmp_path / f"{form}.csv"
        more = [texts[0], texts[1][:-1], texts[2].replace("A", "N"), ""]
        path.write_text("sequence\n" + "\n".join([*texts, *more]) + "\n")
        said: list[str] = []
        (_, listed) = open_sources(contract, 80, (), (), (str(path),), 1, said.append)[1]
        found = {tuple(row) for row in listed.draw(6, rng)}
        assert found == {tuple(encode_text(insert)) for insert in inserts}
        assert "7 inserts of 80 bases in 10 rows" in said[0]
    (tmp_path / "short.csv").write_text("sequence\nACGT\n")
    with pytest.raises(InputError, match=r"short.csv: no insert of 80 bases without N"):
        open_sources(contract, 80, (), (), (str(tmp_path / "short.csv"),), 1, lambda line: None)


# pruning


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_that_is_not_narrowed_scores_as_before(kind: str) -> None:
    """Only the strand is gone, and channels that are 0 on it."""
    member = KINDS[kind]
    contract = member.contract.cropped(200 if kind == "human" else 80, 1_000)
    assert contract.length == member.contract.length
    whole = replace(member.architecture, in_channels=4)
    codes = np.random.default_rng(5).integers(0, 5, (4, contract.length), dtype=np.uint8)
    ours, theirs = (
        Forward(model, both_strands=False, is_singleton=False).score(codes)
        for model in (pruned(member, whole, contract), member)
    )
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [2, 6])
def test_a_student_is_as_wide_as_its_cost_allows(kind: str, share: int) -> None:
    member = KINDS[kind]
    contract = member.contract.cropped(200 if kind == "human" else 80, 8)
    budget = cost_of(member.architecture, member.contract) / share
    shape = student_shape(member.architecture, contract, budget)
    assert shape.multiply_adds(contract.length) <= 1.05 * budget
    assert shape.multiply_adds(contract.length) > 0.3 * budget
    model = pruned(member, shape, contract)  # a checkpoint checks every array's shape
    codes = windows_of(RandomDna(contract.insert_min).draw(3, np.random.default_rng(6)), contract)
    assert np.isfinite(Forward(model, both_strands=False, is_singleton=False).score(codes)).all()


def test_channels_that_nothing_reads_go_first() -> None:
    """Weights of half the channels are 0: without them the scores stay as they are."""
    member = KINDS["optimised"]
    arrays = {name: array.copy() for name, array in member.arrays.items()}
    idle = np.arange(0, 16, 2)
    for name in ("blocks.0.expand.conv.weight", "blocks.0.mix.conv.weight"):
        arrays[name][:, idle] = 0
    arrays["blocks.0.mix.conv.weight"][:, 16 + idle] = 0
    arrays["blocks.0.project.conv.weight"][:, ::2] = 0
    member = replace(member, arrays=arrays)
    contract = member.contract.cropped(80, 8)
    shape = replace(member.architecture, in_channels=4)
    narrow = replace(shape, widths=(8, 8, 8), inner_widths=(16, 32))
    codes = windows_of(RandomDna(80).draw(4, np.random.default_rng(7)), contract)
    ours, theirs = (
        Forward(pruned(member, a, contract), both_strands=False, is_singleton=False).score(codes)
        for a in (narrow, shape)
    )
    # the gate of the first block loses what its idle inner channels told it; everything else stays
    without_gate = replace(
        member, arrays={**arrays, "blocks.0.se.squeeze.weight": arrays["blocks.0.se.squeeze.weight"] * 0}
    )
    exact = [
        Forward(pruned(without_gate, a, contract), both_strands=False, is_singleton=False).score(codes)
        for a in (narrow, shape)
    ]
    assert np.abs(exact[0] - exact[1]).max() < 1e-4
    assert np.abs(ours - theirs).max() < 1.0


# training


class Interrupted(Follower):
    """Ends the process's work as a kill between two steps would, or asks to stop there."""

    def __init__(self, at: int, *, kill: bool) -> None:
        self.at, self.kill, self.step, self.said = at, kill, 0, []  # type: ignore[var-annotated]

    def say(self, line: str) -> None:
        self.said.append(line)

    def trained(self, step: int, steps: int) -> None:
        self.step = step
        if self.kill and step == self.at:
            raise KeyboardInterrupt

    def stopped(self) -> bool:
        return not self.kill and self.step == self.at


@pytest.mark.parametrize(("at", "kill"), [(3, True), (8, True), (7, False)])
def test_an_interrupted_distillation_ends_with_the_same_student(
    at: int, kill: bool, ensemble: Path, student: Path, tmp_path: Path
) -> None:
    """Killed before the first saved state, after one, or asked to stop between two."""
    path, options = tmp_path / "s.safetensors", replace(QUICK, force_student=True)
    follower = Interrupted(at, kill=kill)
    with pytest.raises(
        KeyboardInterrupt if kill else LegscoreError, match=None if kill else "stopped at step 7 of 12"
    ):
        distill([str(ensemble)], path, options, follower)
    assert not path.exists()
    again = Interrupted(0, kill=True)
    distill([str(ensemble)], path, options, again)
    assert path.read_bytes() == student.read_bytes()
    said = "\n".join(again.said)
    assert "labels: 500 of 500 are there" in said
    assert (f"going on from step {at // 5 * 5 if kill else at} of 12" in said) == (at >= 5)
    assert not Path(f"{path}.distill").exists()


class StopsLabelling(Follower):
    def labelled(self, kind: str, done: int, total: int) -> None:
        self.done = done

    def stopped(self) -> bool:
        return True


def test_labels_are_kept_piece_by_piece_and_damaged_ones_made_again(
    ensemble: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legscore.distill.labels.PIECE_WINDOWS", 64)
    path, options = tmp_path / "s.safetensors", replace(QUICK, force_student=True)
    folder = Path(f"{path}.distill")
    with pytest.raises(
        LegscoreError, match="stopped after 64 of 500 labels, which are kept; the same command"
    ):
        distill([str(ensemble)], path, options, StopsLabelling())
    pieces = [p for p in folder.iterdir() if PIECE.fullmatch(p.name)]
    assert len(pieces) == 1
    content = bytearray(pieces[0].read_bytes())
    content[-1] ^= 1
    pieces[0].write_bytes(content)
    other = replace(options, seed=2)
    with pytest.raises(LegscoreError, match=r"labels of another distillation \(windows was .*--restart"):
        distill([str(ensemble)], path, other)
    distill([str(ensemble)], path, options)
    assert path.read_bytes() == student.read_bytes()


def test_minutes_become_steps_once(ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def seconds(trainer: Any) -> float:
        measured.append(1.0)
        return 0.5

    monkeypatch.setattr("legscore.distill.make_student._seconds_a_step", seconds)
    path = tmp_path / "s.safetensors"
    options = replace(QUICK, steps=None, minutes=0.1, force_student=True, keep_labels=True)
    with pytest.raises(KeyboardInterrupt):
        distill([str(ensemble)], path, options, Interrupted(7, kill=True))
    distill([str(ensemble)], path, options)
    assert load_checkpoint(path).training["steps"] == 12
    assert measured == [1.0]
    kept = sorted(p.name for p in Path(f"{path}.distill").iterdir())
    windows = [name for name in kept if WINDOWS.fullmatch(name)]
    assert [name.split("-")[1] for name in windows] == ["forward", "labels"]
    assert {name for name in kept if not PIECE.fullmatch(name)} == {"plan.json", *windows}


def test_the_seconds_of_a_step_are_measured(
    ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legscore.distill.make_student.MEASURED_S", 0.0)
    path = tmp_path / "s.safetensors"
    distill([str(ensemble)], path, replace(QUICK, steps=None, minutes=0.001, force_student=True))
    assert 1 <= load_checkpoint(path).training["steps"] < 1_000


def test_training_brings_the_student_nearer_to_the_ensemble(
    ensemble: Path, student: Path, tmp_path: Path
) -> None:
    longer = distill(
        [str(ensemble)], tmp_path / "s.safetensors", replace(QUICK, steps=60, force_student=True)
    )
    short, long = (student_record(load_checkpoint(path)) for path in (student, longer))
    assert short is not None
    assert long is not None
    assert long["fidelity"]["levels"]["rmse"] < 0.7 * short["fidelity"]["levels"]["rmse"]


def test_an_ensemble_that_says_nothing_cannot_be_learnt() -> None:
    with pytest.raises(LegscoreError, match="gives all windows the same score"):
        targets_of(np.ones((2, 10, 4), np.float32))


# what a student says of itself


def test_agreement_is_what_it_is_called() -> None:
    rng = np.random.default_rng(8)
    theirs = rng.normal(5, 1, (200, 4))
    half = theirs.mean() + (theirs - theirs.mean()) / 2
    found = agreement(half, theirs)
    for of in ("levels", "effects"):
        assert found[of]["pearson"] == pytest.approx(1)
        assert found[of]["spearman"] == pytest.approx(1)
        assert found[of]["slope"] == pytest.approx(0.5)
    effects = theirs[:, 1:] - theirs[:, :1]
    assert found["effects"]["rmse"] == pytest.approx(np.sqrt((effects**2).mean()) / 2)
    largest = np.sort(np.abs(effects).ravel())[-60:]
    assert found["effects"]["worst_decile_rmse"] == pytest.approx(np.sqrt((largest**2).mean()) / 2)
    assert agreement(np.ones((9, 4)), theirs[:9])["effects"]["pearson"] is None
    members = np.stack([theirs + rng.normal(0, sd, theirs.shape) for sd in (0.5, 0.05, 0.5)])
    assert best_member(members) == 1


def test_a_student_is_refused_where_something_cheaper_is_better(tmp_path: Path, cli: Any) -> None:
    """A model of one strand and no flanks stands for itself, at the cost of a student that is as wide."""
    contract = yeast_contract(channels=tuple("AGCT"), rc_trained=False).in_genome(80)
    toy_checkpoint(1, contract, **OPTIMISED).save(tmp_path / "seed1.safetensors")
    path = tmp_path / "s.safetensors"
    asked = [
        "distill", "-m", tmp_path / "seed1.safetensors", "-o", path, "--cost", 1, "--labels", 400, "--steps", 12, "--engine",
        "openvino", "--precision", "fp32",
    ]  # fmt: skip
    ran = cli(*asked)
    assert "labels: 1,400 of 1,400\n" in ran.err
    assert "forward strands alone: 1,100 of 1,100\n" in ran.err
    one_line(
        ran,
        "was not written",
        "forward strand (seed1",
        "costs no more",
        "--force-student",
        "labels are kept in",
    )
    assert not path.exists()
    ran = cli(*asked, "--force-student")
    assert ran.code == 0, ran.err
    assert "going on from step 12 of 12" in ran.err  # nothing is trained again
    assert "one member, forward strand agrees better (1.000 at 1/1)" in ran.err.splitlines()[-2]
    record = student_record(load_checkpoint(path))
    assert record is not None
    assert record["forced"] is True


def test_run_says_and_records_how_good_a_student_is(student: Path, tmp_path: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("sequence\n" + random_dna(np.random.default_rng(9), 80) + "\nACGT\n")
    ran = cli("run", tmp_path / "s.csv", "-m", student, "-o", tmp_path / "o.csv", "--engine", "openvino")
    assert ran.code == 0, ran.err
    (line,) = [line for line in ran.err.splitlines() if line.startswith("student:")]
    assert "of 3 models at 1/" in line
    assert "held-out groups effects Pearson" in line
    recorded = json.loads((tmp_path / "o.csv.run.json").read_text())["models"][0]["student"]
    assert recorded == student_record(load_checkpoint(student))
    rows = (tmp_path / "o.csv").read_text().splitlines()
    assert "too_short" in rows[2]  # it takes inserts of 80 bases, and says so of others
    assert recorded["teacher"][0]["name"] == "seed1"
    assert [one["what"] for one in recorded["fidelity"]["baselines"]] == [
        "one member",
        "one member, forward strand",
    ]


def test_a_student_reads_one_strand_and_no_genome(student: Path, tmp_path: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("sequence\n" + random_dna(np.random.default_rng(9), 80) + "\n")
    asked = ["run", tmp_path / "s.csv", "-m", student, "-o", tmp_path / "o.csv"]
    one_line(cli(*asked, "--rc", "construct"), "is a student", "leave --rc construct out")
    one_line(cli(*asked, "--rc", "insert"), "is a student", "leave --rc insert out")
    one_line(cli(*asked, "--singleton", "1"), "have no is_singleton channel")


def test_a_record_that_was_changed_is_refused(student: Path, tmp_path: Path, cli: Any) -> None:
    """Better figures, or the figures of one student on the weights of another."""
    whole = load_checkpoint(student)
    edited = json.loads(json.dumps(whole.training))
    edited["student"]["fidelity"]["effects"]["pearson"] = 0.999
    arrays = dict(whole.arrays)
    arrays["head.conv.bias"] = arrays["head.conv.bias"] + 1
    broken = {**whole.training, "student": {"sha256": "x"}}
    for name, changed, word in (
        ("figures", replace(whole, training=edited), "was changed or belongs to other weights"),
        ("weights", replace(whole, arrays=arrays), "was changed or belongs to other weights"),
        ("broken", replace(whole, training=broken), "is not one"),
    ):
        path = tmp_path / f"{name}.safetensors"
        changed.save(path)
        (tmp_path / "s.csv").write_text("sequence\nACGT\n")
        one_line(cli("run", tmp_path / "s.csv", "-m", path, "-o", tmp_path / "o.csv"), path.name, word)


def test_a_sealed_record_survives_the_file(tmp_path: Path) -> None:
    model = toy_checkpoint(1, yeast_contract().cropped(80, 8))
    figures = dict.fromkeys(("pearson", "spearman", "rmse", "slope", "worst_decile_rmse"), None)
    fidelity = {"groups": 9, "levels": figures, "effects": figures, "baselines": []}
    sealed = sealed_student(model, {"teacher": [{"name": "a"}], "cost": 20.0, "fidelity": fidelity})
    sealed.save(tmp_path / "s.safetensors", half=False)
    assert student_record(load_members([tmp_path / "s.safetensors"])[0]) == student_record(sealed)
    assert student_record(model) is None


# what is refused


def test_options_that_make_no_student(ensemble: Path, student: Path, tmp_path: Path, cli: Any) -> None:
    out = tmp_path / "s.safetensors"
    asked = ["distill", "-m", ensemble, "-o", out]
    one_line(cli(*asked, "--minutes", 1, "--steps", 2), "--minutes and --steps exclude each other")
    one_line(cli(*asked, "--labels", 399), "--labels 399", "at least 400")
    one_line(cli(*asked, "--engine", "null"), "--engine null computes no scores")
    one_line(cli(*asked, "--cost", 100_000), "--cost asks for", "ask for a lower cost ratio")
    one_line(cli(*asked, "--insert", 138), "inserts of 138 bases: these models take 1 to 137")
    one_line(cli("distill", "-m", ensemble, "-o", tmp_path / "s.pt"), "end its name in .safetensors")
    one_line(cli("distill", "-m", student, "-o", out), "is a student itself")
    one_line(cli("distill", "-m", ensemble, "-o", student), "is there already", "--force")
    one_line(cli(*asked, "--tiles", tmp_path / "none.csv"), "none.csv")
    one_line(cli(*asked, "--fasta", tmp_path / "none.fa"), "none.fa: no such file")


def test_a_student_goes_with_no_ensemble(ensemble: Path, student: Path) -> None:
    with pytest.raises(ModelError, match="its sequence contract differs"):
        load_members([ensemble, student])


def test_every_member_alone_can_be_distilled(ensemble: Path, tmp_path: Path) -> None:
    """Of one model nothing deviates; its forward strand is the one thing that could stand for it."""
    one = distill(
        [str(ensemble / "seed1.safetensors")],
        tmp_path / "s.safetensors",
        replace(QUICK, cost=3, force_student=True),
    )
    found: Checkpoint = load_checkpoint(one)
    record = student_record(found)
    assert record is not None
    assert record["fidelity"]["baselines"][0]["effects"]["pearson"] == pytest.approx(1)
