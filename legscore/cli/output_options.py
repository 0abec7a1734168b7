"""What every command that writes has: --force."""

from __future__ import annotations

import click

force_option = click.option(
    "--force", is_flag=True, help="Replace the output where it is there already. [refused]"
)
