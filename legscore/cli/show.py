"""legscore show"""

from __future__ import annotations

import json

import click

from legscore.cli.model_options import model_option
from legscore.cli.sections import SectionedCommand
from legscore.errors import InputError, printable


@click.command(
    "show", cls=SectionedCommand, short_help="Print what checkpoints hold: contract, architecture, training."
)
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[MODELS]...")
@model_option("The same as MODELS, as in other commands.", default=None)
@click.option("--json", "as_json", is_flag=True, help="The whole manifest, one JSON object a line.")
def command(paths: tuple[str, ...], models: tuple[str, ...], as_json: bool) -> None:
    """Print what checkpoints hold: contract, architecture, training.

    \b
    Examples:
      legscore show models/
      legscore show model.safetensors --json | python -m json.tool
    """
    from legscore.model.checkpoint import find_checkpoints, load_checkpoint
    from legscore.model.student import KEY, describe_student, student_record

    if not (models or paths):
        raise InputError("legscore show needs models: name a checkpoint, a folder of them, or bundled")
    for path in find_checkpoints([*models, *paths], lambda line: click.echo(line, err=True)):
        checkpoint = load_checkpoint(path)
        if as_json:
            click.echo(json.dumps({"path": str(path), "sha256": checkpoint.sha256, **checkpoint.manifest()}))
            continue
        architecture = checkpoint.architecture

        def tell(line: str) -> None:
            click.echo(printable(line))

        tell(
            f"{path}: family {checkpoint.family}, {architecture.n_parameters():,} parameters, sha256 "
            f"{checkpoint.sha256[:16]}"
        )
        tell(f"  contract: {checkpoint.contract.describe()}")
        tell(
            f"  widths {'-'.join(map(str, architecture.widths))}, {architecture.se} SE, residual "
            f"{architecture.residual}"
        )
        million = architecture.multiply_adds(checkpoint.contract.length) / 1e6
        tell(f"  {million:,.1f} M multiply-adds a window and strand")
        student = student_record(checkpoint)
        for name, value in checkpoint.training.items():
            tell(f"  {name}: {describe_student(student) if student and name == KEY else value}")
