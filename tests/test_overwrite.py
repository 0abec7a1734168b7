"""Outputs over inputs: one check for all commands, by the identity of files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import one_line

from legscore.errors import OutputError
from legscore.system.overwrite import check_apart


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d" / "more").mkdir(parents=True)
    for name in ("a.csv", "d/b.parquet", "d/more/c.PARQUET", "m.safetensors", "g.fa", "g.fa.fai", "d/x.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d" / "plain").write_bytes(b"PAR1" + bytes(20))
    os.symlink("a.csv", "link.csv")
    os.link("a.csv", "hard.csv")
    os.symlink("d", "e")
    os.symlink("new.csv", "dangling.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "inputs"),
    [
        ("a.csv", ["a.csv"]),
        ("./d/../a.csv", ["a.csv"]),
        ("link.csv", ["a.csv"]),
        ("hard.csv", ["a.csv"]),
        ("a.csv", ["link.csv"]),
        ("a.csv", ["*.csv"]),
        ("e/b.parquet", ["d/*.parquet"]),
        ("d/b.parquet", ["d"]),
        ("d/more/c.PARQUET", ["e/"]),
        ("d/plain", ["d"]),
        ("d/more/c.PARQUET", ["d/**/*.PARQUET"]),
        ("g.fa.fai", ["g.fa"]),
        ("g.fa.gzi", ["g.fa"]),
        ("a.csv.run.json", ["a.csv"]),
        ("new.csv", ["dangling.csv"]),
        ("d/", ["d/b.parquet"]),
        ("e/", ["d/more/c.PARQUET"]),
        ("s3://b/k/a.parquet", ["s3://b/k/a.parquet"]),
        ("S3://b//k/./a.parquet", ["s3://b/k/a.parquet"]),
        ("gcs://b/a.parquet", ["gs://b/a.parquet"]),
        ("s3://b/k/out/", ["s3://b/k/"]),
        ("s3://b/k/", ["s3://b/k/a.parquet"]),
        ("s3://b/k/out.parquet", ["s3://b/k/*.parquet"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_output_is_no_input(output: str, inputs: list[str]) -> None:
    with pytest.raises(OutputError, match=r"is both input and output.*; choose another --log-json"):
        check_apart({"-o": None, "--log-json": output}, inputs)


@pytest.mark.parametrize(
    ("output", "inputs"),
    [
        ("b.csv", ["a.csv"]),
        ("d/x.txt", ["d"]),
        ("d/new.parquet", ["d"]),
        ("d/out/", ["d"]),
        ("/dev/null", ["/dev/null"]),
        ("-", ["-"]),
        ("s3://b/kk/a.parquet", ["s3://b/k"]),
        ("s3://b/a.parquet", ["gs://b/a.parquet"]),
        ("all", ["all,others"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_other_files_are_free(output: str, inputs: list[str]) -> None:
    check_apart({"-o": output}, inputs)


@pytest.mark.usefixtures("folder")
def test_models_and_second_outputs(folder: Path) -> None:
    (folder / "models").mkdir()
    os.link("m.safetensors", "models/one.safetensors")
    with pytest.raises(OutputError, match=r"m.safetensors is both .* \(it is models/one.safetensors\)"):
        check_apart({"-o": "m.safetensors"}, [], ["models"])
    (folder / "models" / "scores.parquet").touch()
    check_apart({"-o": "models/scores.parquet"}, [], ["models"])
    for one, other in (("x.csv", "./x.csv"), ("hard.csv", "link.csv"), ("s3://b/x", "s3://b//x")):
        with pytest.raises(OutputError, match="would be written twice, by -o and --log-json"):
            check_apart({"-o": one, "--log-json": other}, [])
    check_apart({"-o": ["/dev/null", "a.run.json"], "--log-json": "/dev/null"}, [])


COMMANDS = {
    "run": ("run", "X", "-m", "MODEL", "--engine", "null", "-o", "X"),
    "run --log-json": ("run", "X", "-m", "MODEL", "--engine", "null", "-o", "o.csv", "--log-json", "X"),
    "run --calibration": ("run", "t.csv", "-m", "MODEL", "--calibration", "X", "-o", "X"),
    "run --tss": (
        *("run", "t.csv", "--fasta", "g.fa", "--promoters", "g.gtf", "--tss", "X"),
        *("-m", "MODEL", "--engine", "null", "-o", "X"),
    ),
    "run --contig-map": (
        *("run", "t.csv", "--fasta", "g.fa", "--promoters", "g.gtf", "--contig-map", "X"),
        *("-m", "MODEL", "--engine", "null", "--log-json", "X", "-o", "o.csv"),
    ),
    "variants": ("variants", "X", "--fasta", "g.fa", "--tiles", "t.bed", "-o", "X"),
    "variants --tss": (
        *("variants", "t.csv", "--fasta", "g.fa", "--promoters", "g.gtf", "--tss", "X", "-o", "X"),
    ),
    "merge": ("merge", "X", "-o", "X"),
    "evaluate": ("evaluate", "X", "--truth", "a", "--prediction", "b", "-q", "--csv", "X"),
    "evaluate --class-weights": (
        *("evaluate", "t.csv", "--truth", "a", "--prediction", "b", "--class-weights", "X"),
        *("--class", "c", "--json", "X"),
    ),
    "report": ("report", "X", "-o", "X.html"),
    "plot": ("plot", "scatter", "X", "--truth", "a", "--prediction", "b", "-o", "X.svg"),
    "run --multiqc": ("run", "X", "-m", "MODEL", "--engine", "null", "-o", "o.csv", "--multiqc", "X_mqc.json"),
    "run --recipe": ("run", "t.csv", "-m", "MODEL", "--recipe", "X", "-o", "o.csv", "--log-json", "X"),
    "run --samples": (
        *("run", "t.csv", "--fasta", "g.fa", "--promoters", "g.gtf", "--haplotypes", "--samples", "X"),
        *("-m", "MODEL", "--engine", "null", "-o", "X"),
    ),
    "evaluate --json": ("evaluate", "X", "--truth", "a", "--prediction", "b", "-q", "--json", "X"),
    "evaluate --plot": (
        *("evaluate", "X", "--truth", "a", "--prediction", "b", "--ensemble-curve", "-q", "--plot", "X.svg"),
    ),
    "evaluate --calibrate": (
        *("evaluate", "X", "--truth", "a", "--prediction", "b", "--calibrate", "0.9", "-q", "-o", "X"),
    ),
    "design --plot": (
        *("design", "--mutation-curve", "--from", "X", "-m", "MODEL", "-o", "o.csv", "--plot", "X.svg"),
    ),
    "design FILE:COLUMN": ("design", "--method", "evolve", "--target", "X:a", "-o", "X"),
    "motifs": ("motifs", "X", "--meme", "t.csv", "-o", "X"),
    "motifs --meme": ("motifs", "t.csv", "--meme", "X", "-o", "X"),
    "plot ism": ("plot", "ism", "X", "--promoter", "p", "-o", "X.svg"),
    "plot ensemble-curve": ("plot", "ensemble-curve", "X", "-o", "X.svg"),
    "plot training": ("plot", "training", "X", "-o", "X.svg"),
    "bench": ("bench", "X", "-m", "MODEL", "--json", "X"),
    "design --from": ("design", "--method", "evolve", "--target", "3", "--from", "X", "-o", "X"),
    "design --training": (
        *("design", "--method", "evolve", "--target", "3", "--training", "t.csv", "-o", "o.csv"),
        *("--fasta-out", "X"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["link", "file", "hard", "parent", "descriptor"])
def test_no_command_writes_over_what_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_model: Path, cli: Any, command: str, name: str
) -> None:
    """Also through links of either kind, a linked folder, a descriptor of this process, and with --force."""
    monkeypatch.chdir(tmp_path)
    text = "sequence,a,b,c\n" + "ACGTACGTACGTACGTACGT,1,2,c\n" * 3
    for path in ("x.csv", "t.csv"):
        Path(path).write_text(text)
    read, written = "x.csv", "x.csv"
    after = [word[1:] for word in COMMANDS[command] if word.startswith(("X.", "X_"))]
    ending = after[0] if after else ".html" if command == "report" else None
    if ending:
        os.link("x.csv", f"x.csv{ending}")
    if command == "design --training":
        os.link("t.csv", "x.fa")
        read = written = "x.fa"
    if name == "link":
        written = "link" + Path(read).suffix
        os.symlink(read, written)
        if ending:
            os.symlink("x.csv", f"link.csv{ending}")
    elif name == "hard":
        written = "hard" + Path(read).suffix
        os.link(read, written)
        if ending:
            os.link("x.csv", f"hard.csv{ending}")
    elif name == "parent":
        os.symlink(".", "folder")
        written = f"folder/{read}"
    elif name == "descriptor":
        if ending or command.startswith("design --training"):
            pytest.skip("its name must have an ending, which a descriptor has not")
        descriptor = os.open(read, os.O_RDWR)
        written = f"/proc/self/fd/{descriptor}"
        if not os.path.exists(written):
            pytest.skip("this system has no /proc")
    arguments = list(COMMANDS[command])
    last = max(i for i, word in enumerate(arguments) if word.startswith("X"))
    for i, word in enumerate(arguments):
        arguments[i] = word.replace("X", written if i == last else read).replace("MODEL", str(toy_model))
    ran = cli(*arguments, *(() if command.startswith("run") else ("--force",)))
    nameless = name == "descriptor" and command.startswith("variants")
    one_line(ran, "unknown extension" if nameless else "is both input and output")
    assert Path("x.csv").read_text() == text
    assert not Path("o.csv").exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [(("train", "--lr-find"), "lr_find.csv"), (("ablate",), "members.csv"), (("ablate",), "ablation.csv")],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
@pytest.mark.parametrize("linked", [False, True])
def test_training_does_not_write_over_its_table(
    tmp_path: Path, cli: Any, command: tuple[str, ...], name: str, linked: bool
) -> None:
    """The table lies where a table of results would go."""
    pytest.importorskip("torch", reason="training needs legscore[train]")
    (tmp_path / "o").mkdir()
    table = tmp_path / "o" / name
    text = "sequence,expression,fold\n" + f"{'ACGT' * 20},1.5,0\n" * 8
    table.write_text(text)
    if linked:
        os.symlink(table, tmp_path / "link.csv")
    ran = cli(*command, tmp_path / "link.csv" if linked else table, "-o", tmp_path / "o", "--force")
    one_line(ran, "is both input and output")
    assert table.read_text() == text
    assert [path.name for path in (tmp_path / "o").iterdir()] == [name]


@pytest.mark.parametrize("command", ["import", "export"])
def test_models_are_not_written_over(tmp_path: Path, toy_model: Path, cli: Any, command: str) -> None:
    model = tmp_path / ("m.safetensors" if command == "import" else "m.pth")
    model.write_bytes(toy_model.read_bytes())
    for force in ((), ("--force",)):
        ran = cli(command, model, "-o", model, *force)
        one_line(ran, "is both input and output")
    other = model.with_name("other" + model.suffix)
    other.write_text("mine")
    ran = cli(command, model, "-o", other)
    one_line(ran, "is there already; choose another -o, or add --force to replace it")
    assert (model.read_bytes(), other.read_text()) == (toy_model.read_bytes(), "mine")


@pytest.mark.parametrize(("number", "name"), [(1, "standard output"), (2, "standard error")])
def test_what_is_said_is_not_appended_to_an_input(
    tmp_path: Path, toy_model: Path, number: int, name: str
) -> None:
    """As `>> x.csv` and `2>> x.csv` do; the shell has opened the file before."""
    path, text = tmp_path / "x.csv", "sequence,a,b\n" + "ACGTACGTACGTACGTACGT,1,2\n" * 3
    for words in (
        ["run", path, "-m", toy_model, "--engine", "null", "-o", "-", "--format", "tsv"],
        ["evaluate", path, "--truth", "a", "--prediction", "b"],
    ):
        path.write_text(text)
        with path.open("a") as stream:
            where: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            where["stdout" if number == 1 else "stderr"] = stream
            ran = subprocess.run([sys.executable, "-m", "legscore", *map(str, words)], **where, text=True)
        assert ran.returncode == 2
        said = ran.stderr if number == 1 else path.read_text()[len(text) :]
        assert f"x.csv is both input and output: {name} goes there" in said
        assert said.count("\n") == 1
        if number == 1:
            assert path.read_text() == text


@pytest.mark.parametrize("link", [os.link, os.symlink], ids=["hard link", "symbolic link"])
@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("train",), "seed1.metrics.jsonl"),
        (("train",), ".seed1.state.pt"),
        (("train",), "seed1.safetensors"),
        (("train", "--folds", "all"), "fold0.seed1.metrics.jsonl"),
        (("ablate", "--only", "original"), "original/seed1.metrics.jsonl"),
        (("ablate", "--only", "original"), "original/.seed2.state.pt"),
    ],
)
def test_trainings_do_not_write_into_their_table(
    tmp_path: Path, cli: Any, command: tuple[str, ...], name: str, link: Any
) -> None:
    """Metrics are appended, so that a link to the table would take them in."""
    pytest.importorskip("torch", reason="training needs legscore[train]")
    table = tmp_path / "t.csv"
    text = "sequence,expression,fold\n" + "".join(f"{'ACGT' * 20},1.5,{n % 2}\n" for n in range(20))
    table.write_text(text)
    (tmp_path / "o" / name).parent.mkdir(parents=True)
    link(table, tmp_path / "o" / name)
    ran = cli(*command, table, "-o", tmp_path / "o", "--set", "batch=4", "--force")
    one_line(ran, f"{name} is both input and output")
    assert table.read_text() == text


def test_a_pulled_model_is_not_replaced_over_the_file_it_comes_from(
    tmp_path: Path, cli: Any, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of a model is replaced as a whole, with whatever lies in it."""
    monkeypatch.setenv("LEGSCORE_MODELS", str(tmp_path / "library"))
    pull = ("models", "pull", "https://example.org/m.safetensors", "--as", "mine", "--from")
    assert cli(*pull, toy_model).code == 0
    source = tmp_path / "library" / "mine" / "source.safetensors"
    source.write_bytes(toy_model.read_bytes())
    os.symlink(tmp_path / "library", tmp_path / "linked")
    for path in (source, tmp_path / "linked" / "mine" / "source.safetensors"):
        one_line(cli(*pull, path, "--force"), "is both input and output", "choose another --as")
    assert source.read_bytes() == toy_model.read_bytes()


def test_names_that_differ_by_case_alone(folder: Path) -> None:
    if not (folder / "A.CSV").exists():
        pytest.skip("this file system tells upper and lower case apart")
    with pytest.raises(OutputError, match="A.CSV is both input and output"):
        check_apart({"-o": "A.CSV"}, ["a.csv"])
