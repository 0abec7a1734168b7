"""legscore doctor"""

from __future__ import annotations

import json

import click

from legscore.cli.sections import SectionedCommand


@click.command(
    "doctor",
    cls=SectionedCommand,
    short_help="Say what this machine scores with, why, and what to install for more.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def command(as_json: bool) -> None:
    """Say what this machine scores with, why, and what to install for more.

    \b
    Examples:
      legscore doctor
      legscore doctor --json | python -m json.tool
    """
    from legscore.engine.doctor import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report))
        return
    width = max(len(name) for name in report["has"]) + 2
    for name, found in report["has"].items():
        click.echo(f"{name + ':':{width}}{found}")
    click.echo(f"\nscores with: engine {report['engine']} ({report['engine_reason']})")
    click.echo(f"precision:   {report['precision']} ({report['precision_reason']})")
    for line in report["install"]:
        click.echo(f"for more:    {line}")
