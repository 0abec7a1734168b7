"""Standard streams: names in files do not steer a terminal, no encoding and no closed stream ends a command,
and packages that are missing are named with the extra that brings them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, toy_checkpoint

from legscore.cli import COMMANDS
from legscore.system.extras import EXTRAS

HOSTILE = "a\x1b]0;title\x07b\x1b[2Jc\u202ed"
RAW = (b"\x1b]0;", b"\x07", b"\x1b[2J", "\u202e".encode())

SCORED = ("run", "t.parquet", "-m", "m.safetensors", "--engine", "null", "--kind", "sequence", "--keep", "id")


def in_terminal(folder: Path, *words: object) -> tuple[int, bytes]:
    """Exit code of a command whose standard output and error are a terminal, and all that it sent there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "legscore", *map(str, words)],
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    while True:
        if not select.select([master], [], [], 60)[0]:
            process.kill()
            raise AssertionError(f"nothing for 60 s after {shown!r}")
        with contextlib.suppress(OSError):  # the terminal is closed with its last process
            if data := os.read(master, 65536):
                shown += data
                continue
        break
    os.close(master)
    return process.wait(60), shown


@pytest.fixture
def hostile_table(tmp_path: Path) -> Path:
    n = 40
    angle = np.arange(n)
    rng = np.random.default_rng(0)
    columns = {
        "id": [HOSTILE] * n,
        "sequence": ["".join(rng.choice(list("ACGT"), 80)) for _ in range(n)],
        "measured": np.sin(angle),
        "score": np.sin(angle) + np.cos(3 * angle),
        "group": [HOSTILE if i % 2 else "plain" for i in range(n)],
        HOSTILE: ["x"] * n,
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "evaluate t.parquet --truth measured --prediction score --by group --bootstrap 20",
        "evaluate t.parquet --truth measured --prediction missing",
        "run t.parquet -m m.safetensors --engine null --kind sequence --keep id -o -",
        "run t.parquet -m m.safetensors --engine null --kind sequence --keep id,group,measured -o -",
        "show m.safetensors",
        "show m.safetensors --json",
        "report t.parquet --truth nothing -o r.html",
        f"plot ism t.parquet --promoter {HOSTILE} -o i.png",
    ],
)
def test_a_terminal_gets_no_control_characters(hostile_table: Path, words: str) -> None:
    made = toy_checkpoint(0)
    made.training["note"] = made.training[HOSTILE] = HOSTILE
    made.save(hostile_table / "m.safetensors")
    code, shown = in_terminal(hostile_table, *words.split(" "))
    assert code in (0, 2), shown
    assert not [raw for raw in RAW if raw in shown]
    if code == 0:
        assert b"\\x1b]0;title" in shown or b"\\u001b]0;title" in shown, shown


def test_files_and_pipes_keep_the_bytes(hostile_table: Path) -> None:
    toy_checkpoint(0).save(hostile_table / "m.safetensors")
    words = [*SCORED, "-q", "-o"]
    done = subprocess.run(
        [sys.executable, "-m", "legscore", *words, "-"], cwd=hostile_table, capture_output=True
    )
    assert done.stdout.count(HOSTILE.encode()) == 40
    subprocess.run([sys.executable, "-m", "legscore", *words, "o.tsv"], cwd=hostile_table, check=True)
    assert (hostile_table / "o.tsv").read_bytes() == done.stdout


def test_a_bar_is_drawn_on_a_terminal(hostile_table: Path) -> None:
    toy_checkpoint(0).save(hostile_table / "m.safetensors")
    code, shown = in_terminal(hostile_table, *SCORED, "-o", "o.parquet")
    assert code == 0, shown
    assert b"\rscoring: 100%" in shown, shown


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_help_of_every_command_in_any_encoding(encoding: str) -> None:
    script = (
        "import sys\nfrom legscore.cli import COMMANDS, main\nfrom click import Group\n"
        "for words in [[], *([name] for name in COMMANDS), *(['plot', n] for n in "
        "('ism', 'scatter', 'ensemble-curve', 'training'))]:\n"
        "    sys.argv = ['legscore', *words, '--help']\n    main()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, encoding=encoding, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: legscore") == len(COMMANDS) + 5


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_closed_standard_error_and_input(tmp_path: Path, toy_model: Path, quiet: tuple[str, ...]) -> None:
    """The run goes on, and its files are not written to in place of the stream that is closed."""
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    words = f"{sys.executable} -m legscore run s.csv -m {toy_model} --engine null -o o.csv {' '.join(quiet)}"
    done = subprocess.run(
        ["bash", "-c", f"{words} 2>&- <&-"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0
    lines = (tmp_path / "o.csv").read_text().splitlines()
    assert len(lines) == 2
    assert "status" in lines[0]


def test_closed_standard_output_is_refused_where_results_go_there(tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    words = f"{sys.executable} -m legscore run s.csv -m {toy_model} --engine null -q -o - >&-"
    done = subprocess.run(
        ["bash", "-c", words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (2, "legscore: standard output is closed\n")


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "matplotlib", "polars", "pysam", "onnx", "pyBigWig", "ray"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
"""


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        ("train m.tsv -o models", "torch", "train"),
        ("ablate m.tsv -o models", "torch", "train"),
        ("distill -o s.safetensors", "torch", "train"),
        ("ablate m.tsv -o models --list", "torch", "train"),
        ("import x.pth -o x.safetensors", "torch", "train"),
        ("export m.safetensors -o y.pth", "torch", "train"),
        ("run m.tsv --kind sequence -m m.safetensors --engine torch -o o.parquet", "torch", "train"),
        (
            "design -m m.safetensors --method evolve --target 5 --n 1 --engine torch -o d.tsv",
            "torch",
            "train",
        ),
        ("plot training . -o t.png", "matplotlib", "report"),
        ("plot scatter m.tsv --truth expression --prediction expression -o t.png", "polars", "report"),
        ("report scores.tsv -o page.html", "polars", "report"),
        ("evaluate m.tsv --truth expression --prediction expression", "polars", "evaluate"),
        ("variants v.vcf --fasta g.fa --centered -o v.parquet", "polars", "genome"),
        ("variants --saturate --fasta g.fa --regions t.bed -o v.parquet", "polars", "genome"),
        ("run v.vcf --fasta g.fa --centered -m m.safetensors -o o.parquet", "polars", "genome"),
        ("run v.vcf --fasta g.fa --centered -m m.safetensors -o o.vcf.gz", "polars", "genome"),
    ],
)
def test_a_missing_package_is_one_line(hostile_table: Path, words: str, package: str, extra: str) -> None:
    (hostile_table / "sitecustomize.py").write_text(HIDE)
    toy_checkpoint(0).save(hostile_table / "m.safetensors")
    (hostile_table / "x.pth").write_bytes(b"PK")
    (hostile_table / "seed1.metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "lr": 0.1}\n' * 2)
    sequence = "ACGT" * 20
    (hostile_table / "g.fa").write_text(f">1\n{sequence * 5}\n")
    (hostile_table / "t.bed").write_text("1\t100\t180\n")
    (hostile_table / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t201\t.\tA\tC\t.\t.\t.\n"
    )
    (hostile_table / "scores.tsv").write_text(f"sequence\tscore\tstatus\n{sequence}\t3.5\tok\n")
    (hostile_table / "m.tsv").write_text(f"sequence\texpression\n{sequence}\t3.5\n")
    before = set(hostile_table.iterdir())
    env = {**os.environ, "PYTHONPATH": f"{hostile_table}:{REPOSITORY}"}
    done = subprocess.run(
        [sys.executable, "-m", "legscore", *words.split()],
        cwd=hostile_table,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("legscore: ")]
    assert len(said) == 1
    assert "Traceback" not in done.stderr
    assert package in said[0]
    assert f"legscore[{extra}]" in said[0]
    assert set(hostile_table.iterdir()) - before <= {hostile_table / "g.fa.fai"}


def test_extras_are_those_of_setup() -> None:
    """Each extra that a message names exists in setup.py and brings the package."""
    text = (REPOSITORY / "setup.py").read_text()
    for package, extra in EXTRAS.items():
        listed = re.search(rf"^{extra.upper()} = \[(.*?)\]$", text, re.M | re.S)
        assert listed is not None, extra
        assert package.replace("_", "-").lower() in listed[1].lower(), package
