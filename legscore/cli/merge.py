"""legscore merge"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from legscore.cli.output_options import force_option, output_option, quiet_option
from legscore.cli.sections import SectionedCommand
from legscore.errors import OutputError


@click.command("merge", cls=SectionedCommand, short_help="Join the shards of a run into one output.")
@click.argument("shards", nargs=-1, required=True, type=click.Path(), metavar="SHARD...")
@output_option("Parquet, .arrow, .csv, .tsv (also .gz).")
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
    from legscore.output.parts import parts_folder
    from legscore.system.lock import locked_folder
    from legscore.system.overwrite import check_apart
    from legscore.system.publish import check_writable, is_stream, remove_stale, written_by
    from legscore.system.storage import is_remote

    if output == "-":
        raise OutputError("shards are joined to a file, not to standard output")
    if remote := next((path for path in (*shards, output) if is_remote(path)), None):
        raise OutputError(f"{remote}: shards are joined on a disk; copy them here first")
    check_apart({"-o": written_by(output)}, shards)
    target, record_path = Path(output), Path(f"{output}.run.json")
    for path in (target,) if is_stream(output) else (target, record_path):
        check_writable(path)
    if is_stream(output):
        _join(shards, output, force, quiet)
        return
    with locked_folder(parts_folder(target), output):
        remove_stale(target, record_path)
        _join(shards, output, force, quiet)


def _join(shards: tuple[str, ...], output: str, force: bool, quiet: bool) -> None:
    """Join, and write the record; only for who holds the output's lock."""
    from legscore.output.join import merge_shards
    from legscore.run.finished import finished_record, read_for
    from legscore.run.joined_thresholds import thresholds_of
    from legscore.system.checksum import checksum_of
    from legscore.system.json_records import sealed
    from legscore.system.publish import publishing, writing

    record_path = Path(f"{output}.run.json")
    asked = read_for(shards)
    done = finished_record(output, [output], asked, None, force=force, needed={"rows": int})
    if done is not None:
        if not quiet:
            click.echo(
                f"{output}: already finished ({done['rows']:,} rows); --force joins it again", err=True
            )
        return
    record: dict[str, Any] = {}

    def note(joined: Path, metadata: dict[str, Any], rows: int) -> None:
        """Before the output has its name: a kill between both leaves a record without an output, which the
        same command goes on from, and never an output without its record."""
        record.update(metadata, output=output, rows=rows, shards=list(shards), asked=asked)
        if found := thresholds_of(shards, metadata):
            record["thresholds"] = found
        with writing(output):
            record["output_files"] = {Path(output).name: checksum_of(joined).to_json()}
        with publishing(record_path) as temporary, writing(record_path):
            temporary.write_text(sealed(record))

    merge_shards([Path(shard) for shard in shards], output, note)
    if not quiet and record:  # a device or a pipe has none
        rows = f"{record['rows']:,} rows of {len(shards):,} shards"
        click.echo(f"output: {output} ({rows}; record: {record_path})", err=True)
