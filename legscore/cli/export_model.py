"""legscore export"""

from __future__ import annotations

from pathlib import Path

import click

from legscore.cli.output_options import force_option, output_option
from legscore.cli.sections import SectionedCommand
from legscore.errors import ModelError


@click.command(
    "export", cls=SectionedCommand, short_help="Write a generator as the published code's PyTorch file."
)
@click.argument("file", type=click.Path())
@output_option("File to write (*.pth).")
@force_option
def command(file: str, output: str, force: bool) -> None:
    """Write a generator as the published code's PyTorch file (family F5; needs legscore[train]).

    Weights go over exactly. The optimiser's state is not kept, so the published code can sample with the
    file, not go on training.

    \b
    Example:
      legscore export examples/generator/yeast_complex_generator.safetensors -o generator.pth
    """
    from legscore.model.checkpoint import load_checkpoint
    from legscore.model.exporters import export_generator
    from legscore.system.overwrite import check_files

    target = Path(output)
    if target.suffix not in (".pth", ".pt"):
        raise ModelError(f"{output}: a PyTorch file's name ends in .pth or .pt")
    check_files({"-o": output}, [file], force=force)
    checkpoint = load_checkpoint(file)
    try:
        keys = export_generator(checkpoint, target)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None
    click.echo(f"{output}: family F5, {keys} keys, {checkpoint.architecture.n_parameters():,} parameters")
