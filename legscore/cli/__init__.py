"""The command line. Commands are imported only when they run, so that `legscore --help` stays under 0.3 s.

Errors a user can act on (`LegscoreError`) become one line and exit code 2, here and nowhere else.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading

import click

from legscore import __version__
from legscore.errors import LegscoreError
from legscore.memory import use_system_pool

COMMANDS = {
    "run": ("legscore.cli.run", "Score sequences or variants with an ensemble."),
    "import": ("legscore.cli.import_model", "Convert a published PyTorch checkpoint."),
    "train": ("legscore.cli.train", "Train LegNets on measured sequences."),
    "show": ("legscore.cli.show", "Print what checkpoints hold: contract, architecture, training."),
}
"""Command → module and short help (a test compares it with the command's own)."""


class LazyGroup(click.Group):
    """Knows the names and one-line helps of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        if name == "run":
            use_system_pool()
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would turn it into exit code 1
            raise ReaderLeftError from error


class ReaderLeftError(Exception):
    """The reader of our standard output went away (head, less)."""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="legscore")
def cli() -> None:
    """Score DNA variants with LegNet ensembles.

    \b
    legscore run variants.parquet -m models/ -o scores.parquet
    """


def main() -> None:
    """Entry point: errors become one line on stderr and an exit code; SIGTERM and SIGHUP end a run as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), _end)
    try:
        cli.main(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except LegscoreError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; no output file was written", 130)
    except (BrokenPipeError, ReaderLeftError):
        # end quietly, with a shell's exit code for SIGPIPE, and keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _fail(str(error), 2)


def _fail(message: str, code: int) -> None:
    """One line, whatever names of files or columns it holds."""
    line = " ".join(message.splitlines()).encode("utf-8", "backslashreplace").decode()
    click.echo(f"legscore: {line}", err=True)
    sys.exit(code)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
