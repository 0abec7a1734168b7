"""legscore models"""

from __future__ import annotations

import json
from typing import Any

import click

from legscore.cli.import_options import import_options
from legscore.cli.output_options import force_option, quiet_option
from legscore.cli.progress import ProgressBar
from legscore.cli.sections import Section, SectionedCommand
from legscore.errors import printable
from legscore.model.model_library import models_folder, pulled_folder, pulled_names, record_of_pull
from legscore.model.published import PUBLISHED

UNKNOWN = "unknown"
SECTIONS = (
    Section(
        "Where from, and what it must be",
        "keep_as source sha256 force quiet help",
        (
            "legscore models pull human-k562 --from /data/mirror/",
            "legscore models pull legnet-complex --from model_300.pth --sha256 HEX",
        ),
    ),
    Section(
        "What a PyTorch file does not show, as for legscore import",
        "config final_activation concat_order fifth_channel alphabet n_value pool_sizes rc_trained entry "
        "floor unit organism medium assay flank5 flank3 adapter5 adapter3 length insert_min insert_max",
        (
            "legscore models pull https://example.org/w.ckpt --as ours --config config.json \\\n"
            "    --alphabet AGCT --n-value 0",
        ),
    ),
)


@click.group("models", short_help="List published models, and pull them by name or address.")
def command() -> None:
    """List published models, and pull them by name or address.

    A pulled model lies in your models folder, which LEGSCORE_MODELS moves, and is used by its name.

    \b
    Examples:
      legscore models list
      legscore models pull legnet-complex
      legscore run variants.parquet -m legnet-complex -o scores.parquet
    """


@command.command("list", cls=SectionedCommand)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of text.")
def list_models(as_json: bool) -> None:
    """Print the models that are known by name, and those that were pulled.

    For each: whether it is here, what it reads and gives, DOI, licence, size, SHA-256 and address. What
    legscore does not know is called unknown; pulling the model finds it out and records it.

    \b
    Example:
      legscore models list --json
    """
    for name in (*PUBLISHED, *(name for name in pulled_names() if name not in PUBLISHED)):
        facts = _facts(name)
        if as_json:
            click.echo(json.dumps(facts))
            continue
        size = UNKNOWN if facts["bytes"] is None else f"{facts['bytes']:,} bytes"
        click.echo(printable(f"{name:<18} {'here' if facts['is_here'] else 'not pulled'}"))
        for line in (
            facts["about"],
            facts["contract"],
            f"DOI {facts['doi'] or UNKNOWN}; licence {facts['licence'] or UNKNOWN}; size {size}",
            f"SHA-256 {facts['sha256'] or 'unknown until the first pull'}",
            facts["url"],
        ):
            click.echo(printable(f"    {line}"))
    if not as_json:
        click.echo(f"models folder: {printable(str(models_folder()))}")


def _facts(name: str) -> dict[str, Any]:
    """What is known of a model, from the table and from the record of its pull."""
    known = PUBLISHED.get(name)
    facts: dict[str, Any] = {"name": name, "is_here": False, "about": "pulled from its address"}
    if known is not None:
        facts |= {
            key: getattr(known, key) for key in ("about", "contract", "doi", "licence", "url", "sha256")
        }
        facts["bytes"] = known.nbytes
    folder = pulled_folder(name)
    if folder is not None:
        from legscore.model.checkpoint import load_checkpoint

        record = record_of_pull(folder)
        facts |= {key: record.get(key) for key in ("doi", "licence", "url", "sha256", "bytes", "pulled")}
        facts["contract"] = load_checkpoint(folder / f"{name}.safetensors").contract.describe()
        facts |= {"is_here": True, "folder": str(folder)}
    return facts


@command.command("pull", cls=SectionedCommand, sections=SECTIONS)
@click.argument("wanted", metavar="NAME|URL")
@click.option(
    "--as",
    "keep_as",
    metavar="NAME",
    show_default="NAME, or the file's own",
    help="Keep it under this name.",
)
@click.option(
    "--from",
    "source",
    metavar="PATH|URL",
    help="Take the file from a mirror or from this machine: the file itself, or a folder (a URL that ends in "
    "/) that holds it under its own name.",
)
@click.option("--sha256", metavar="HEX", help="SHA-256 that the file must have.")
@import_options
@force_option
@quiet_option
def pull_model(
    wanted: str,
    keep_as: str | None,
    source: str | None,
    sha256: str | None,
    force: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Download a model, check it, import it and keep it under its name.

    An interrupted download resumes where it was cut. The SHA-256 is checked where it is known or given, and
    always printed and recorded.

    \b
    Example:
      legscore models pull legnet-complex
    """
    from legscore.model.import_files import import_answers
    from legscore.model.pull import PullOptions, pull

    bar = ProgressBar(quiet)

    def say(line: str) -> None:
        if not quiet:
            bar.close()
            click.echo(printable(line), err=True)

    try:
        given = {name: value for name, value in given.items() if value is not None}
        answers = import_answers(given.pop("pool_sizes", None), given)
        answers = {name: value for name, value in answers.items() if value not in (None, {})}
        options = PullOptions(wanted, keep_as, source, sha256, answers, force)
        pulled = pull(
            options, say, lambda total, done: bar.start("download", total, "B", done=done, scaled=True)
        )
    finally:
        bar.close()
    if quiet:
        return
    checked = "as expected" if pulled.is_checked else "which was not known before and is now recorded"
    if pulled.is_new:
        click.echo(f"{pulled.name}: pulled, {pulled.nbytes:,} bytes, SHA-256 {pulled.sha256}, {checked}")
    else:
        click.echo(f"{pulled.name} is there already, SHA-256 {pulled.sha256}")
    click.echo(f"  contract: {printable(pulled.checkpoint.contract.describe())}")
    click.echo(printable(f"  in {models_folder() / pulled.name}; use it with -m {pulled.name}"))
