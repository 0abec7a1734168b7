"""Options about what a command writes and says: --force, -q, -v."""

from __future__ import annotations

import click

force_option = click.option(
    "--force", is_flag=True, help="Replace an output that is there already, which is refused otherwise."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
