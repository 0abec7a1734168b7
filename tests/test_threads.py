"""--threads, LEGSCORE_THREADS, and what a process may use by affinity, control groups and Slurm; -v and -q."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import click
import pytest
from conftest import REPOSITORY

from legscore.cli import COMMANDS, cli
from legscore.system.cores import allowed_cores, most_threads, quota_cores

UNSET = {"LEGSCORE_THREADS", "SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


def legscore(*words: object, cores: set[int] | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in UNSET}
    return subprocess.run(
        [sys.executable, "-m", "legscore", *map(str, words)],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": str(REPOSITORY), **more},
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        check=False,
    )


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("id,sequence\n" + "".join(f"{i},{'ACGT' * 15}{'ACGT'[i % 4] * 20}\n" for i in range(40)))
    return path


def threads_of(
    tmp_path: Path, table: Path, *words: object, cores: set[int] | None = None, **more: str
) -> str:
    """The line that a run says of its threads; its record has the same number."""
    out = tmp_path / f"{secrets.token_hex(4)}.csv"
    ran = legscore("run", table, "-o", out, "--engine", "null", "-v", *words, cores=cores, **more)
    assert ran.returncode == 0, ran.stderr
    line = next(line for line in ran.stderr.splitlines() if line.startswith("threads: "))
    record = json.loads(Path(f"{out}.run.json").read_text())
    assert line in record["decisions"]
    assert line.startswith(f"threads: {record['threads']} ")
    return line


def test_threads_are_those_asked_for(tmp_path: Path, table: Path) -> None:
    told = threads_of(tmp_path, table, "--threads", 3, LEGSCORE_THREADS="2")
    assert told == "threads: 3 (asked for)", "the option goes before the variable"
    assert threads_of(tmp_path, table, LEGSCORE_THREADS="7") == "threads: 7 (LEGSCORE_THREADS)"


def test_slurm_and_affinity_bound_them(tmp_path: Path, table: Path) -> None:
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core: nothing to be less than")
    assert threads_of(tmp_path, table, SLURM_CPUS_PER_TASK="1") == "threads: 1 (SLURM_CPUS_PER_TASK)"
    assert threads_of(tmp_path, table, cores={min(cores)}) == "threads: 1 (cores that it may run on)"
    told = threads_of(tmp_path, table, SLURM_CPUS_PER_TASK="4096")
    assert told.startswith(f"threads: {len(cores)} ("), "more than there are is no bound"


def test_a_quota_of_control_groups_bounds_them(tmp_path: Path, table: Path) -> None:
    """A real group of version 1 or 2, where one can be made."""
    name = f"legscore-test-{secrets.token_hex(4)}"
    for folder, setting, value in (
        (Path("/sys/fs/cgroup/cpu") / name, "cpu.cfs_quota_us", "100000"),
        (Path("/sys/fs/cgroup") / name, "cpu.max", "100000 100000"),
    ):
        try:
            folder.mkdir()
            (folder / setting).write_text(value)
            break
        except OSError:
            if folder.exists():
                folder.rmdir()
    else:
        pytest.skip("no control group can be made here")
    try:
        if allowed_cores() < 2:
            pytest.skip("one core: nothing to be less than")
        inside = (
            f"import os; open({str(folder / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            "from legscore.cli import main; import sys\n"
            f"sys.argv = ['legscore', 'run', {str(table)!r}, '-o', {str(tmp_path / 'o.csv')!r}, '--engine', 'null', '-v']\n"
            "main()"
        )
        environment = {name: value for name, value in os.environ.items() if name not in UNSET}
        environment["PYTHONPATH"] = str(REPOSITORY)
        done = subprocess.run(
            [sys.executable, "-c", inside], capture_output=True, text=True, env=environment, check=False
        )
        assert "threads: 1 (quota of its control group)" in done.stderr.splitlines(), done.stderr
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/job\n", {"job/cpu.max": "150000 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000\n", "job/step/cpu.max": "max 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/elsewhere\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/job\n", {"job/cpu.max": "max 100000\n"}, None),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/1\n0::/\n",
            {
                "cpu,cpuacct/docker/1/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        ("3:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, None),
        ("3:cpu:/outside\n", {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 1),
        ("", {}, None),
    ],
)
def test_quotas_of_both_versions(
    tmp_path: Path, cgroup: str, files: dict[str, str], cores: int | None
) -> None:
    """The least of a group's and those above it; in a container the path is that of the machine outside."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert quota_cores(tmp_path) == cores


def test_scores_do_not_depend_on_threads(tmp_path: Path, table: Path, toy_model: Path) -> None:
    for n in (1, 2):
        given = ("-m", toy_model, "--engine", "openvino", "--precision", "fp32", "--threads", n)
        ran = legscore("run", table, *given, "-o", tmp_path / f"{n}.parquet")
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_the_engine_and_libraries_get_them() -> None:
    """OpenVINO, pyarrow and numpy's matrix library in a process that was told of one thread."""
    code = (
        "from legscore.system.cores import use_threads; use_threads(1)\n"
        "from legscore.engine.openvino_cpu import OpenVINOCpu; from legscore.engine.recipe import load_recipe\n"
        "import os, pyarrow, numpy; cpu = OpenVINOCpu.of(load_recipe('fp32'))\n"
        "print(cpu.threads, cpu.streams, pyarrow.cpu_count(), os.environ['OPENBLAS_NUM_THREADS'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["1", "1", "1", "1"]


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "20000", "9" * 5000])
def test_threads_that_are_no_number_of_threads(table: Path, text: str) -> None:
    """Nor more than any machine computes with: their stacks and buffers took all memory."""
    ran = legscore("run", table, "-o", "x.csv", LEGSCORE_THREADS=text)
    told = f"legscore: LEGSCORE_THREADS is '{text}'; it must be a number of threads, 1 to {most_threads():,} "
    assert (ran.returncode, ran.stderr) == (2, f"{told}on this machine\n")
    ran = legscore("run", table, "-o", "x.csv", "--threads", text)
    assert ran.returncode == 2
    assert ran.stderr.startswith("legscore: run: Invalid value for '--threads'")


def every_command_with_threads() -> list[list[str]]:
    found = []

    def walk(command: click.Command, words: list[str]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, [*words, name])
        if any(parameter.name == "threads" for parameter in command.params):
            found.append(words)

    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        walk(command, [name])
    return found


def test_every_command_refuses_more_threads_than_this_machine_takes() -> None:
    commands = every_command_with_threads()
    assert ["run"] in commands
    assert ["atlas", "build"] in commands
    for words in commands:
        with pytest.raises(click.BadParameter) as caught:
            cli.main([*words, "--threads", str(most_threads() + 1)], standalone_mode=False)
        told = f"{most_threads() + 1} is more than the {most_threads()} that this machine takes."
        assert (caught.value.param.name, caught.value.message) == ("threads", told), words


def test_workers_on_ray_have_their_own(table: Path) -> None:
    ran = legscore("run", table, "-o", "x.csv", "--ray", "local", "--threads", 2)
    assert ran.returncode == 2
    assert "--threads has no effect here: workers on Ray compute with the cores of --num-cpus" in ran.stderr


def test_the_opening_lines_are_few_and_plain(tmp_path: Path, table: Path, toy_models: Path) -> None:
    """Models, input, engine; the rest with -v and in the record; nothing with -q."""
    told = {}
    for flag in ("", "-v", "-q"):
        out = tmp_path / f"o{flag}.csv"
        ran = legscore(
            "run", table, "-m", toy_models, "-o", out, "--engine", "null", *([flag] if flag else [])
        )
        assert ran.returncode == 0, ran.stderr
        told[flag] = ran.stderr.splitlines()
        decisions = json.loads(Path(f"{out}.run.json").read_text())["decisions"]
        assert [line.split(":")[0] for line in decisions if ":" in line][:3] == [
            "models",
            "contract",
            "sequences",
        ]
    assert [line.split(":")[0] for line in told[""][:4]] == ["models", "input", "engine", "rows"]
    assert told[""][1] == "input: 40 sequences (columns sequence), read as inserts"
    assert {line.split(":")[0] for line in told["-v"]} > {
        "contract",
        "sequences",
        "strands",
        "threads",
        "engine",
    }
    assert told["-q"] == []


def test_the_first_run_says_what_it_waits_for(tmp_path: Path, table: Path, toy_model: Path) -> None:
    said = []
    for name in ("first", "second"):
        given = (
            "-m",
            toy_model,
            "--engine",
            "openvino",
            "--precision",
            "fp32",
            "-o",
            tmp_path / f"{name}.csv",
        )
        ran = legscore("run", table, *given, LEGSCORE_CACHE=str(tmp_path / "cache"))
        assert ran.returncode == 0, ran.stderr
        said.append([line for line in ran.stderr.splitlines() if line.startswith("networks: ")])
    assert said == [["networks: compiling the models for this CPU, once; later runs take what is kept"], []]
