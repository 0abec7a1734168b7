"""legscore cache"""

from __future__ import annotations

import json
import time

import click

from legscore.cli.sections import SectionedCommand
from legscore.errors import printable
from legscore.system.caches import KINDS, clear, entries
from legscore.system.resources import cache_folder


@click.command("cache", cls=SectionedCommand, short_help="List or clear what is kept between runs.")
@click.argument("action", type=click.Choice(["list", "clear"]))
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[KIND]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
def command(action: str, kinds: tuple[str, ...], as_json: bool) -> None:
    """List or clear what is kept between runs.

    KIND is plans (TensorRT), timing (of TensorRT's kernels), kernels (compiled here), networks (OpenVINO) or
    fidelity (measured against FP32); all of them when none is named. Everything is made again when it is
    needed. LEGSCORE_CACHE moves the folder.

    \b
    Examples:
      legscore cache list
      legscore cache clear plans timing
    """
    found = (entries if action == "list" else clear)(kinds or KINDS)
    for entry in found if as_json or action == "list" else ():
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.modified))
        if as_json:
            click.echo(
                json.dumps(
                    {"kind": entry.kind, "path": str(entry.path), "bytes": entry.nbytes, "modified": when}
                )
            )
        else:
            click.echo(printable(f"{entry.kind:<9} {entry.nbytes:>12,}  {when}  {entry.path.name}"))
    if not as_json:
        done = "" if action == "list" else " removed"
        click.echo(
            f"{len(found)} files, {sum(e.nbytes for e in found) / 2**20:,.1f} MiB{done} in {cache_folder('')}"
        )
