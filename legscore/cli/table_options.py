"""Options about columns, rows and motifs, of every command that takes them; --where COLUMN=VALUE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from legscore.cli.numbers import Finite
from legscore.errors import InputError
from legscore.rows.schema import SEQUENCE_IS

tile_column_option = click.option(
    "--tile-column",
    "--tile",
    "tile",
    metavar="COLUMN",
    show_default="tile_id, promoter, gene, gene_id or id",
    help="Column that names the promoters.",
)
key_option = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="COLUMN",
    help="Column that joins several files; repeat where rows need several.",
)
where_option = click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only rows with this value; repeat for more."
)
sequence_is_option = click.option(
    "--sequence-is",
    type=click.Choice([*SEQUENCE_IS, "auto"]),
    default="auto",
    show_default="auto, by the first rows",
    help="Whether sequences are inserts, oligos (an insert with both adapters), or all that the model reads.",
)
column_option = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Which column plays a role, such as sequence=dna; repeat for more.",
)
keep_option = click.option(
    "--keep",
    default="auto",
    show_default="auto, all but the sequences",
    metavar="COLS",
    help="Input columns to carry over: names with commas, all, or none.",
)
motif_p_option = click.option(
    "--motif-p",
    "most_p",
    type=Finite(0, 1, min_open=True, max_open=True),
    default=1e-4,
    show_default=True,
    metavar="P",
    help="Largest p-value of a motif's hit.",
)


def meme_option(*, required: bool, help: str) -> Any:
    """--meme: a file of motifs."""
    return click.option("--meme", required=required, type=click.Path(), metavar="FILE", help=help)


def conditions(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each `COLUMN=VALUE` as a pair. InputError for anything else."""
    found = []
    for text in texts:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise InputError(f"--where {text}: write COLUMN=VALUE, such as medium=complex")
        found.append((column, value))
    return tuple(found)
