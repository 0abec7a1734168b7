"""legscore run"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from legscore.engine.choose import ENGINES, PRECISION_CHOICES
from legscore.errors import InputError
from legscore.job import Options, score
from legscore.memory import give_back_freed_parts
from legscore.schema import KINDS, RC_MODES, SEQUENCE_IS


@click.command("run", short_help="Score sequences or variants with an ensemble.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="Parquet, .arrow, .csv, .tsv (also .gz), or - for standard output."
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODELS",
    help="Checkpoint or directory of them; repeat for an ensemble. [bundled demonstration model]",
)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    help="What a row is, where columns fit two kinds: ref+alt pair, edit of a sequence, sequence.",
)
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help="Input column for a role, e.g. sequence=dna.")
@click.option(
    "--sequence-is",
    type=click.Choice([*SEQUENCE_IS, "auto"]),
    default="auto",
    show_default=True,
    help="Insert, oligo (insert with both adapters) or the model's whole window.",
)
@click.option(
    "--rc",
    type=click.Choice(RC_MODES),
    help="Second strand: of the whole construct, of the insert in its flanks, or none. [construct for models trained on both]",
)
@click.option("--singleton", type=click.IntRange(0, 1), default=0, show_default=True, help="Value of the is_singleton channel.")
@click.option(
    "--max-n", type=click.IntRange(0), metavar="N", help="Rows with more N's than this get status invalid_base. [no limit]"
)
@click.option(
    "--keep",
    default="auto",
    show_default=True,
    metavar="COLS",
    help="Input columns to carry over: names with commas, all, none; auto leaves scored sequences out.",
)
@click.option("--per-model", is_flag=True, help="Also write every member's values, as fixed-size lists.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="null writes zeros (for tests of the pipeline).",
)
@click.option("--precision", type=click.Choice(PRECISION_CHOICES), default="auto", show_default=True)
@click.option("--recipe", metavar="NAME|FILE", help="Engine recipe instead of the precision's own.")
@click.option("--format", "format_", type=click.Choice(["arrow", "tsv"]), help="Format on standard output. [tsv]")
@click.option("--allow-duplicates", is_flag=True, help="Accept the same model twice; it then weighs twice.")
@click.option("--null-rate", type=float, default=0.0, hidden=True, help="Windows × members a second that --engine null pretends.")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(columns: tuple[str, ...], format_: str | None, quiet: bool, **given: Any) -> None:
    """Score sequences or variants with an ensemble.

    A row of INPUT (Parquet, Arrow, CSV, TSV, FASTA; files, directories of Parquet, patterns) is a pair (ref_sequence,
    alt_sequence), an edit (sequence, offset from 0, alt_base, optionally ref_base), or a sequence. Every row comes out,
    in order, with a status; scores are null unless it is ok.

    \b
    Examples:
      legscore run examples/promoter_variants.parquet -o scores.parquet
      legscore run variants.parquet -m models/ -o scores.parquet --per-model
      legscore run promoters.fa -m a.safetensors -m b.safetensors -o - | head
    """
    roles = {}
    for pair in columns:
        role, equals, name = pair.partition("=")
        if not equals or not role or not name:
            raise InputError(f"--column {pair}: write ROLE=NAME, such as sequence=dna")
        if role in roles:
            raise InputError(f"--column {role} was given twice")
        roles[role] = name

    if given["engine"] != "torch":
        give_back_freed_parts()

    def say(line: str) -> None:
        if not quiet:
            click.echo(line, err=True)

    bar = None if quiet or not sys.stderr.isatty() else _Bar()
    try:
        record = score(Options(columns=roles, format=format_, **given), say=say, progress=bar.start if bar else None)
    finally:
        if bar:
            bar.close()
    for line in closing(record):
        say(line)


def closing(record: dict[str, Any]) -> list[str]:
    """Summary lines: rows by status, windows, rate."""
    counts = ", ".join(f"{name} {count:,}" for name, count in record["status"].items())
    saved = record["windows_asked"] - record["windows_scored"]
    lines = [
        f"rows: {record['rows']:,} ({counts})",
        f"windows: {record['windows_scored']:,} scored, {saved:,} saved because equal to others",
        f"time: {record['seconds']:,.1f} s, {record['rows_per_s']:,.0f} rows/s, {record['windows_per_s']:,.0f} windows/s",
    ]
    if record["engine"].get("warning"):
        lines.append(f"engine null: {record['engine']['warning']}")
    if record["output"] != "-":
        lines.append(f"output: {record['output']} (record: {record['output']}.run.json)")
    return lines


class _Bar:
    """tqdm on a terminal: rows done, rows/s, time left."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, rows: int, members: int) -> Callable[[float], object]:
        from tqdm import tqdm

        label = "scoring" if members == 1 else f"scoring × {members} models"
        self._bar = tqdm(total=rows, desc=label, unit=" rows", smoothing=0.1, mininterval=0.2, dynamic_ncols=True)
        self._done = 0.0
        return self._tick

    def _tick(self, rows: float) -> None:
        self._done += rows
        self._bar.update(int(self._done + 1e-6) - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
