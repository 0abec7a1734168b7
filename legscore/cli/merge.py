"""legscore merge"""

from __future__ import annotations

import json
from pathlib import Path

import click

from legscore.cli.output_options import force_option, quiet_option
from legscore.cli.sections import SectionedCommand
from legscore.errors import OutputError


@click.command("merge", cls=SectionedCommand, short_help="Join the shards of a run into one output.")
@click.argument("shards", nargs=-1, required=True, type=click.Path(), metavar="SHARD...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="OUT",
    help="Parquet, .arrow, .csv, .tsv (also .gz).",
)
@force_option
@quiet_option
def command(shards: tuple[str, ...], output: str, force: bool, quiet: bool) -> None:
    """Join the shards of a run into one output.

    SHARD are the outputs of `legscore run --shard 1/N` to `N/N`, in any order. The output holds the same
    bytes as that of a run over the whole input. Shards of other runs, gaps and overlaps are refused.

    \b
    Examples:
      legscore run all.parquet -m models/ -o part1.parquet --shard 1/2
      legscore run all.parquet -m models/ -o part2.parquet --shard 2/2
      legscore merge part1.parquet part2.parquet -o scores.parquet
    """
    from legscore.output.shards import merge_shards
    from legscore.run.finished import checksums_of, finished_record, read_for
    from legscore.system.overwrite import check_apart
    from legscore.system.publish import check_writable, publishing, writing, written_by
    from legscore.system.storage import is_remote

    if output == "-":
        raise OutputError("shards are joined to a file, not to standard output")
    if remote := next((path for path in (*shards, output) if is_remote(path)), None):
        raise OutputError(f"{remote}: shards are joined on a disk; copy them here first")
    target, record_path = Path(output), Path(f"{output}.run.json")
    for path in (target, record_path):
        check_writable(path)
    check_apart({"-o": written_by(output)}, shards)
    asked = read_for(shards)
    done = finished_record(output, [output], asked, None, force=force, needed={"rows": int})
    if done is not None:
        if not quiet:
            click.echo(
                f"{output}: already finished ({done['rows']:,} rows); --force joins it again", err=True
            )
        return
    metadata, rows = merge_shards([Path(shard) for shard in shards], output)
    record = {**metadata, "output": output, "rows": rows, "shards": list(shards), "asked": asked}
    with writing(output):
        record["output_files"] = checksums_of([output])
    with publishing(record_path) as temporary, writing(record_path):
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    if not quiet:
        click.echo(
            f"output: {output} ({rows:,} rows of {len(shards):,} shards; record: {record_path})", err=True
        )
