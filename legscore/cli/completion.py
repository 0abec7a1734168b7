"""legscore completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from legscore.cli.sections import SectionedCommand
from legscore.errors import LegscoreError

SHELLS = ("bash", "zsh", "fish")


@click.command(
    "completion", cls=SectionedCommand, short_help="Print what makes a shell complete legscore's words."
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what makes a shell complete legscore's words: commands, options, their values, and files.

    Put one of these lines where your shell reads it at its start (~/.bashrc, ~/.zshrc, or
    ~/.config/fish/config.fish):

    \b
      eval "$(legscore completion bash)"
      eval "$(legscore completion zsh)"
      legscore completion fish | source
    """
    found = get_completion_class(shell)
    if found is None:
        raise LegscoreError(f"the installed click ({click.__version__}) does not complete for {shell}")
    try:
        text = found(
            click.get_current_context().find_root().command, {}, "legscore", "_LEGSCORE_COMPLETE"
        ).source()
    except RuntimeError as error:  # bash is older than 4.4
        raise LegscoreError(f"{shell}: {error}") from None
    click.echo(text)
