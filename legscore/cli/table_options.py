"""Options about columns of tables of scores, of every command that takes them; --where COLUMN=VALUE."""

from __future__ import annotations

from collections.abc import Sequence

import click

from legscore.errors import InputError

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


def conditions(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each `COLUMN=VALUE` as a pair. InputError for anything else."""
    found = []
    for text in texts:
        column, equals, value = text.partition("=")
        if not column or not equals:
            raise InputError(f"--where {text}: write COLUMN=VALUE, such as medium=complex")
        found.append((column, value))
    return tuple(found)
