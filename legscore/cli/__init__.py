"""The command line. Commands are imported only when they run, so that `legscore --help` stays under 0.3 s.

Errors a user can act on (`LegscoreError`) become one line and exit code 2, here and nowhere else.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from legscore.cli.effects import refuse_empty_values
from legscore.cli.sections import FORMER, suggested
from legscore.cli.terminal import guard_streams
from legscore.errors import LegscoreError, nearest, printable
from legscore.system.allocator import use_system_pool
from legscore.system.extras import naming_extras
from legscore.system.interrupts import end_on_signals, interrupts_first
from legscore.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "run": ("legscore.cli.run", "Score sequences or variants with an ensemble."),
    "merge": ("legscore.cli.merge", "Join the shards of a run into one output."),
    "variants": ("legscore.cli.variants", "Build the variants that run scores, from a genome."),
    "atlas": ("legscore.cli.atlas", "Score every small change of promoters once, to look them up."),
    "lookup": ("legscore.cli.lookup", "Find the scores of variants in an atlas."),
    "compile": (
        "legscore.cli.compile_plans",
        "Build the TensorRT plans of an ensemble for this machine's GPUs.",
    ),
    "models": ("legscore.cli.models", "List published models, and pull them by name or address."),
    "import": ("legscore.cli.import_model", "Convert published PyTorch checkpoints."),
    "export": ("legscore.cli.export_model", "Write a generator as the published code's PyTorch file."),
    "train": ("legscore.cli.train", "Train LegNets on measured sequences."),
    "distill": ("legscore.cli.distill", "Teach one small network the scores of an ensemble."),
    "ablate": ("legscore.cli.ablate", "Train variants of a recipe and compare them."),
    "evaluate": ("legscore.cli.evaluate", "Compare predictions with measurements."),
    "report": ("legscore.cli.report", "Write a page that shows scores in the browser."),
    "attribute": (
        "legscore.cli.attribute",
        "Turn scores of every change into what each base contributes.",
    ),
    "motifs": ("legscore.cli.motifs", "Name the motifs that variants make or break."),
    "plot": ("legscore.cli.plot", "Draw figures: a promoter, a scatter, violins, a training."),
    "design": ("legscore.cli.design", "Design sequences with a wanted score."),
    "doctor": (
        "legscore.cli.doctor",
        "Say what this machine scores with, why, and what to install for more.",
    ),
    "bench": (
        "legscore.cli.bench",
        "Measure this machine: engine, limits, runs, and how long INPUT will take.",
    ),
    "cache": ("legscore.cli.cache", "List or clear what is kept between runs."),
    "show": ("legscore.cli.show", "Print what checkpoints hold: contract, architecture, training."),
    "completion": ("legscore.cli.completion", "Print what makes a shell complete legscore's words."),
}
"""Command → module and short help (a test compares it with the command's own)."""


SYNONYMS = {"score": "run", "predict": "run", "convert": "import", "validate": "evaluate", "info": "show"}
"""Names that people try → the command that does it."""


class LazyGroup(click.Group):
    """Knows the names and one-line helps of its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        if name in ("run", "merge", "bench", "atlas", "lookup", "motifs"):
            use_system_pool()
        command: click.Command = importlib.import_module(COMMANDS[name][0]).command
        refuse_empty_values(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or a UsageError with the nearest name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            meant = SYNONYMS.get(name.lower())
            near = f' (did you mean "{meant}"?)' if meant else nearest(name.lower(), COMMANDS)
            raise click.UsageError(f'there is no command "{name}"{near}', ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, none of which is imported."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

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


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, "-V", "--version", prog_name="legscore")
def cli() -> None:
    """Score DNA variants with LegNet ensembles.

    \b
    legscore run variants.parquet -m models/ -o scores.parquet
    """
    from legscore.system.cores import allowed_cores, threads_and_why, use_threads

    threads, why = threads_and_why()
    if threads < allowed_cores():
        use_threads(threads, why)  # before libraries are loaded that count cores themselves


def main() -> None:
    """Entry point: errors become one line on stderr and an exit code; SIGTERM and SIGHUP end a run as Ctrl-C
    does, unless they are ignored (nohup)."""
    guard_streams()
    end_on_signals()
    try:
        with interrupts_first(), naming_extras():
            cli.main(prog_name="legscore", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except LegscoreError as error:
        _fail(str(error), error.exit_code)
    except click.UsageError as error:
        _usage(error)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; no output file was written", 130)
    except (BrokenPipeError, ReaderLeftError):
        # end quietly, with a shell's exit code for SIGPIPE, and keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except MemoryError:
        _fail("out of memory; leave long columns out with --keep, or give more with --memory", 2)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _fail(str(error), 2)


def _usage(error: click.UsageError) -> NoReturn:
    """What is wrong with the words of a command, and what was meant; the help where nothing was said."""
    context = error.ctx
    if context is None or type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(2)
    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name}{suggested(context.command, error.option_name)}"
    for former in FORMER:
        message = message.replace(f" / '{former}'", "")
    where = context.command_path.partition(" ")[2]
    _fail(f"{where}: {message.rstrip('.')}; see {context.command_path} --help".lstrip(": "), 2)


def _fail(message: str, code: int) -> NoReturn:
    """One line, whatever names of files or columns it holds."""
    click.echo(f"legscore: {printable(message)}", err=True)
    sys.exit(code)
