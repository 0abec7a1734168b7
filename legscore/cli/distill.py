"""legscore distill"""

from __future__ import annotations

import time
from typing import Any

import click

from legscore.cli.effects import not_empty
from legscore.cli.model_options import device_option, engine_options, model_option
from legscore.cli.numbers import Finite
from legscore.cli.output_options import force_option, output_option, quiet_option, threads_option
from legscore.cli.progress import ProgressBar
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.training_options import every_option
from legscore.distill.options import DistillOptions, Follower
from legscore.errors import printable
from legscore.system.allocator import keep_freed_parts
from legscore.system.interrupts import stop_on_signals
from legscore.system.log import Detail

SECTIONS = (
    Section(
        "The student",
        "models output cost architecture insert half force_student",
        (
            "legscore distill -m models/ -o student.safetensors --minutes 60",
            "legscore run variants.parquet -m student.safetensors -o scores.parquet",
        ),
    ),
    Section(
        "Windows that the ensemble labels",
        "labels tiles fasta measured own own_share",
        (
            "legscore distill -m models/ -o student.safetensors --fasta genome.fa \\\n"
            "    --measured data.parquet --labels 200000",
            "legscore distill -m models/ -o student.safetensors --fasta genome.fa --own variants.parquet",
        ),
    ),
    Section(
        "What it is checked on",
        "check_tiles check truth apart",
        (
            "legscore distill -m models/ -o student.safetensors --check measured_snvs.parquet \\\n"
            "    --truth measured_delta",
        ),
    ),
    Section(
        "Labels from a table, instead of an ensemble",
        "teacher_table teacher_columns",
        (
            "legscore distill -m model.safetensors -o student.safetensors --teacher-table scores.parquet",
            "legscore distill -m model.safetensors -o student.safetensors --teacher-table scores.parquet \\\n"
            "    --teacher-columns ref_a:alt_a,ref_b:alt_b",
        ),
    ),
    Section(
        "Training",
        "minutes steps seed save_every log_every",
        ("legscore distill -m models/ -o student.safetensors --steps 2000 --seed 7",),
    ),
    Section(
        "Machine, and what is kept",
        "engine precision device threads force quiet restart keep_labels labels_from help",
        (
            "legscore distill -m models/ -o student.safetensors --keep-labels",
            "legscore distill -m models/ -o small.safetensors --cost 50 \\\n"
            "    --labels-from student.safetensors.distill",
        ),
    ),
)
CALLED = {"labels": "labels", "members": "scores of the models", "forward": "forward strands alone"}
"""What is scored, in words: the teacher's labels, and what the student is compared with."""
SAID_S = 30.0
"""Seconds between lines about labels, where there is no bar."""


def _names(context: click.Context, parameter: click.Parameter, given: str | None) -> tuple[str, ...]:
    """Names with commas between them."""
    if given is None:
        return ()
    names = tuple(name.strip() for name in given.split(","))
    not_empty(context, parameter, names)
    return names


@click.command(
    "distill",
    cls=SectionedCommand,
    sections=SECTIONS,
    short_help="Teach one small network the scores of an ensemble.",
)
@model_option("Ensemble to distill: checkpoints, folders or names of published models.")
@output_option("File of the student (.safetensors).", metavar="FILE")
@click.option(
    "--cost",
    type=Finite(1),
    show_default="20",
    metavar="N",
    help="Multiply-adds of the student: 1/N of the ensemble's.",
)
@click.option(
    "--architecture",
    metavar="WIDTHS[/INNER]",
    help="Channels of the student's blocks instead of --cost: one number, or a list with commas.",
)
@click.option(
    "--insert",
    type=click.IntRange(1),
    metavar="BASES",
    show_default="80, or the length that the models take",
    help="Length of the inserts that the student will score; it takes no other.",
)
@click.option("--half", is_flag=True, help="Store weights as FP16, in half the space.")
@click.option(
    "--force-student",
    is_flag=True,
    help="Write the student even though something that costs no more agrees better with the ensemble.",
)
@click.option(
    "--labels",
    type=click.IntRange(1),
    show_default="50,000, or all rows of a --teacher-table",
    metavar="N",
    help="Windows that the ensemble scores for it, a tenth of them held out; checks come on top. Of a "
    "--teacher-table: rows to read, drawn at random.",
)
@click.option(
    "--tiles", multiple=True, type=click.Path(), metavar="TABLE", help="Table of genomic sequences; repeat."
)
@click.option(
    "--fasta", multiple=True, type=click.Path(), metavar="FASTA", help="Genome to draw windows from; repeat."
)
@click.option(
    "--measured",
    multiple=True,
    type=click.Path(),
    metavar="TABLE",
    help="Table of sequences as they were measured; repeat.",
)
@click.option(
    "--own",
    type=click.Path(),
    metavar="TABLE",
    help="Rows that the student will score: a share is labelled, and some of these are held out.",
)
@click.option(
    "--own-share",
    type=Finite(0, 100, min_open=True),
    default=10.0,
    show_default="10",
    metavar="PERCENT",
    help="Share of the --own rows that is labelled.",
)
@click.option(
    "--check-tiles",
    type=click.IntRange(1),
    metavar="N",
    show_default="a tenth of the labels, at 24 a tile",
    help="Tiles kept from training whose single changes the student is checked on.",
)
@click.option(
    "--check",
    multiple=True,
    type=click.Path(),
    metavar="TABLE",
    help="Rows kept from training that the student is checked on; repeat.",
)
@click.option(
    "--truth",
    metavar="COLUMN",
    help="Column of the --check and --measured tables that holds what was measured.",
)
@click.option(
    "--apart",
    multiple=True,
    type=click.Path(),
    metavar="TABLE",
    help="Rows that drawn windows share nothing with either; they are not labelled; repeat.",
)
@click.option(
    "--teacher-table",
    type=click.Path(),
    metavar="TABLE",
    help="Learn the scores of this table; -m says which models the student starts from.",
)
@click.option(
    "--teacher-columns",
    metavar="NAMES",
    callback=_names,
    show_default="score, or ref_score:alt_score",
    help="Its columns of scores, one a member, with commas; of changes REF:ALT.",
)
@click.option(
    "--minutes",
    type=Finite(0, min_open=True),
    metavar="X",
    show_default="30",
    help="How long to train, after the labels.",
)
@click.option(
    "--steps", type=click.IntRange(1), metavar="N", help="Steps to train for, instead of --minutes."
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    metavar="N",
    help="Seed of windows and batches.",
)
@every_option("--save-every", 100, "saved states")
@every_option("--log-every", 50, "reports")
@click.option("--restart", is_flag=True, help="Begin anew, where an interrupted distillation could go on.")
@click.option("--keep-labels", is_flag=True, help="Leave the labels in FILE.distill for another student.")
@click.option(
    "--labels-from",
    multiple=True,
    type=click.Path(),
    metavar="FOLDER",
    help="Labels of these models that --keep-labels left: what they hold is not scored again; repeat.",
)
@engine_options()
@device_option()
@threads_option
@force_option
@quiet_option
def command(models: tuple[str, ...], output: str, force: bool, quiet: bool, **given: Any) -> None:
    """Teach one small network the scores of an ensemble (needs legscore[train]).

    The ensemble labels windows: random inserts, those of tables and genomes, and changes of all of them. The
    member that agrees best with the others is cut down and trained on the labels. The student is one
    checkpoint that `legscore run` scores forward strands with; it says how well it stands for the ensemble.
    After an interruption the same command goes on.

    \b
    Example:
      legscore distill -m models/ -o student.safetensors --tiles tiles.parquet --minutes 60
    """
    options = DistillOptions(**given)
    keep_freed_parts()

    from legscore.distill.make_student import distill

    with DistillProgress(quiet) as progress:
        path = distill(models, output, options, progress, force=force)
        progress.say(f"{path}: written")


class DistillProgress(Follower):
    """What a distillation shows: a bar on terminals, lines in pipes, both with the time left. A signal stops
    it after the piece under way. A context."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self._bar, self._shown = quiet, ProgressBar(quiet), ""
        self._signals: Any = None
        self._came: Any = lambda: False
        self._started, self._first, self._said, self._kind = 0.0, 0, 0.0, ""

    def __enter__(self) -> DistillProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._signals is not None:
            self._signals.__exit__(*error)

    def begin(self) -> None:
        self._signals = stop_on_signals()
        self._came = self._signals.__enter__()
        self._started = self._said = time.monotonic()

    def stopped(self) -> bool:
        return bool(self._came())

    def say(self, line: str) -> None:
        if not self.quiet and not isinstance(line, Detail):
            self._bar.close()
            self._shown = ""
            click.echo(printable(line), err=True)

    def labelled(self, kind: str, done: int, total: int) -> None:
        now = time.monotonic()
        if self._bar.shows:
            self._move(CALLED[kind], done, total, "windows")
            return
        if kind != self._kind:
            self._kind, self._first, self._started = kind, done, now
        if now - self._said > SAID_S or done == total:
            rate = (done - self._first) / max(now - self._started, 1e-9)
            left = f", {(total - done) / rate / 60:,.1f} min left" if rate > 0 and done < total else ""
            self._said = now
            self.say(f"{CALLED[kind]}: {done:,} of {total:,}{left}")

    def trained(self, step: int, steps: int) -> None:
        if self._bar.shows:
            self._move("training", step, steps, "steps")

    def report(self, step: int, steps: int, loss: float, windows_per_s: float, left_s: float) -> None:
        told = f"loss {loss:.4f}, {windows_per_s:,.0f} windows/s"
        if self._bar.shows:
            self._bar.tell(told)
        else:
            self.say(f"step {step:,}/{steps:,}: {told}, {left_s / 60:,.1f} min left")

    def _move(self, label: str, done: int, total: int, unit: str) -> None:
        if self._shown != label:
            self._bar.start(label, total, unit, done=done)
            self._shown = label
        self._bar.move_to(done)
