"""legscore compile"""

from __future__ import annotations

import click

from legscore.cli.model_options import device_option, model_option
from legscore.cli.output_options import quiet_option, speaker
from legscore.cli.sections import SectionedCommand


@click.command(
    "compile",
    cls=SectionedCommand,
    short_help="Build the TensorRT plans of an ensemble for this machine's GPUs.",
)
@click.argument("folders", nargs=-1, type=click.Path(), metavar="[MODELS]...")
@model_option("A model, or a folder of models; repeat for more. MODELS are added to them.")
@click.option(
    "--engine",
    type=click.Choice(["tensorrt"]),
    default="tensorrt",
    show_default=True,
    help="The engine that needs compiling.",
)
@click.option(
    "--recipe", type=click.Path(), metavar="NAME|FILE", show_default="fp16", help="Settings of the engine."
)
@device_option("NVIDIA GPUs to build for, by number.")
@quiet_option
def command(
    folders: tuple[str, ...],
    models: tuple[str, ...],
    engine: str,
    recipe: str | None,
    device: str | None,
    quiet: bool,
) -> None:
    """Build the TensorRT plans of an ensemble for this machine's GPUs.

    Plans go to the user's cache (LEGSCORE_CACHE moves it) and hold for this TensorRT version, GPU and driver
    branch. `legscore run` builds what is missing by itself; this command does it beforehand. OpenVINO and
    PyTorch need no compiling.

    \b
    Examples:
      legscore compile -m models/
      legscore compile -m models/ --recipe fp32 --device all
    """
    from legscore.engine.choose import Request, choose_engine, choose_recipe
    from legscore.engine.fit import choose_devices
    from legscore.model.checkpoint import load_members
    from legscore.model.student import sd_networks
    from legscore.system.resources import cache_folder, folder

    say = speaker(quiet)

    members = load_members([*models, *folders] or [folder("bundled")], say=say)
    networks = [*members, *sd_networks(members)]
    name, reason = choose_engine(engine)
    chosen, _ = choose_recipe(Request(engine=name, recipe=recipe), name, reason)
    from legscore.cuda.libcuda import find_gpus
    from legscore.engine.tensorrt_plans import compile_plans

    gpus, _ = find_gpus()
    for number in choose_devices(device, [gpu.name for gpu in gpus]):
        say(f"gpu: {number} ({gpus[number].name}), recipe {chosen.name}")
        found = compile_plans(networks, chosen, gpus[number], say)
        say(f"plans: {len(networks)} for passes of {found.batch:,} rows, in {cache_folder('plans')}")
