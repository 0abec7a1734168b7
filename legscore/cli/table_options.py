"""Options about columns and rows of tables, of every command that takes them; --where COLUMN=VALUE."""

from __future__ import annotations

from collections.abc import Sequence

import click

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


def conditions(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each `COLUMN=VALUE` as a pair. InputError for anything else."""
    found = []
    for text in texts:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise InputError(f"--where {text}: write COLUMN=VALUE, such as medium=complex")
        found.append((column, value))
    return tuple(found)
