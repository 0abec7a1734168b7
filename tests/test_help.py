"""Help that can be read: sections, one style of defaults, the same names everywhere; suggestions; completion."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import click
import pytest
from conftest import REPOSITORY

from legscore.cli import COMMANDS, cli
from legscore.cli.sections import FORMER, SectionedCommand, option_names

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def every_command() -> dict[str, click.Command]:
    """Every command by its words, those of groups too."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": one for inner, one in command.commands.items()}
        else:
            found[name] = command
    return found


EVERY = every_command()


def legscore(*words: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "legscore", *map(str, words)],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **more},
        check=False,
    )


@pytest.mark.parametrize("name", EVERY)
def test_every_option_stands_in_one_section(name: str) -> None:
    """And each section has an example, which parses."""
    command = EVERY[name]
    assert isinstance(command, SectionedCommand)
    if not command.sections:
        return
    named = [word for section in command.sections for word in section.names.split()]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    assert sorted(named) == sorted([*(str(p.name) for p in options), "help"])
    assert all(section.examples for section in command.sections)


@pytest.mark.parametrize("name", EVERY)
def test_examples_parse(name: str) -> None:
    command = EVERY[name]
    text = command.get_help(click.Context(command, info_name=f"legscore {name}", terminal_width=300))
    lines = re.findall(r"^ {4}(legscore (?:.*\\\n)*.*)$", text, re.M)
    shown = [line.replace("\\\n", " ") for line in lines]
    assert any(line.startswith(f"legscore {name} ") for line in shown) or name == "completion"
    for line in shown:
        words = shlex.split(line.split("|")[0])[1:]
        other = next(found for found in EVERY if words[: len(found.split())] == found.split())
        EVERY[other].make_context(other, words[len(other.split()) :])


def on_terminal(words: list[str], columns: int) -> str:
    """What a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    done = subprocess.Popen(
        [sys.executable, "-m", "legscore", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={k: v for k, v in ENVIRONMENT.items() if k != "COLUMNS"},
        close_fds=True,
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert done.wait() == 0
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("name", ["run", "variants", "evaluate"])
def test_help_is_plain_in_a_pipe_and_on_a_terminal(name: str) -> None:
    piped = legscore(name, "--help", COLUMNS="80").stdout
    assert piped == on_terminal([name, "--help"], 80)
    assert piped.isprintable() or set(filter(lambda c: not c.isprintable(), piped)) == {"\n"}
    assert [line for line in piped.splitlines() if len(line) > 80 and "legscore" not in line] == []


@pytest.mark.parametrize("name", EVERY)
def test_defaults_have_one_style(name: str) -> None:
    """`[default: …]` or `[required]`; no ranges, no types of click, no names that options had."""
    command = EVERY[name]
    text = command.get_help(click.Context(command, info_name=name, terminal_width=300))
    for bracket in re.findall(r"  \[([^\]]*)\]$", text, re.M):
        assert bracket == "required" or re.match(r"default: [^(]", bracket), bracket
    options = text[text.index("-h, --help") - 4000 if "-h, --help" in text else 0 :]
    assert not re.search(r"INTEGER|FLOAT|RANGE", text)
    assert not [former for former in FORMER if re.search(rf"{former}[ ,]", options)]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert not (option.help or "]").rstrip().endswith("]"), option.opts


SAME = {
    "models": {"-m", "--model"},
    "output": {"-o", "--output"},
    "regions_bed": {"--tiles"},
    "quiet": {"-q", "--quiet"},
    "force": {"--force"},
    "device": {"--device"},
    "engine": {"--engine"},
    "precision": {"--precision"},
    "where": {"--where"},
    "keys": {"--key"},
    "tile": {"--tile-column"},
}
"""Parameter → its names, wherever a command has it."""


@pytest.mark.parametrize("parameter", SAME)
def test_an_option_has_the_same_name_everywhere(parameter: str) -> None:
    having = 0
    for name, command in EVERY.items():
        for option in command.params:
            if isinstance(option, click.Option) and option.name == parameter:
                having += 1
                assert {*option.opts} - {*FORMER} == SAME[parameter], name
    assert having
    if parameter == "models":
        takes = {name for name, c in EVERY.items() if any(p.name == "models" for p in c.params)}
        assert takes >= {"run", "design", "bench", "compile", "show"}


def test_fasta_is_never_an_output() -> None:
    having = {name for name, command in EVERY.items() if "--fasta" in option_names(command)}
    assert having == {"atlas build", "distill", "lookup", "run", "variants"}
    ran = legscore("design", "--target", "9", "--fasta", "x.fa", "-o", "o.csv")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        'legscore: design: there is no option --fasta (did you mean "--fasta-out"?); see legscore design --help\n'
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evalute", "x"], 'there is no command "evalute" (did you mean "evaluate"?)'),
        (["score", "x"], 'there is no command "score" (did you mean "run"?)'),
        (["zzzz"], 'there is no command "zzzz"; see legscore --help'),
        (
            ["run", "x.csv", "-o", "y.csv", "--per-modle"],
            '(did you mean "--per-model"?); see legscore run --help',
        ),
        (["variants", "--tile", "x"], '(did you mean "--tiles"?)'),
        (["plot", "ism", "--promotor", "x"], '(did you mean "--promoter"?); see legscore plot ism --help'),
        (["plot", "sm"], "plot: No such command 'sm'"),
        (["run", "-o", "x.csv"], "run: Missing argument 'INPUT...'"),
        (
            ["run", "x.csv", "-o", "y.csv", "--engine", "gpu"],
            "run: Invalid value for '--engine': 'gpu' is not one of",
        ),
        (["bench", "--rounds", "0"], "bench: Invalid value for '--rounds'"),
    ],
)
def test_what_is_unknown_is_one_line_with_the_nearest(words: list[str], said: str) -> None:
    ran = legscore(*words)
    assert (ran.returncode, ran.stdout, len(ran.stderr.splitlines())) == (2, "", 1), ran.stderr
    assert said in ran.stderr
    assert "--help" in ran.stderr


def test_former_names_work_silently(tmp_path: Path) -> None:
    """--regions is --tiles; both are one option, in run and in variants."""
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGTTGCATG" * 30 + "\n")
    (tmp_path / "t.bed").write_text("chr1\t20\t100\tt1\t0\t+\n")
    (tmp_path / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chr1,length=300>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "chr1\t31\t.\tA\tC\t.\t.\t.\n"
    )
    told = {}
    for option in ("--tiles", "--regions"):
        out = tmp_path / f"{option}.tsv"
        ran = legscore(
            "variants",
            tmp_path / "v.vcf",
            "--fasta",
            tmp_path / "g.fa",
            option,
            tmp_path / "t.bed",
            "-o",
            out,
        )
        assert ran.returncode == 0, ran.stderr
        told[option] = (out.read_text(), re.sub(r"output: .*", "", ran.stderr))
    assert told["--tiles"] == told["--regions"]
    ran = legscore("run", tmp_path / "v.vcf", "--regions", tmp_path / "t.bed", "-o", tmp_path / "x.csv")
    assert ran.stderr == "legscore: --tiles is about variants in a genome; give --fasta too\n"


@pytest.mark.parametrize(
    "words", [[], ["run"], ["variants"], ["merge"], ["show"], ["design"], ["import"], ["bench"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys, legscore.cli as c\n"
        f"try:\n    c.cli.main([*{words!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('numpy', 'pyarrow', 'torch', 'polars', 'onnx', 'openvino', 'rich')\n"
        "print('LOADED', *[m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert done.stdout.split("LOADED")[1].split() == []


def test_every_name_of_a_file_is_completed_by_shells() -> None:
    """Options and arguments that say FILE, FOLDER, MODELS and the like complete as paths."""
    paths = re.compile(
        r"FILE|FOLDER|MODELS|INPUT|OUT\b|FASTA\b|BED|GTF|TSV|TOML|JSON|SCORES|SHARD|PREDICTIONS|PNG|DATA"
    )
    for name, command in EVERY.items():
        for parameter in command.params:
            if parameter.metavar and paths.search(parameter.metavar):
                assert isinstance(parameter.type, click.Path), (name, parameter.name)


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word of a command line."""
    given = {"COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; sys.argv = ['legscore']; from legscore.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, **given, "_LEGSCORE_COMPLETE": "bash_complete"},
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_offers_commands_options_values_and_files() -> None:
    assert completed("legscore", "eva") == ["plain,evaluate"]
    assert completed("legscore", "run", "--prec") == ["plain,--precision"]
    assert "plain,fp32" in completed("legscore", "run", "--precision", "f")
    assert completed("legscore", "run", "x.csv", "-o", "dat") == ["file,dat"]
    assert completed("legscore", "show", "mod") == ["file,mod"]
    assert completed("legscore", "run", "--regi") == ["plain,--region"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    """The script is taken by the shell itself where that is installed."""
    ran = legscore("completion", shell)
    assert ran.returncode == 0
    assert "_LEGSCORE_COMPLETE" in ran.stdout
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"{shell} is not installed; the text alone was looked at")
    done = subprocess.run([found, "-n"], input=ran.stdout, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "bash":
        done = subprocess.run(
            [found, "-c", f"{ran.stdout}\ncomplete -p legscore"], capture_output=True, text=True, check=False
        )
        assert "-F _legscore_completion legscore" in done.stdout


def test_completion_of_another_shell() -> None:
    ran = legscore("completion", "tcsh")
    assert ran.returncode == 2
    assert "'bash', 'zsh', 'fish'" in ran.stderr


def test_column_lists_hold_the_one_that_is_needed(tmp_path: Path) -> None:
    """Of forty columns those are told that are like the one that was asked for, wherever they stand."""
    others = [f"note{i}" for i in range(40)]
    (tmp_path / "t.csv").write_text(
        ",".join([*others, "my_sequence"]) + "\n" + ",".join(["x"] * 40 + ["ACGT"]) + "\n"
    )
    for words in (
        ("run", tmp_path / "t.csv", "-o", tmp_path / "o.csv"),
        ("run", tmp_path / "t.csv", "-o", tmp_path / "o.csv", "--column", "sequence=sequences"),
        ("evaluate", tmp_path / "t.csv", "--truth", "sequence", "--prediction", "note1"),
        ("train", tmp_path / "t.csv", "-o", tmp_path / "m/"),
    ):
        ran = legscore(*words)
        if "is not installed" in ran.stderr:
            continue
        assert (ran.returncode, "my_sequence" in ran.stderr) == (2, True), ran.stderr


def test_variants_can_be_counted_without_writing(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGTTGCATG" * 30 + "\n")
    (tmp_path / "t.bed").write_text("chr1\t20\t100\tt1\t0\t+\n")
    given = ("variants", "--saturate", "--fasta", tmp_path / "g.fa", "--tiles", tmp_path / "t.bed")
    ran = legscore(*given, "-o", tmp_path / "o.parquet", "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "nothing was written (240 rows" in ran.stderr
    assert "ok 240" in ran.stderr
    assert not (tmp_path / "o.parquet").exists()
