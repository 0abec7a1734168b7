"""`--shifts`: scores of windows moved along the vector or the genome, averaged; against windows cut by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, human_contract, one_line, random_dna, scored_by, toy_checkpoint
from native_families import NOT_BUILT
from test_resume import Cheap, Interrupted, interrupt_after

import legscore
from legscore.dna.codes import encode_text
from legscore.dna.constructs import HUMAN_DOWNSTREAM, HUMAN_UPSTREAM
from legscore.engine.native_library import library_path
from legscore.errors import LegscoreError
from legscore.rows.schema import KINDS
from legscore.rows.shifts import in_vector
from legscore.rows.window import Windower
from legscore.run.options import parse_shifts

Cli = Callable[..., Ran]
PLACES = (-5, 0, 7, 21)
TEXT = ",".join(map(str, PLACES))
ROWS = 12
CLOSE = 2e-5
"""FP32 sums in another order."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small networks of the human construct, each trained without one of three folds."""
    folder = tmp_path_factory.mktemp("human")
    rule = {"by": "column", "column": "fold", "sequence_is": "insert"}
    for seed in range(3):
        made = toy_checkpoint(seed, human_contract(), pools=(2, 2))
        training = {"folds": rule, "folds_held_out": [seed], "recipe": {"keep": "last"}, "seed": seed}
        replace(made, training=training).save(folder / f"m{seed}.safetensors")
    return folder


@pytest.fixture
def inserts() -> list[str]:
    rng = np.random.default_rng(8)
    return [random_dna(rng, 200) for _ in range(ROWS)]


def moved(insert: str, place: int) -> str:
    """The window of an insert, moved along the vector: letter by letter, as the text says."""
    contract = human_contract()
    vector = HUMAN_UPSTREAM + contract.flank5 + insert + contract.flank3 + HUMAN_DOWNSTREAM
    start = len(HUMAN_UPSTREAM) + place
    return vector[start : start + contract.length]


def turned(texts: list[str]) -> list[str]:
    """The other strand of inserts."""
    return [text.translate(str.maketrans("ACGT", "TGCA"))[::-1] for text in texts]


def expected(models: Path, inserts: list[str], places: tuple[int, ...] = PLACES) -> np.ndarray:
    """Each member's score, float64 [members, rows]: the mean over windows cut by hand."""
    with legscore.load_ensemble(models, precision="fp32") as ensemble:
        each = [
            ensemble.score(
                [moved(text, place) for text in inserts], sequence_is="window", per_member=True
            ).astype(np.float64)
            for place in places
        ]
    return np.asarray(np.mean(each, axis=0))


def run(cli: Cli, table: dict[str, Any], folder: Path, models: Path, *more: object) -> pa.Table:
    pq.write_table(pa.table(table), folder / "t.parquet")
    given = ("-m", models, "-o", folder / "o.parquet", "--precision", "fp32", "--force")
    ran = cli("run", folder / "t.parquet", *given, *more)
    assert ran.code == 0, ran.err
    return pq.read_table(folder / "o.parquet")


@pytest.mark.parametrize("rc", ["construct", "insert"])
@pytest.mark.parametrize("kind", ["sequence", "pair", "edit"])
def test_every_window_as_cut_by_hand(inserts: list[str], kind: str, rc: str) -> None:
    """Sequences, pairs, and edits of which some delete or insert a base or leave the window."""
    rng = np.random.default_rng(2)
    offsets = rng.integers(0, 200, ROWS)
    offsets[:3] = 0, 199, 20
    alts = ["A" if text[at] != "A" else "C" for text, at in zip(inserts, offsets, strict=True)]
    changed = [t[:at] + alt + t[at + 1 :] for t, at, alt in zip(inserts, offsets, alts, strict=True)]
    refill: list[str | None] = [None] * ROWS
    if (
        kind == "edit"
    ):  # row 5 loses a base and takes a G in at the 3' end, row 6 gains one and loses its first
        alts[5:7], refill[5:7] = ["-", "+T"], ["3G", "5"]
        offsets[5:7] = 70, 90
        changed[5] = inserts[5][:70] + inserts[5][71:] + "G"
        changed[6] = (inserts[6][:90] + "T" + inserts[6][90:])[1:]
    columns: dict[str, dict[str, Any]] = {
        "sequence": {"sequence": inserts},
        "pair": {"ref_sequence": inserts, "alt_sequence": changed},
        "edit": {"sequence": inserts, "offset": offsets, "alt_base": alts, "refill": refill},
    }
    contract = human_contract()
    for places in ((0,), (-21, 0, 53), (7, 3, -4), (50, 53)):
        given = {role: pa.array(column) for role, column in columns[kind].items()}
        windows = Windower(contract, KINDS[kind], "insert", rc)(given)
        found = in_vector(places, contract)(windows)
        codes, strands = found.batch.expand(), windows.index_NKS.shape[2]
        assert found.index_NKS.shape == (*windows.index_NKS.shape[:2], strands * len(places))
        assert found.n_asked == windows.n_asked * len(places)
        for k, texts in enumerate((inserts, changed)[: found.index_NKS.shape[1]]):
            for i, place in enumerate(places):
                for strand in range(strands):
                    both = turned(texts) if strand else texts
                    hand = np.stack([encode_text(moved(text, place)) for text in both])
                    assert (codes[found.index_NKS[:, k, i * strands + strand]] == hand).all()


@pytest.mark.parametrize("engine", ["openvino", "native", "torch"])
def test_sequences(cli: Cli, models: Path, inserts: list[str], tmp_path: Path, engine: str) -> None:
    if engine == "torch":
        pytest.importorskip("torch", reason="engine torch needs legscore[train]")
    if engine == "native" and not library_path().is_file():
        pytest.skip(NOT_BUILT)
    with_precision = () if engine != "native" else ("--precision", "bf16")
    given = ("--shifts", TEXT, "--per-model", "--engine", engine, *with_precision)
    scored = run(cli, {"sequence": inserts}, tmp_path, models, *given)
    found = np.array(scored["score_per_model"].to_pylist()).T
    wanted = expected(models, inserts)
    close = CLOSE if engine != "native" else 0.05
    assert np.abs(found - wanted).max() < close
    assert np.abs(scored["score"].to_numpy() - wanted.mean(axis=0)).max() < close
    unmoved = expected(models, inserts, (0,))
    assert np.abs(wanted - unmoved).max() > 10 * CLOSE  # what is compared differs from windows as they are


def test_oligos_and_windows_move_as_inserts_do(
    cli: Cli, models: Path, inserts: list[str], tmp_path: Path
) -> None:
    oligos = [moved(text, 0) for text in inserts]
    ways = (("insert", inserts), ("oligo", oligos), ("window", oligos))
    scores = [
        run(cli, {"sequence": texts}, tmp_path, models, "--shifts", TEXT, "--sequence-is", word)["score"]
        for word, texts in ways
    ]
    assert scores[0].equals(scores[1])
    assert scores[0].equals(scores[2])


def test_edits_and_pairs(cli: Cli, models: Path, inserts: list[str], tmp_path: Path) -> None:
    """A change is moved with its window; one that has left a window leaves no effect there."""
    offsets = [100, 0, 3, 199, 198, 180, 50, 10, 120, 130, 140, 150]
    alts = ["A" if text[at] != "A" else "C" for text, at in zip(inserts, offsets, strict=True)]
    changed = [t[:at] + alt + t[at + 1 :] for t, at, alt in zip(inserts, offsets, alts, strict=True)]
    wanted = expected(models, changed) - expected(models, inserts)
    pairs = {"ref_sequence": inserts, "alt_sequence": changed}
    edits = {"sequence": inserts, "offset": offsets, "alt_base": alts}
    for table in (pairs, edits):
        scored = run(cli, table, tmp_path, models, "--shifts", TEXT, "--per-model")
        assert set(scored["status"].to_pylist()) == {"ok"}
        assert np.abs(np.array(scored["effect_per_model"].to_pylist()).T - wanted).max() < CLOSE
    far = "21,45,53"  # the first 21, 45 and 53 bases are gone: flank (15) and up to 38 of the insert
    scored = run(cli, edits, tmp_path, models, "--shifts", far)
    places = tuple(map(int, far.split(",")))
    wanted = (expected(models, changed, places) - expected(models, inserts, places)).mean(axis=0)
    found = scored["effect"].to_numpy()
    assert np.abs(found - wanted).max() < CLOSE
    assert found[1] == 0  # offset 0 has left all three windows
    assert found[2] == 0
    assert found[7] != 0  # offset 10 is still in the first


def test_the_insert_s_own_strand(cli: Cli, models: Path, inserts: list[str], tmp_path: Path) -> None:
    changed = [text[:60] + ("A" if text[60] != "A" else "C") + text[61:] for text in inserts]
    edits = {"sequence": inserts, "offset": [60] * ROWS, "alt_base": [text[60] for text in changed]}
    scored = run(cli, edits, tmp_path, models, "--shifts", TEXT, "--rc", "insert")
    with legscore.load_ensemble(models, precision="fp32", rc="none") as ensemble:

        def score(texts: list[str]) -> np.ndarray:
            each = [
                ensemble.score([moved(t, p) for t in texts], sequence_is="window").astype(np.float64)
                for p in PLACES
            ]
            return np.asarray(np.mean(each, axis=0))

        wanted = (score(changed) + score(turned(changed)) - score(inserts) - score(turned(inserts))) / 2
    assert np.abs(scored["effect"].to_numpy() - wanted).max() < CLOSE


def test_out_of_fold_and_until_se(cli: Cli, models: Path, inserts: list[str], tmp_path: Path) -> None:
    table = {"sequence": inserts, "fold": [row % 3 for row in range(ROWS)]}
    scored = run(cli, table, tmp_path, models, "--shifts", TEXT, "--out-of-fold", "fold")
    wanted = expected(models, inserts)
    own = [wanted[row % 3, row] for row in range(ROWS)]
    assert np.abs(scored["score"].to_numpy() - own).max() < CLOSE
    for seed in range(3, 7):
        toy_checkpoint(seed, human_contract(), pools=(2, 2)).save(tmp_path / f"n{seed}.safetensors")
    more = [word for seed in range(3, 7) for word in ("-m", tmp_path / f"n{seed}.safetensors")]
    scored = run(cli, table, tmp_path, models, *more, "--shifts", TEXT, "--until-se", "1e-9")
    all_of = run(cli, table, tmp_path, models, *more, "--shifts", TEXT)
    assert scored["score"].to_numpy() == pytest.approx(all_of["score"].to_numpy(), abs=1e-6)


def test_recorded_and_part_of_what_was_asked(
    cli: Cli, models: Path, inserts: list[str], tmp_path: Path
) -> None:
    run(cli, {"sequence": inserts}, tmp_path, models, "--shifts", "0:14:7")
    told = json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[b"legscore"])
    assert told["options"]["shifts"] == [0, 7, 14]
    given = ("run", tmp_path / "t.parquet", "-m", models, "-o", tmp_path / "o.parquet", "--precision", "fp32")
    assert "already finished" in cli(*given, "--shifts", "0:14:7").err
    assert cli(*given, "--shifts", "0:21:7").code == 2
    assert cli(*given).code == 2
    run(cli, {"sequence": inserts}, tmp_path, models)
    plain = json.loads(pq.read_schema(tmp_path / "o.parquet").metadata[b"legscore"])
    assert "shifts" not in plain["options"]


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    cli: Cli, models: Path, inserts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are those of the same shifts alone."""
    scored_by(monkeypatch, Cheap)
    pq.write_table(pa.table({"sequence": inserts}), tmp_path / "t.parquet")
    given = ("run", tmp_path / "t.parquet", "-m", models, "--precision", "fp32", "--part-rows", 4, "-q")
    assert cli(*given, "--shifts", TEXT, "-o", tmp_path / "whole.parquet").code == 0
    out = ("-o", tmp_path / "o.parquet")
    patch = interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        cli(*given, "--shifts", TEXT, *out)
    patch.undo()
    one_line(cli(*given, "--shifts", "0,7", *out), "shifts", "--restart")
    one_line(cli(*given, *out), "shifts", "--restart")
    ran = cli(*given[:-1], "--shifts", TEXT, *out)
    assert ran.code == 0, ran.err
    assert "resume: 2 of 3 parts" in ran.err
    assert (tmp_path / "o.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_on_the_genome(cli: Cli, models: Path, tmp_path: Path) -> None:
    """The window moves on the genome: 231 bases, the variant at index 115 less the shift."""
    rng = np.random.default_rng(5)
    contig = random_dna(rng, 2000)
    (tmp_path / "g.fa").write_text(f">chr1\n{contig}\n")
    pytest.importorskip("pysam").faidx(str(tmp_path / "g.fa"))
    pos = [400, 900, 1500, 130, 116]  # the last two lie too near the start to be moved by 20, or at all
    alts = ["A" if contig[at - 1] != "A" else "C" for at in pos]
    lines = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chr1,length=2000>",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    lines += [f"chr1\t{at}\t.\t{contig[at - 1]}\t{alt}\t.\t.\t." for at, alt in zip(pos, alts, strict=True)]
    (tmp_path / "v.vcf").write_text("\n".join(lines) + "\n")
    given = ("run", tmp_path / "v.vcf", "--fasta", tmp_path / "g.fa", "--centered", "--context", "genome")
    out = ("-m", models, "-o", tmp_path / "s.parquet", "--precision", "fp32", "--force")
    places = (-20, 0, 10)
    ran = cli(*given, *out, "--shifts", ",".join(map(str, places)))
    assert ran.code == 0, ran.err
    assert "windows of 231 bases" in ran.err
    assert "mean of 3 windows moved by -20, 0, 10, on the genome" in ran.err
    scored = pq.read_table(tmp_path / "s.parquet")
    assert scored["status"].to_pylist() == ["ok", "ok", "ok", "edge", "edge"]

    def cut(at: int, place: int, alt: str | None) -> str:
        start = at - 1 - 115 + place
        text = contig[start : start + 231]
        return text if alt is None else text[: 115 - place] + alt + text[115 - place + 1 :]

    rows = list(zip(pos[:3], alts[:3], strict=True))
    table = {
        "ref_sequence": [cut(at, place, None) for at, _ in rows for place in places],
        "alt_sequence": [cut(at, place, alt) for at, alt in rows for place in places],
    }
    assert all(a != b for a, b in zip(table["ref_sequence"], table["alt_sequence"], strict=True))
    wanted = np.array(of_windows(cli, table, models, tmp_path)).reshape(3, len(places)).mean(axis=1)
    assert np.abs(scored["effect"].to_numpy()[:3] - wanted).max() < CLOSE


def of_windows(cli: Cli, table: dict[str, list[str]], models: Path, folder: Path) -> list[float]:
    """Effects of windows of genome, whose table says that they are."""
    made = {"variants": {"context": "genome", "length": 231, "sequence_is": "window"}}
    data = pa.table(table).replace_schema_metadata({b"legscore": json.dumps(made).encode()})
    pq.write_table(data, folder / "w.parquet")
    ran = cli(
        "run", folder / "w.parquet", "-m", models, "-o", folder / "w_out.parquet", "--precision", "fp32"
    )
    assert ran.code == 0, ran.err
    effects: list[float] = pq.read_table(folder / "w_out.parquet")["effect"].to_pylist()
    ran = cli(
        "run", folder / "w.parquet", "-m", models, "-o", folder / "x.parquet", "--shifts", "0,7", "--force"
    )
    one_line(ran, "holds windows of genome without what lies around them", "--fasta and --centered")
    return effects


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",", "write whole numbers such as 0,7,14, or FROM:TO:STEP"),
        ("a,b", "write whole numbers"),
        ("0:10:0", "write whole numbers"),
        ("0:10", "write whole numbers"),
        ("3,3", "a shift stands there twice"),
        ("0:64:1", "at most 64 shifts"),
        ("1001", "of at most 1,000 bases"),
    ],
)
def test_words(cli: Cli, models: Path, tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LegscoreError, match="--shifts"):
        parse_shifts(text)
    pq.write_table(pa.table({"sequence": ["A" * 200]}), tmp_path / "t.parquet")
    given = ("run", tmp_path / "t.parquet", "-m", models, "-o", tmp_path / "o.parquet")
    one_line(cli(*given, f"--shifts={text}"), "--shifts", message)
    assert not (tmp_path / "o.parquet").exists()


def test_what_does_not_go_together(cli: Cli, models: Path, toy_models: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"ref_sequence": ["A" * 80], "alt_sequence": ["C" * 80]}), tmp_path / "t.parquet")
    given = ("run", tmp_path / "t.parquet", "-o", tmp_path / "o.parquet")
    one_line(cli(*given, "-m", toy_models, "--shifts", "0,7"), "7 bases after the window", "none are known")
    one_line(cli(*given, "-m", models, "--shifts=-22"), "22 bases before the window", "21 are known")
    one_line(cli(*given, "-m", models, "--shifts", "0,7", "--shuffle-null", 3), "--shuffle-null", "--shifts")
    one_line(cli(*given, "-m", models, "--shifts", "0,7", "--calibration", "c.json"), "--calibration")
    genome = ("--fasta", "g.fa", "--promoters", "g.gtf", "--context", "genome")
    ran = cli("run", "v.vcf", *genome, "-o", tmp_path / "o.parquet", "-m", models, "--shifts", "0,7")
    one_line(ran, "--context genome needs --centered")


def test_a_construct_of_ones_own_moves_as_far_as_its_training_did() -> None:
    contract = human_contract(flank5="A" * 15, adapter5="A" * 15)
    assert len(in_vector((0, 4), contract, "ACGTACGT").after) == 4
    with pytest.raises(LegscoreError, match="9 bases after the window are needed, and of this construct 8"):
        in_vector((9,), contract, "ACGTACGT")
