"""legscore report"""

from __future__ import annotations

from pathlib import Path

import click

from legscore.cli.output_options import force_option, output_option, quiet_option, speaker
from legscore.cli.sections import SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.table_options import tile_column_option


@click.command("report", cls=SectionedCommand, short_help="Write a page that shows scores in the browser.")
@click.argument("scores", type=click.Path(), metavar="SCORES")
@output_option("The page, .html; of designs also a folder.")
@click.option("--truth", metavar="COLUMN", help="Measured values, to set against the predictions.")
@tile_column_option
@force_option
@quiet_option
def command(scores: str, output: str, truth: str | None, tile: str | None, force: bool, quiet: bool) -> None:
    """Write a page that shows scores in the browser.

    SCORES is a table of scores, a folder of Parquet files, a VCF that legscore run wrote, or - (standard
    input).

    One file that holds everything and never reaches for the network: what was run, rows by status,
    distributions, effect against ensemble SD, the prediction floor, the largest effects, heat maps of
    saturated promoters, a track along the genome, and measured against predicted values. A table that
    legscore design wrote gets a page on designs instead: target against score, error by target and that of
    random sequences, diversity; into a folder with its pictures, or one page. Its pictures need
    legscore[report].

    \b
    Examples:
      legscore report scores.parquet -o report.html
      legscore report effects.parquet --truth measured -o report.html
      legscore report designs.parquet -o report/
    """
    from legscore.design.report import is_designs, report_file
    from legscore.evaluate.report.page import write_report
    from legscore.input.files import find_files
    from legscore.input.read import open_input
    from legscore.system.overwrite import check_outputs
    from legscore.system.publish import check_writable

    check_outputs({"-o": output}, [scores], force=force)
    with kept_inputs(speaker(quiet)) as kept:
        say = kept.saying(speaker(quiet))
        (path,) = kept.scores([scores])
        given = kept.shown.get(path, path)
        if truth is None and tile is None and is_designs(open_input([path]).schema.names):
            report_file(path, output, say, given)
            return
        check_writable(Path(output))
        for line in find_files([path]).notes:
            say(line)
        for line in write_report(path, output, truth, tile, given):
            say(line)
