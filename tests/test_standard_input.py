"""Standard input and output in every form: pipes, redirection, process substitution; VCF, BCF and JSON out."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pysam
import pytest
from conftest import REPOSITORY, random_dna

LEGSCORE = f"{shlex.quote(sys.executable)} -m legscore"
Shell = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A genome, tiles, a VCF of ten records (one in no tile, one with two alleles), and tables of pairs."""
    rng = np.random.default_rng(7)
    genome = random_dna(rng, 600)
    (tmp_path / "g.fa").write_text(f">chr1\n{genome}\n")
    (tmp_path / "t.bed").write_text("chr1\t20\t100\tt1\t0\t+\nchr1\t200\t280\tt2\t0\t-\n")
    lines = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chr1,length=600>",
        '##INFO=<ID=delta,Number=A,Type=Float,Description="measured">',
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    for i, pos in enumerate((25, 31, 44, 60, 99, 210, 222, 240, 270, 500)):
        ref = genome[pos - 1]
        alts = [base for base in "ACGT" if base != ref][: 2 if pos == 44 else 1]
        deltas = ",".join(str(i / 10 + k) for k in range(len(alts)))
        lines.append(f"chr1\t{pos}\tv{i}\t{ref}\t{','.join(alts)}\t.\t.\tdelta={deltas}")
    (tmp_path / "v.vcf").write_text("\n".join(lines) + "\n")
    texts = [random_dna(rng, 80) for _ in range(12)]
    changed = [text[:40] + ("A" if text[40] != "A" else "C") + text[41:] for text in texts]
    table = pa.table({"id": [f"r{i}" for i in range(12)], "ref_sequence": texts, "alt_sequence": changed})
    pq.write_table(table, tmp_path / "p.parquet")
    with pa.OSFile(str(tmp_path / "p.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    rows = [",".join(row.values()) for row in table.to_pylist()]
    (tmp_path / "p.csv").write_text("\n".join([",".join(table.column_names), *rows]) + "\n")
    (tmp_path / "p.tsv").write_text((tmp_path / "p.csv").read_text().replace(",", "\t"))
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress((tmp_path / "p.csv").read_bytes()))
    (tmp_path / "s.fa").write_text("".join(f">r{i}\n{text}\n" for i, text in enumerate(texts)))
    return tmp_path


@pytest.fixture
def shell(world: Path) -> Shell:
    """Run a line of bash in the world's folder; LEGSCORE is the command."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")

    def run(line: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [
                bash,
                "-o",
                "pipefail",
                "-c",
                re.sub(r"LEGSCORE (?=run|variants|evaluate|report)", f"{LEGSCORE} ", line),
            ],
            cwd=world,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **more},
            check=False,
        )

    return run


WAYS = {
    "pipe": "cat {0} | LEGSCORE run - {1}",
    "redirection": "LEGSCORE run - {1} < {0}",
    "process substitution": "LEGSCORE run <(cat {0}) {1}",
    "/dev/stdin piped": "cat {0} | LEGSCORE run /dev/stdin {1}",
    "/dev/stdin redirected": "LEGSCORE run /dev/stdin {1} < {0}",
}
NULL = "--engine null -m bundled"
GENOME = f"{NULL} --fasta g.fa --tiles t.bed"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["p.csv", "v.vcf"])
def test_every_way_in_gives_what_the_file_gives(shell: Shell, world: Path, way: str, name: str) -> None:
    options = NULL if name == "p.csv" else GENOME
    assert shell(f"LEGSCORE run {name} {options} -o whole.parquet").returncode == 0
    ran = shell(WAYS[way].format(name, f"{options} -o out.parquet"))
    assert ran.returncode == 0, ran.stderr.decode()
    assert (world / "out.parquet").read_bytes() == (world / "whole.parquet").read_bytes()
    kind = "CSV" if name == "p.csv" else "VCF"
    if "redirect" in way:
        assert f"standard input: {world / name} ({kind})" in ran.stderr.decode(), "read where it lies"
    else:
        assert f" bytes of {kind}, kept in a private temporary file for this run" in ran.stderr.decode()
    record = json.loads((world / "out.parquet.run.json").read_text())
    shown = record["inputs"][0]
    assert shown == str(world / name) or shown == "standard input" or shown.startswith("/dev/fd/")


@pytest.mark.parametrize("name", ["p.parquet", "p.arrow", "p.csv", "p.tsv", "p.csv.gz", "s.fa"])
def test_kinds_are_known_by_content(shell: Shell, world: Path, name: str) -> None:
    """Also of a file without an ending that standard input was opened on."""
    assert shell(f"LEGSCORE run {name} {NULL} -q -o whole.tsv").returncode == 0
    shutil.copy(world / name, world / "nameless")
    for line in (f"cat {name} | LEGSCORE run - {NULL} -q -o -", f"LEGSCORE run - {NULL} -q -o - < nameless"):
        ran = shell(line)
        assert ran.returncode == 0, ran.stderr.decode()
        assert ran.stdout == (world / "whole.tsv").read_bytes()


@pytest.mark.parametrize("form", ["vcf", "bcf"])
def test_vcf_and_bcf_through_pipes(shell: Shell, world: Path, form: str) -> None:
    """In as VCF, bgzipped VCF and (uncompressed) BCF, out as VCF and BCF, as bcftools reads it."""
    with pysam.VariantFile(str(world / "v.vcf")) as file, pysam.VariantFile(str(world / "v.bcf"), "wb0", header=file.header) as out:  # fmt: skip
        for record in file:
            out.write(record)
    pysam.tabix_compress(str(world / "v.vcf"), str(world / "v.vcf.gz"))
    assert shell(f"LEGSCORE run v.vcf {GENOME} -q -o whole.vcf").returncode == 0

    def records(path: Path) -> list[str]:
        with pysam.VariantFile(str(path)) as file:
            assert "LEGSCORE" in file.header.info
            return [str(record) for record in file]

    for name in ("v.vcf", "v.vcf.gz", "v.bcf"):
        ran = shell(f"cat {name} | LEGSCORE run - {GENOME} -o - --format {form} > out.{form}")
        assert ran.returncode == 0, ran.stderr.decode()
        assert b"output: - (10 records, 9 of them in tiles)" in ran.stderr
        assert b"/tmp/" not in ran.stderr.replace(str(world).encode(), b"")
        assert records(world / f"out.{form}") == records(world / "whole.vcf")
    assert list(world.glob("*.parts")) + list(world.glob("-*")) == []


def test_variants_read_pipes_and_annotations_too(shell: Shell, world: Path) -> None:
    assert shell("LEGSCORE variants v.vcf --fasta g.fa --tiles t.bed -o a.parquet").returncode == 0
    line = "cat v.vcf | LEGSCORE variants - --fasta g.fa --tiles <(cat t.bed) -o b.parquet"
    ran = shell(line)
    assert ran.returncode == 0, ran.stderr.decode()
    assert pq.read_table(world / "b.parquet").equals(pq.read_table(world / "a.parquet"))
    ran = shell(f"LEGSCORE run v.vcf --fasta <(cat g.fa) --tiles t.bed {NULL} -q -o c.parquet")
    assert ran.returncode == 0, ran.stderr.decode()
    assert pq.read_metadata(world / "c.parquet").num_rows == 10


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("LEGSCORE run - -o x.csv < /dev/null", "standard input is empty (0 bytes)"),
        ("LEGSCORE run - -o x.csv <&-", "standard input is closed; name a file"),
        (
            "cat p.csv | LEGSCORE run - - -o x.csv",
            "-: standard input can be read once; name a file for the other",
        ),
        ("printf 'a,b\\n1,2\\n' | LEGSCORE run - -o x.csv", "standard input has no columns to score"),
        ("cat p.csv | head -c 900 | LEGSCORE run - -o x.csv --kind edit", "standard input"),
        ("head -c 300 p.csv.gz | LEGSCORE run - -o x.csv", "standard input cannot be read as CSV"),
        (
            f"cat p.csv | LEGSCORE run - {NULL} -o - --format vcf",
            "--format vcf: a VCF comes out only where one goes in",
        ),
        (
            f"cat v.vcf | LEGSCORE run - {GENOME} -o x.vcf.gz --format bcf",
            "--format bcf contradicts the extension",
        ),
        ("cat v.vcf | LEGSCORE run - -o x.csv", "a VCF needs --fasta GENOME"),
        pytest.param(
            "cat p.csv | LEGSCORE run - -o x.csv --ray local",
            "--ray reads inputs on other machines",
            marks=pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
        ),
        (
            "LEGSCORE evaluate p.csv --truth id --json - --csv -",
            "--json - and --csv - both write to standard output",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(shell: Shell, line: str, said: str) -> None:
    ran = shell(line)
    last = ran.stderr.decode().splitlines()[-1]
    assert ran.returncode == 2, ran.stderr.decode()
    assert last.startswith("legscore: "), ran.stderr.decode()
    assert said in last
    assert "/legscore-" not in last, "names of temporary files are not the user's"


def test_nothing_is_left_of_what_was_kept(shell: Shell, world: Path) -> None:
    """Neither after a run, nor after an error; and nobody else could read it."""
    (world / "tmp").mkdir()
    for line in (
        f"cat p.csv | LEGSCORE run - {NULL} -o o.csv",
        "cat p.csv | LEGSCORE run - -m none/ -o n.csv",
    ):
        shell(line, TMPDIR=str(world / "tmp"))
        assert list((world / "tmp").iterdir()) == []
    watch = (
        "import os, sys; from pathlib import Path; from legscore.cli.standard_input import kept_inputs\n"
        "with kept_inputs(lambda line: None) as kept:\n"
        "    path = Path(kept.path('-')); print(oct(path.parent.stat().st_mode & 0o777))"
    )
    ran = shell(f"cat p.csv | {shlex.quote(sys.executable)} -c {shlex.quote(watch)}")
    assert ran.stdout.strip() == b"0o700"


def test_evaluations_go_to_standard_output(shell: Shell, world: Path) -> None:
    """--json - and --csv - are the whole of standard output; a scored VCF and a folder are read."""
    assert shell(f"LEGSCORE run v.vcf {GENOME} -q -o scored.vcf.gz").returncode == 0
    (world / "parts").mkdir()
    assert shell(f"LEGSCORE run v.vcf {GENOME} -q -o parts/a.parquet").returncode == 0
    ran = shell("LEGSCORE evaluate scored.vcf.gz --truth delta --prediction pos --bootstrap 0 --json -")
    assert ran.returncode == 0, ran.stderr.decode()
    found = json.loads(ran.stdout)
    assert found["rows"] == 10, "two alleles of one record are two rows"
    ran = shell(
        "cat scored.vcf.gz | LEGSCORE evaluate - --truth delta --prediction pos --bootstrap 0 --csv -"
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.startswith(b"section,group,truth,")
    ran = shell("LEGSCORE evaluate parts/ --truth pos --prediction n_count --bootstrap 0")
    assert ran.returncode == 0, ran.stderr.decode()
    ran = shell("LEGSCORE evaluate v.vcf --truth delta")
    assert ran.returncode == 2
    assert b"v.vcf holds no scores" in ran.stderr


def test_reports_of_vcfs_and_folders(shell: Shell, world: Path) -> None:
    pytest.importorskip("polars", reason="reports need polars")
    (world / "parts").mkdir()
    assert shell(f"LEGSCORE run v.vcf {GENOME} -q -o scored.bcf").returncode == 0
    assert shell(f"LEGSCORE run v.vcf {GENOME} -q -o parts/a.parquet").returncode == 0
    for name, said in (("scored.bcf", "scored.bcf: 10 scores of alleles in tiles"), ("parts/", "10 rows")):
        ran = shell(f"LEGSCORE report {name} -o page.html --force")
        assert ran.returncode == 0, ran.stderr.decode()
        assert said in ran.stderr.decode()
        assert "effect" in (world / "page.html").read_text()


def test_the_scored_vcf_says_where_it_comes_from(shell: Shell, world: Path) -> None:
    """The command, in the header; and split-vep, the real one, reads LEGSCORE with a gene's symbol."""
    genes = "".join(
        f'chr1\tx\t{kind}\t300\t400\t.\t+\t.\tgene_id "ENSG1"; gene_name "ABC1"; transcript_id "T1"; '
        'gene_biotype "protein_coding"; transcript_biotype "protein_coding";\n'
        for kind in ("gene", "transcript", "exon")
    )
    (world / "g.gtf").write_text(genes)
    ran = shell(f"LEGSCORE run v.vcf {NULL} --fasta g.fa --promoters g.gtf -q -o scored.vcf.gz")
    assert ran.returncode == 0, ran.stderr.decode()
    with pysam.VariantFile(str(world / "scored.vcf.gz")) as file:
        header = str(file.header)
        entries = [entry for record in file for entry in record.info.get("LEGSCORE", ())]
    command = (
        f"##legscore_command=legscore run v.vcf {NULL} --fasta g.fa --promoters g.gtf -q -o scored.vcf.gz"
    )
    assert command in header.splitlines()
    assert 'Format: ALT|gene|tile|strand|effect|sd|symbol|Consequence">' in header
    assert {tuple(entry.split("|")[1::5]) for entry in entries} == {("ENSG1", "ABC1")}
    again = shell(f"LEGSCORE run scored.vcf.gz {GENOME} -q -o - --format vcf")
    assert again.stdout.count(b"##legscore_command=") == 1, "of this run, not of the one before"
    if shutil.which("bcftools") is None:
        pytest.skip("bcftools is not installed: the header and entries alone were looked at")
    listed = shell("bcftools +split-vep -a LEGSCORE -l scored.vcf.gz")
    if b"split-vep" in listed.stderr and listed.returncode:
        pytest.skip("this bcftools has no plugin split-vep")
    assert [line.split(b"\t")[1] for line in listed.stdout.splitlines()] == [
        b"ALT", b"gene", b"tile", b"strand", b"effect", b"sd", b"symbol", b"Consequence"
    ]  # fmt: skip
    ran = shell("bcftools +split-vep -a LEGSCORE -f '%symbol %effect\\n' -d scored.vcf.gz | sort -u")
    assert ran.stdout.split() == [b"ABC1", b"0"], ran.stderr.decode()
