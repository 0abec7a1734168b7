"""Help in sections: options by what they are about, one style of defaults, an example for each section.

A command lists its sections, each with the names of its parameters; options in none of them come last. The
text is click's, plain on terminals and in pipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from legscore.errors import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

FORMER = {
    "--regions": "--tiles",
    "--models": "--model",
    "--tile": "--tile-column",
}
"""Names that options had → what they are called now. They work, and are not shown."""
METAVARS = {"INTEGER RANGE": "N", "INTEGER": "N", "FLOAT RANGE": "X", "FLOAT": "X"}
"""What click calls the value of an option → what the help calls it."""
WIDEST = 28
"""Columns of option names; a longer one has its text below it."""


class Section(NamedTuple):
    """A heading of a command's help.

    Attributes:
        title: the heading.
        names: parameters below it, by their Python names, with spaces between.
        examples: command lines that show them.
    """

    title: str
    names: str
    examples: tuple[str, ...] = ()


class SectionedCommand(click.Command):
    """A command whose help is in sections; without any, all options stand below one heading."""

    def __init__(self, *given: Any, sections: Sequence[Section] = (), **named: Any) -> None:
        super().__init__(*given, **named)
        self.sections = tuple(sections)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section: a line or more for every option, and its examples."""
        options = {
            "help" if "--help" in p.opts else str(p.name): p
            for p in self.get_params(ctx)
            if isinstance(p, click.Option) and not p.hidden
        }
        for section in self.sections:
            records = [described(options.pop(n), ctx) for n in section.names.split() if n in options]
            if not records and not section.examples:
                continue
            with formatter.section(section.title):
                if records:
                    formatter.write_dl(records, col_max=WIDEST)
                _write_examples(formatter, section.examples, bool(records))
        if options:
            with formatter.section("Other options" if self.sections else "Options"):
                formatter.write_dl([described(p, ctx) for p in options.values()], col_max=WIDEST)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may stand here; names that options had are left out."""
        return [item for item in super().shell_complete(ctx, incomplete) if item.value not in FORMER]


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str], after_options: bool) -> None:
    """Command lines as they are typed, never wrapped."""
    if not examples:
        return
    indent = " " * formatter.current_indent
    if after_options:
        formatter.write_paragraph()
    formatter.write(f"{indent}{'Example' if len(examples) == 1 else 'Examples'}:\n")
    for example in examples:
        for line in example.split("\n"):
            formatter.write(f"{indent}  {line}\n")


def described(option: click.Option, ctx: click.Context) -> tuple[str, str]:
    """Names of an option with what it takes; what it does, and its default in one style."""
    found = option.get_help_record(ctx)
    names = found[0] if found else ""
    for former in FORMER:
        names = names.replace(f", {former} ", " ")
    for given, shown in METAVARS.items():
        names = names.replace(given, shown)
    text = (option.help or "").rstrip()
    if option.required:
        note = "required"
    elif isinstance(option.show_default, str):
        note = f"default: {option.show_default}"
    elif option.show_default and option.default is not None:
        note = f"default: {option.default}"
    else:
        note = ""
    return names, f"{text}  [{note}]".strip() if note else text


def option_names(command: click.Command) -> list[str]:
    """Every name that an option of a command may be given by, but those it had."""
    return [
        name
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name not in FORMER
    ]


MOVED = {"--fasta": "--fasta-out"}
"""Names that mean something else in other commands → what a command without them calls it."""


def suggested(command: click.Command, name: str) -> str:
    """The option of a command that may have been meant, as ` (did you mean "--tiles"?)`, or nothing."""
    known = option_names(command)
    if MOVED.get(name) in known:
        return f' (did you mean "{MOVED[name]}"?)'
    return nearest(name, [word for word in known if word.startswith("--") == name.startswith("--")])
