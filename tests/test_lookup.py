"""Looking up: what a run gives, from an atlas; and what fits no atlas is refused."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from atlas_world import Steady, alleles, content, dna, small_stretches, telling, write_vcf, write_world
from conftest import REPOSITORY, Ran, one_line, opened_by

import legscore

pytest.importorskip("polars", reason="genomes need legscore[genome]")
pysam = pytest.importorskip("pysam", reason="genomes need legscore[genome]")
Cli = Callable[..., Ran]
GENOME = ("--fasta", "g.fa")
RUN = (*GENOME, "--tiles", "t.bed", "-m", "m", "--keep-outside", "-q")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_models: Path) -> Path:
    """A genome, and two atlases of its tiles: `snv`, and `all` with insertions and deletions."""
    from legscore.cli import main

    folder = write_world(tmp_path_factory.mktemp("atlas"))
    (folder / "m").symlink_to(toy_models)
    with pytest.MonkeyPatch.context() as patch:
        telling(patch)
        small_stretches(patch)
        patch.chdir(folder)
        for name, more in (
            ("snv", ()),
            ("all", ("--indels",)),
            ("short", ("--indels", "--numbers", "int16")),
        ):
            words = ["atlas", "build", *GENOME, "--tiles", "t.bed", "-m", "m", "-o", name, "-q", *more]
            patch.setattr("sys.argv", ["legscore", *words])
            main()
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    telling(monkeypatch)
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(cli: Cli, source: object, atlas: str = "all", *more: object, out: str = "l.parquet") -> pa.Table:
    ran = cli("lookup", source, *GENOME, "--atlas", atlas, "-o", out, "--force", *more)
    assert ran.code == 0, ran.err
    return pq.read_table(out)


def scored(cli: Cli, source: object, *more: object) -> pa.Table:
    ran = cli("run", source, *RUN, "-o", "r.parquet", "--force", *more)
    assert ran.code == 0, ran.err
    return pq.read_table("r.parquet")


def same(found: pa.Table, wanted: pa.Table) -> None:
    """Equal columns, types and values; a lookup's has one column more."""
    assert found.column_names == [*wanted.column_names, "lookup"]
    for name in wanted.column_names:
        one, other = found[name].combine_chunks(), wanted[name].combine_chunks()
        assert one.type == other.type, name
        assert one.equals(other), name


@pytest.mark.parametrize("atlas", ["snv", "all"])
def test_a_lookup_equals_a_run(here: Path, cli: Cli, atlas: str) -> None:
    """3,000 alleles of every kind, unsorted, of contigs with other names, twice, in tiles and beside them."""
    rows = alleles(3000)
    write_vcf(here / "v.vcf", [*rows, *rows[:50]])
    wanted = scored(cli, "v.vcf")
    found = look(cli, "v.vcf", atlas, "--score-misses", "-m", "m")
    same(found, wanted)
    said = Counter(found["lookup"].to_pylist())
    assert said["hit"] > 400
    assert said["miss"] > 100
    statuses = set(wanted["status"].to_pylist())
    assert statuses >= {
        "ok", "invalid_base", "ref_mismatch", "ref_alt_swapped", "ref_equals_alt", "edge",
        "unsupported_allele", "no_window",
    }  # fmt: skip
    unscored = look(cli, "v.vcf", atlas)
    assert Counter(unscored["status"].to_pylist())["miss"] == said["miss"]
    hits = pc.equal(unscored["lookup"], "hit")
    assert unscored.filter(hits).drop_columns("status") == found.filter(hits).drop_columns("status")
    others = unscored.filter(pc.is_in(unscored["lookup"], pa.array(["hit", "miss"]))).num_rows
    assert others == said["hit"] + said["miss"]
    rest = unscored.filter(pc.invert(pc.is_in(unscored["lookup"], pa.array(["hit", "miss"]))))
    assert rest["lookup"].to_pylist() == rest["status"].to_pylist()
    assert rest["effect"].null_count == rest.num_rows


@pytest.mark.parametrize("misses", [(), ("--score-misses", "-m", "m")])
def test_what_is_said_counts_the_rows_of_the_file(here: Path, cli: Cli, misses: tuple[str, ...]) -> None:
    """The line of rows counts the statuses as they are written, misses too."""
    write_vcf(here / "v.vcf", alleles(600))
    ran = cli("lookup", "v.vcf", *GENOME, "--atlas", "snv", "-o", "l.parquet", *misses)
    assert ran.code == 0, ran.err
    written = Counter(pq.read_table("l.parquet")["status"].to_pylist())
    (line,) = (line.strip() for line in ran.err.splitlines() if line.strip().startswith("rows: "))
    total, listed = line.removesuffix(")").split(" (")
    assert int(total.removeprefix("rows: ").replace(",", "")) == sum(written.values())
    said = {name: int(n.replace(",", "")) for name, n in (one.rsplit(" ", 1) for one in listed.split(", "))}
    assert said == written
    assert (written["miss"] > 0) == (not misses)


def test_the_warning_about_rows_without_a_score_counts_misses(here: Path, cli: Cli) -> None:
    """Of all rows in tiles, and says what the most of them are."""
    text = dna()["I"]
    gone = [("I", p, text[p - 1 : p + 2], text[p - 1]) for p in range(104, 110)]
    swapped = [("I", p, "ACGT".replace(text[p - 1], "")[0], text[p - 1]) for p in range(120, 124)]
    good = [snv("I", p) for p in range(125, 130)]
    write_vcf(here / "v.vcf", [*good, *gone, *swapped])
    words = ("lookup", "v.vcf", *GENOME, "--atlas", "snv", "-o", "l.parquet", "--force")
    assert "most rows have no score: 6 of 15 rows are changes that the atlas does not hold" in cli(*words).err
    write_vcf(here / "v.vcf", [*good, *gone[:1], *swapped, *swapped[:1]])
    assert "most rows have no score: 5 of 11 REFs are ALT's" in cli(*words).err
    write_vcf(here / "v.vcf", [*good, *swapped])
    assert "most rows" not in cli(*words).err


def test_tables_and_what_they_carry(here: Path, cli: Cli) -> None:
    """CSV, packed CSV, Parquet, standard input; other names of columns; what is carried over."""
    rows = [row for row in alleles(300, seed=3) if "," not in row[3]]
    text = "CHR,bp,REF,ALT,note\n" + "".join(f"{c},{p},{r},{a},n{i}\n" for i, (c, p, r, a) in enumerate(rows))
    (here / "v.csv").write_text(text)
    (here / "v.csv.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pyarrow.csv.read_csv("v.csv"), "v.parquet")
    wanted = scored(cli, "v.csv")
    for source in ("v.csv", "v.csv.gz"):
        same(look(cli, source, "all", "--score-misses", "-m", "m"), wanted)
    assert look(cli, "v.parquet").num_rows == wanted.num_rows
    renamed = text.replace("bp,", "at,", 1)
    (here / "w.csv").write_text(renamed)
    same(look(cli, "w.csv", "all", "--column", "pos=at", "--score-misses", "-m", "m"), wanted)
    done = subprocess.run(
        ["python", "-m", "legscore", "lookup", "-", *GENOME, "--atlas", "all", "-o", "-", "-q"],
        input=text, capture_output=True, text=True, check=True, cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == wanted.num_rows + 1
    assert (
        lines[0].split("\t")[-4:]
        == ["note", "ref_score", "alt_score", "effect"][:0] + lines[0].split("\t")[-4:]
    )
    assert lines[0].endswith("status\tn_count\tlookup")


@pytest.mark.parametrize(
    "name", ["lookup", "effect", "_found", "_n_count", "_tile", "_alt_score", "_effect", "_effect_sd"]
)
def test_columns_that_a_lookup_has_itself(here: Path, cli: Cli, name: str) -> None:
    """They are left out and said; other columns are carried, and the scores are those without them."""
    _, p, r, a = snv("I", 150)
    for file, column in (("v", "note"), ("w", f"{name},note")):
        value = "x" * len(column.split(","))
        (here / f"{file}.csv").write_text(f"chrom,pos,ref,alt,{column}\nI,{p},{r},{a},{','.join(value)}\n")
    wanted = look(cli, "v.csv")
    ran = cli("lookup", "w.csv", *GENOME, "--atlas", "all", "-o", "w.parquet")
    assert ran.code == 0, ran.err
    assert f"columns of w.csv not carried over, since legscore has its own of that name: {name}" in ran.err
    assert pq.read_table("w.parquet").equals(wanted)


def test_a_lookup_is_looked_up_again(here: Path, cli: Cli) -> None:
    """Its output is an input like others."""
    (here / "v.csv").write_text(
        "chrom,pos,ref,alt\n" + "".join(f"{c},{p},{r},{a}\n" for c, p, r, a in [snv("I", 120)])
    )
    first = look(cli, "v.csv", out="first.parquet")
    assert look(cli, "first.parquet").equals(first)


def test_a_vcf_comes_out_as_run_writes_it(here: Path, cli: Cli) -> None:
    """Plain, packed, BCF, standard output; the header names the command."""
    rows = sorted((row for row in alleles(400, seed=5) if "X" not in row[3]), key=lambda row: row[:2])
    write_vcf(here / "v.vcf", rows, "##contig=<ID=chrI,length=900>\n##contig=<ID=chrII,length=600>\n")
    assert cli("run", "v.vcf", *RUN[:6], "-q", "-o", "r.vcf").code == 0
    wanted = [line for line in Path("r.vcf").read_text().splitlines() if "##legscore_command" not in line]
    misses = ("--score-misses", "-m", "m")
    for out in ("l.vcf", "l.vcf.gz"):
        ran = cli("lookup", "v.vcf", *GENOME, "--atlas", "all", *misses, "-o", out)
        assert ran.code == 0, ran.err
        text = gzip.open(out, "rt").read() if out.endswith("gz") else Path(out).read_text()
        assert [line for line in text.splitlines() if "##legscore_command" not in line] == wanted
    assert Path("l.vcf.gz.tbi").exists()
    ran = cli("lookup", "v.vcf", *GENOME, "--atlas", "all", *misses, "-o", "-", "--format", "vcf", "-q")
    assert [line for line in ran.out.splitlines() if "##legscore_command" not in line] == wanted
    assert cli("lookup", "v.vcf", *GENOME, "--atlas", "all", "-o", "l.bcf").code == 0
    one_line(
        cli("lookup", "v.vcf", *GENOME, "--atlas", "all", "-o", "x.vcf", "--drop-outside"), "--drop-outside"
    )
    table = here / "t.csv"
    table.write_text("chrom,pos,ref,alt\nI,101,A,C\n")
    one_line(cli("lookup", table, *GENOME, "--atlas", "all", "-o", "x.vcf"), "x.vcf", "VCF")


def snv(contig: str, place: int, to: str = "", seed: int = 0) -> tuple[str, int, str, str]:
    """A right single-base change at a position (1-based)."""
    ref = dna()[contig][place - 1]
    return contig, place, ref, to or "ACGT".replace(ref, "")[seed % 3]


def test_an_input_that_fits_no_atlas_is_refused(here: Path, cli: Cli) -> None:
    """Contigs, genome, only misses: errors of one line without an output. All outside: a warning."""
    look_up = ("lookup", "v.vcf", *GENOME, "--atlas", "snv", "-o", "o.parquet")
    write_vcf(here / "v.vcf", [("7", 150, "A", "C"), ("8", 20, "A", "C")])
    one_line(cli(*look_up), "no contig in common")
    write_vcf(here / "v.vcf", [("odd", 150, "A", "C")] * 3, "##contig=<ID=I,length=900>\n##contig=<ID=odd>\n")
    one_line(cli(*look_up), "none of its 3 alleles lies on a contig", "--contig-map")
    write_vcf(here / "v.vcf", [snv("I", 150)], "##contig=<ID=I,length=901>\n")
    one_line(cli(*look_up), "901", "build")
    wrong = [
        (c, p, "ACGT".replace(r, "").replace(a, "")[0], a)
        for c, p, r, a in (snv("I", p) for p in range(110, 130))
    ]
    write_vcf(here / "v.vcf", wrong)
    one_line(cli(*look_up), "another genome build", "20 of 20")
    write_vcf(here / "v.vcf", [*wrong, *(snv("I", p) for p in range(130, 140))])
    one_line(cli(*look_up), "20 of 30")
    write_vcf(here / "v.vcf", wrong[:2])
    one_line(cli(*look_up), "2 of 2")
    assert not Path("o.parquet").exists()
    assert not Path("o.parquet.run.json").exists()
    ran = cli("lookup", "v.vcf", *GENOME, "--atlas", "snv", "-o", "-")
    assert (ran.code, ran.out) == (2, "")
    write_vcf(here / "v.vcf", [*wrong[:9], *(snv("I", p) for p in range(130, 138))])
    assert set(look(cli, "v.vcf", "snv")["lookup"].to_pylist()) == {"hit", "ref_mismatch"}
    write_vcf(here / "v.vcf", wrong[:1])
    assert look(cli, "v.vcf", "snv")["status"].to_pylist() == ["ref_mismatch"]
    text = dna()["I"]
    write_vcf(
        here / "v.vcf",
        [("I", 150, text[149:152], text[149]), ("I", 300, "ACGT".replace(text[299], "")[0], text[299])],
    )
    one_line(cli(*look_up), "none of the 2 changes", "--score-misses")
    assert set(look(cli, "v.vcf", "snv", "--score-misses", "-m", "m")["lookup"].to_pylist()) == {
        "miss",
        "ref_alt_swapped",
    }
    write_vcf(here / "v.vcf", [snv("I", 300), snv("II", 450), ("I", 320, dna()["I"][319], "<DEL>")])
    ran = cli(*look_up)
    assert ran.code == 0, ran.err
    assert "warning: v.vcf: no allele lies in a tile" in ran.err
    assert pq.read_table("o.parquet")["lookup"].to_pylist() == [
        "no_window",
        "no_window",
        "unsupported_allele",
    ]
    ran = cli("lookup", "v.vcf", *GENOME, "--atlas", "snv", "-o", "d.csv", "--drop-outside")
    assert (ran.code, "no allele lies in a tile" in ran.err) == (0, True)
    assert len(Path("d.csv").read_text().splitlines()) == 1


def test_odd_inputs(here: Path, cli: Cli) -> None:
    """No records, lower case, other contig names, no ALT, missing values, records twice, --region."""
    write_vcf(here / "v.vcf", [])
    assert look(cli, "v.vcf").num_rows == 0
    (here / "e.csv").write_text("chrom,pos,ref,alt\n")
    assert look(cli, "e.csv").num_rows == 0
    _, p, r, a = snv("I", 150)
    rows = [("chrI", p, r.lower(), a.lower()), ("1", p, r, "."), ("chrI", p, r, a), ("chrI", p, r, a)]
    write_vcf(here / "v.vcf", rows[:1] + rows[2:])
    found = look(cli, "v.vcf")
    assert found["lookup"].to_pylist() == ["hit"] * 6
    assert len(set(found["effect"].to_pylist())) == 2
    write_vcf(here / "v.vcf", [*rows[2:], ("chrI", p, r, ".")])
    assert look(cli, "v.vcf").num_rows == 4
    (here / "t.csv").write_text(
        f"chrom,pos,ref,alt\nchrI,{p},{r},{a}\nchrI,{p},{r},\nchrI,{p},NA,{a}\n,{p},{r},{a}\n"
    )
    assert look(cli, "t.csv")["lookup"].to_pylist() == ["hit"] * 2 + ["null_sequence"] * 4 + [
        "contig_missing"
    ]
    write_vcf(here / "v.vcf", [snv("I", p) for p in (120, 150, 200)], "##contig=<ID=I>\n")
    pysam.tabix_index("v.vcf", preset="vcf", keep_original=True)
    assert set(look(cli, "v.vcf.gz")["pos"].to_pylist()) == {120, 150, 200}
    assert set(look(cli, "v.vcf.gz", "all", "--region", "I:140-160")["pos"].to_pylist()) == {150}
    one_line(cli("lookup", "gone.vcf", *GENOME, "--atlas", "all", "-o", "o.csv"), "gone.vcf")


def test_another_genome_is_refused(here: Path, cli: Cli) -> None:
    """Another length, one other base in a contig that is used, a contig too few; other names will do."""
    write_vcf(here / "v.vcf", [snv("I", 150), snv("II", 320)])
    look_up = ("lookup", "v.vcf", "--atlas", "all", "-o", "o.csv", "-q", "--fasta")
    one, two = dna().values()
    (here / "longer.fa").write_text(f">I\n{one}A\n>II\n{two}\n")
    for more in ((), ("--contig-map", "I=I")):  # which is about the input, and does not help
        ran = cli(*look_up, "longer.fa", *more)
        one_line(ran, "901", "another genome build", "Pass the FASTA of that build")
        assert "--contig-map" not in ran.err
    (here / "strange.fa").write_text(f">plasmid\n{one}\n")
    ran = cli(*look_up, "strange.fa")
    one_line(ran, "no contig in common", "pass the FASTA that it was made of")
    assert "--contig-map" not in ran.err
    (here / "other.fa").write_text(f">I\n{one}\n>II\n{two[:-1]}{'A' if two[-1] != 'A' else 'C'}\n")
    one_line(cli(*look_up, "other.fa"), "other.fa", "contig II", "other bases")
    (here / "fewer.fa").write_text(f">I\n{one}\n")
    one_line(cli(*look_up, "fewer.fa"), "fewer.fa lacks contigs", "II")
    (here / "named.fa").write_text(f">chrII\n{two.lower()}\n>chrI\n{one}\n>plasmid\nACGT\n")
    assert not Path("o.csv").exists()
    assert cli(*look_up, "named.fa").code == 0
    one_line(cli("lookup", "v.vcf", "--fasta", "g.fa", "--atlas", "t.bed", "-o", "p.csv"), "t.bed")


def test_models_and_engine_of_misses(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the atlas's, or it is an error; another engine only where it is allowed, and then recorded."""
    text = dna()["I"]
    write_vcf(here / "v.vcf", [snv("I", 150), ("I", 150, text[149:152], text[149])])
    look_up = ("lookup", "v.vcf", *GENOME, "--atlas", "all", "-o", "o.parquet", "-q", "--force")
    one_line(
        cli(*look_up, "--score-misses"), "scored with 3 models", "member0", "without -m these are the bundled"
    )
    one_line(cli(*look_up, "--score-misses", "-m", "m/member0.safetensors"), "1 are among these 1")
    one_line(cli(*look_up, "-m", "m/member0.safetensors"), "give its models with -m")
    order = [word for i in (1, 0, 2) for word in ("-m", f"m/member{i}.safetensors")]
    one_line(cli(*look_up, "--score-misses", *order), "another order")
    one_line(cli(*look_up, "--allow-other-engine"), "--allow-other-engine", "--score-misses")
    one_line(cli(*look_up, "--engine", "native"), "--engine", "--score-misses")
    misses = (*look_up, "--score-misses", "-m", "m")
    one_line(cli(*misses, "--engine", "torch"), "was scored by engine", "--allow-other-engine")
    assert cli(*misses, "--engine", "torch", "--allow-other-engine").code == 0
    said = json.loads(pq.read_schema("o.parquet").metadata[b"legscore"])
    assert said["atlas"]["engine_of_misses"]["engine"] == "torch"
    record = json.loads(Path("o.parquet.run.json").read_text())
    assert record["atlas"]["scored_misses"] is True
    assert (record["hits"], record["misses"]) == (2, 2)

    class Newer(Steady):
        def describe(self) -> dict[str, Any]:
            return {**super().describe(), "version": "9"}

    opener = lambda members, request, say: Newer(members, request)
    opened_by(monkeypatch, opener)
    monkeypatch.setattr("legscore.atlas.misses.open_engine", opener)
    one_line(cli(*misses), "not that of the atlas", "version is new")
    ran = cli(*(word for word in misses if word != "-q"), "--allow-other-engine")
    assert (ran.code, "another engine" in ran.err) == (0, True)


def test_numbers_of_16_bits_come_back(here: Path, cli: Cli) -> None:
    """Within the error that their manifest states."""
    write_vcf(here / "v.vcf", alleles(600, seed=8))
    exact, rounded = look(cli, "v.vcf", "all"), look(cli, "v.vcf", "short")
    stated = json.loads(Path("short/manifest.json").read_text())["numbers"]["largest_error"]
    for name, error in stated.items():
        off = pc.max(pc.abs(pc.subtract(exact[name], rounded[name]))).as_py()
        assert off <= error * 1.001 + 1e-6, name
    assert exact["lookup"] == rounded["lookup"]
    assert exact["ref_score"] == rounded["ref_score"]


def test_nothing_is_replaced_or_written_into(here: Path, cli: Cli) -> None:
    """Outputs that are taken, that are inputs, or that no lookup writes."""
    write_vcf(here / "v.vcf", [snv("I", 150)])
    (here / "o.csv").write_text("mine")
    before = content(here)
    look_up = ("lookup", "v.vcf", *GENOME, "--atlas", "all", "-q", "-o")
    one_line(cli(*look_up, "o.csv"), "o.csv", "--force")
    one_line(cli(*look_up, "v.vcf", "--force"), "v.vcf", "both input and output")
    one_line(cli(*look_up, "out/"), "out/", "one file")
    one_line(cli(*look_up, "o.bed"), "o.bed")
    assert content(here) == before
    assert cli(*look_up, "o.csv", "--force").code == 0


def test_scores_of_a_real_engine(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> None:
    """OpenVINO in FP32: looked up, scored on the spot and scored by a run, a change has the same bytes."""
    monkeypatch.undo()
    monkeypatch.chdir(here)
    (here / "two.bed").write_text("I\t100\t130\ta\t0\t+\nI\t120\t150\tb\t0\t-\n")
    how = (
        *GENOME,
        "--tiles",
        "two.bed",
        "-m",
        toy_model,
        "--engine",
        "openvino",
        "--precision",
        "fp32",
        "-q",
    )
    assert cli("atlas", "build", *how, "--indels", "-o", "real").code == 0
    rows = [row for row in alleles(2500, seed=1) if row[0] == "chrI" and 90 < row[1] < 160]
    write_vcf(here / "v.vcf", rows)
    assert cli("run", "v.vcf", *how, "--keep-outside", "-o", "r.parquet").code == 0
    found = look(cli, "v.vcf", "real", "--score-misses", "-m", toy_model)
    same(found, pq.read_table("r.parquet"))
    assert Counter(found["lookup"].to_pylist())["miss"] > 10


def test_from_python(here: Path, cli: Cli) -> None:
    """The same file, the record, and messages in the words of Python."""
    write_vcf(here / "v.vcf", [snv("I", 150), snv("I", 300)])
    wanted = look(cli, "v.vcf")
    record = legscore.lookup_variants(here / "v.vcf", "p.parquet", atlas="all", fasta="g.fa")
    assert pq.read_table("p.parquet").equals(wanted)
    assert (record["hits"], record["status"]) == (2, {"ok": 2, "no_window": 1})
    with pytest.raises(legscore.LegscoreError, match="score_misses"):
        legscore.lookup_variants("v.vcf", "q.parquet", atlas="all", fasta="g.fa", allow_other_engine=True)
    write_vcf(here / "v.vcf", [snv("I", 300)])
    with pytest.warns(legscore.LegscoreWarning, match="no allele lies in a tile"):
        legscore.lookup_variants("v.vcf", "q.parquet", atlas="all", fasta="g.fa")


def test_misses_of_an_atlas_of_zeros(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> None:
    """Engine null scores what it scored before."""
    monkeypatch.undo()
    monkeypatch.chdir(here)
    how = (*GENOME, "--tiles", "t.bed", "-m", toy_model, "--engine", "null", "-q")
    assert cli("atlas", "build", *how, "-o", "zeros").code == 0
    write_vcf(here / "v.vcf", alleles(400, seed=2))
    assert cli("run", "v.vcf", *how, "--keep-outside", "-o", "r.parquet").code == 0
    same(look(cli, "v.vcf", "zeros", "--score-misses", "-m", toy_model), pq.read_table("r.parquet"))
