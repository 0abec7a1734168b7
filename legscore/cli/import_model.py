"""legscore import"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from legscore.cli.import_options import import_options
from legscore.cli.output_options import force_option, output_option
from legscore.cli.sections import Section, SectionedCommand
from legscore.errors import printable

if TYPE_CHECKING:
    from legscore.model.checkpoint import Checkpoint

SECTIONS = (
    Section(
        "Input and output",
        "output entry force verbose help",
        (
            "legscore import checkpoint.pt --entry ema -o model.safetensors",
            "legscore import human_legnet/K562/ -o k562/ --medium K562",
        ),
    ),
    Section(
        "What the tensors do not show",
        "config final_activation concat_order fifth_channel alphabet n_value pool_sizes rc_trained",
        (
            "legscore import last_model.ckpt --config params.json -o optimized.safetensors",
            "legscore import weights.ckpt --config config.json --alphabet AGCT --n-value 0 \\\n"
            "    -o human.safetensors",
        ),
    ),
    Section(
        "What was measured",
        "floor unit organism medium assay note",
        ("legscore import model_300.pth -o complex.safetensors --floor 4",),
    ),
    Section(
        "The construct, where it is not the published one",
        "flank5 flank3 adapter5 adapter3 length insert_min insert_max",
        ("legscore import model.pth -o ours.safetensors --flank5 TGCATTT --length 120",),
    ),
)


@click.command(
    "import", cls=SectionedCommand, sections=SECTIONS, short_help="Convert published PyTorch checkpoints."
)
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILE...")
@output_option(
    "Checkpoint to write (*.safetensors); for a folder or several files, the folder to write into."
)
@import_options
@click.option("--note", help="A sentence about the model, shown whenever it is used.")
@click.option("-v", "--verbose", is_flag=True, help="Also say what of a config the published code ignores.")
@force_option
def command(
    files: tuple[str, ...],
    output: str,
    force: bool,
    note: str | None,
    verbose: bool,
    **given: Any,
) -> None:
    """Convert published PyTorch checkpoints (needs legscore[train]).

    Reads the DREAM 2022 LegNet (F1), the optimised LegNet and its ablations (F2), the human MPRA LegNet (F3)
    and the LegNet-Generator (F5), also inside what training scripts wrap around them. What tensors do not
    show is asked for, never guessed. Look-alikes are refused. A folder, or several files, become a folder of
    checkpoints, each by the config.json or params.json beside it.

    \b
    Examples:
      legscore import model_300.pth -o complex.safetensors --floor 4
      legscore import model_200.pth -o generator.safetensors
    """
    from legscore.model.checkpoint import load_checkpoint
    from legscore.model.import_files import import_files

    written = import_files(files, output, note=note, force=force, **given)
    _tell(output, load_checkpoint(written[0].path), verbose)
    for done in written:
        if (member := done.member) is not None:
            said = [f"config {member.config}"] if member.config else []
            said += [f"folds not seen {member.folds[0]} and {member.folds[1]}"] if member.folds else []
            click.echo(printable(f"{member.name}: {member.path}" + "".join(f", {text}" for text in said)))


def _tell(output: str, checkpoint: Checkpoint, verbose: bool) -> None:
    """Family, contract and where each answer came from."""
    click.echo(f"{output}: family {checkpoint.family}, {checkpoint.architecture.n_parameters():,} parameters")
    click.echo(f"  contract: {printable(checkpoint.contract.describe())}")
    for name, choice in checkpoint.source["choices"].items():
        if name == "config_ignored" and not verbose:
            continue
        click.echo(printable(f"  {name.replace('_', ' ')}: {choice}"))
