"""What `legscore run` does around a run for genomes: a VCF or a table of alleles becomes a table first, and
scores become an annotated VCF or tracks afterwards. Both in a folder beside the output, which an interrupted
run leaves for the next: the table is made anew and compared with what was scored, the scores are taken up.
With standard output it is a temporary one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legscore.errors import InputError, OutputError
from legscore.model.checkpoint import load_members
from legscore.output.parts import STAGED, PartFolder, parts_folder
from legscore.output.write import output_format
from legscore.system.lock import LOCK_NAME, locked_folder
from legscore.system.log import RunLog, Say
from legscore.system.publish import base_of, check_output, record_of, remove_stale, write_record
from legscore.system.resources import folder
from legscore.system.storage import is_remote

VCF = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
HUMAN_WINDOW, HUMAN_GENOME_WINDOW = 230, 231
"""The published human scripts read 231 bases of genome (the variant in the middle) with models of 230-base
oligos."""
TRACKS = (".bedgraph", ".bg", ".bw", ".bigwig")


@dataclass(frozen=True)
class Stage:
    """What to score, where the scores go, and what is left to do with them: `finish(record)` returns lines to
    print."""

    inputs: Sequence[str]
    output: str
    finish: Callable[[dict[str, Any]], list[str]]
    derived_input: bool = False
    parts: str | None = None


@contextlib.contextmanager
def _room(output: str, restart: bool) -> Iterator[Path]:
    """A folder for what a run makes on its way: OUT.parts, held; taken away at the end, or after a failure
    without scores."""
    if output == "-":
        with tempfile.TemporaryDirectory(prefix="legscore-") as folder:
            yield Path(folder)
        return
    with locked_folder(parts_folder(output), output) as room:
        remove_stale(base_of(output), record_of(output), *track_files(output))
        if PartFolder(room).is_begun():
            if not restart:
                raise OutputError(
                    f"{room} holds an interrupted run on a table; go on with that, or add --restart to "
                    "begin anew"
                )
            _empty(room)
        try:
            yield room
        except BaseException:
            if not any(room.glob("*/part-*")):
                with contextlib.suppress(OSError):  # the failure itself is the one to report
                    _empty(room)
            raise
        _empty(room)


def track_files(output: str) -> list[Path]:
    """The files of a track output: one for each strand."""
    path = Path(output)
    return [path.with_name(f"{path.stem}.{word}{path.suffix}") for word in ("plus", "minus")]


def _empty(room: Path) -> None:
    for entry in room.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK_NAME:
            entry.unlink()


@contextlib.contextmanager
def staged(
    given: dict[str, Any], options: dict[str, Any], samples: str | None, shuffles: int, say: Say, log: RunLog
) -> Iterator[Stage]:
    """Make the inputs ready.

    Args:
        given: options of the run; options: those about variants; samples: whose haplotypes, if any; shuffles:
            for a null; log: receives events.

    Raises:
        InputError: options that do not go together.
    """
    inputs, output = list(given["inputs"]), str(given["output"])
    source = inputs[0]
    to_vcf, to_tracks = output.lower().endswith(VCF), output.lower().endswith(TRACKS)
    if "fasta" not in options:
        if options or samples:
            name = next(iter(options), "haplotypes").replace("_", "-")
            raise InputError(f"--{name} is about variants in a genome; give --fasta too")
        if any(name.lower().endswith(VCF) for name in inputs):
            raise InputError(
                f"{inputs[0]}: a VCF needs --fasta GENOME and --promoters GTF, --regions BED or --centered"
            )
    if to_vcf and ("fasta" not in options or samples or not inputs[0].lower().endswith(VCF)):
        raise InputError(
            f"{output}: a VCF comes out only where one goes in, with --fasta and without --haplotypes"
        )
    if shuffles and (to_vcf or to_tracks or len(inputs) != 1):
        raise InputError(
            "--shuffle-null adds the columns p and q to a table, from one input; it does not go with "
            f"{output}"
        )
    if not to_vcf and not to_tracks and not shuffles and "fasta" not in options:
        yield Stage(inputs, output, lambda record: [])
        return
    if "fasta" in options and len(inputs) != 1:
        raise InputError(
            f"with --fasta give one input, not {len(inputs)}; join VCFs with bcftools concat first"
        )
    if elsewhere := next(
        (path for path in (*inputs, output, *map(str, options.values())) if is_remote(path)), None
    ):
        raise InputError(
            f"{elsewhere}: genomes, VCF, tracks and --shuffle-null need files on a disk; score a table from "
            "a store"
        )
    if shuffles and output.endswith("/"):
        raise InputError(f"--shuffle-null writes one table; {output} asks for a folder of files")
    _check_output(output, inputs, options, special=to_vcf or to_tracks)
    aside = to_vcf or to_tracks or shuffles > 0
    if given["shard"] and aside:
        raise InputError(f"--shard goes with tables, not with {'--shuffle-null' if shuffles else output}")
    with _room(output, given["restart"]) as room:
        made = None
        if "fasta" in options:
            table = room / "_variants.parquet"
            made = _make(source, table, given, options, samples, numbered=to_vcf, say=say)
            inputs = [str(table)]
        scored = room / "_scored.parquet"

        def finish(record: dict[str, Any]) -> list[str]:
            try:
                return write(record)
            except InputError:  # what was scored cannot become this output, now or later
                _empty(room)
                raise

        def write(record: dict[str, Any]) -> list[str]:
            if to_vcf and made is not None:
                from legscore.variants.vcf_out import write_vcf

                lines = write_vcf(Path(source), scored, output, made.contigs, made.lengths, record)
            elif to_tracks:
                from legscore.variants.tracks import write_tracks

                lines = write_tracks(scored, output, record)
            elif shuffles:
                lines = add_null(inputs[0], scored, output, record, shuffles, given, say, log)
            else:
                return []
            record["output"] = output
            write_record(output, json.dumps(record, indent=1) + "\n")
            return lines

        parts = None if output == "-" else str(room / STAGED)
        yield Stage(inputs, str(scored) if aside else output, finish, made is not None, parts)


def _check_output(output: str, inputs: Sequence[str], options: dict[str, Any], *, special: bool) -> None:
    if output == "-":
        return
    if not special:
        output_format(output, None)
    check_output(output)
    for path in (*inputs, options.get("fasta"), options.get("promoters"), options.get("regions_bed")):
        if path and os.path.exists(path) and os.path.exists(output) and os.path.samefile(path, output):
            raise InputError(f"{output} is both input and output; choose another -o")


def _make(
    source: str,
    table: Path,
    given: dict[str, Any],
    options: dict[str, Any],
    samples: str | None,
    *,
    numbered: bool,
    say: Say,
) -> Any:
    from legscore.variants.make import make
    from legscore.variants.options import BuildOptions

    contract = load_members(
        given["models"] or [folder("bundled")], allow_duplicates=given["allow_duplicates"]
    )[0].contract
    if options.get("context") == "genome":
        options.setdefault(
            "length", HUMAN_GENOME_WINDOW if contract.length == HUMAN_WINDOW else contract.length
        )
    elif contract.insert_min == contract.insert_max:
        options.setdefault("length", contract.insert_min)

    def hushed(line: str) -> None:
        if str(table) not in line:
            say(line)

    made = make(source, str(table), BuildOptions(**options), samples=samples, numbered=numbered, say=hushed)
    if not made.rows:
        raise InputError(
            f"{source}: no allele lies in a tile, so there is nothing to score; --keep-outside writes them "
            "all the same"
        )
    return made


def add_null(
    source: str,
    scored: Path,
    output: str,
    record: dict[str, Any],
    n: int,
    given: dict[str, Any],
    say: Say,
    log: RunLog,
) -> list[str]:
    """Score the changes in shuffled inserts with the options of the run and write the rows with p and q."""
    from legscore.run.job import score
    from legscore.run.options import Options, Staging
    from legscore.variants.shuffle_null import ROW, p_values, write_null, write_with_p

    changes, results = scored.with_name("_null.parquet"), scored.with_name("_null_scores.parquet")
    n_changes = write_null(source, changes, n)
    say(f"null: {n_changes:,} single-base changes in {n:,} shuffled inserts each")
    names = (
        "models",
        "rc",
        "engine",
        "precision",
        "recipe",
        "singleton",
        "allow_duplicates",
        "null_rate",
        "memory",
        "verify",
    )
    same = {name: given[name] for name in names}
    parts = None if output == "-" else str(scored.with_name("null_scores"))
    null = Options(
        [str(changes)],
        str(results),
        sequence_is=record["options"]["sequence_is"],
        keep=ROW,
        restart=given["restart"],
        **same,
    )
    staging = Staging(derived_input=True, parts=parts)
    score(null, staging, say=lambda line: say(line) if line.startswith(("resume", "kept")) else None, log=log)
    p, q = p_values(scored, results, n)
    metadata = {
        name: record[name] for name in ("legscore", "models", "contract", "engine", "fidelity", "options")
    }
    metadata["options"] = {**metadata["options"], "shuffle_null": n}
    metadata |= {name: record[name] for name in ("variants", "calibration") if name in record}
    write_with_p(scored, p, q, output, given["format_"], metadata)
    return [
        (
            f"p: {int(np.isfinite(p).sum()):,} rows; q ≤ 0.05: {int((q <= 0.05).sum()):,} (smallest "
            "possible p "
            f"{1 / (n + 1):.2g})"
        )
    ]
