"""legscore report"""

from __future__ import annotations

from pathlib import Path

import click

from legscore.errors import InputError


@click.command("report", short_help="Write a page that shows scores in the browser.")
@click.argument("scores", metavar="SCORES")
@click.option("-o", "--output", required=True, metavar="FILE", help="The page, .html.")
@click.option("--truth", metavar="COLUMN", help="Measured values, to set against the predictions.")
@click.option("--tile", metavar="COLUMN", help="Column that names promoters. [tile_id, promoter, gene, gene_id or id]")
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(scores: str, output: str, truth: str | None, tile: str | None, quiet: bool) -> None:
    """Write a page that shows scores in the browser.

    One file that holds everything and never reaches for the network: what was run, rows by status, distributions, effect against
    ensemble SD, the prediction floor, the largest effects, heat maps of saturated promoters, a track along the genome, and
    measured against predicted values. Needs legscore[report].

    \b
    Examples:
      legscore report scores.parquet -o report.html
      legscore report effects.parquet --truth measured -o report.html
    """
    from legscore.evaluate.report.page import write_report
    from legscore.publish import check_writable

    check_writable(Path(output))
    if Path(scores).is_file() and Path(output).exists() and Path(scores).samefile(output):
        raise InputError(f"{output} is both input and output; choose another -o")
    for line in write_report(scores, output, truth, tile):
        if not quiet:
            click.echo(line, err=True)
