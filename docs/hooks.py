"""Pages of the site that docs/ does not hold: README's neighbours as they are, and every command's help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files

from legscore.cli import cli

WIDTH = 80
"""Columns of a help text: what fits a page."""
ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "RELIABILITY.md": "reliability.md",
    "SECURITY.md": "security.md",
    "DEVELOPMENT.md": "development.md",
    "CHANGELOG.md": "changelog.md",
    "bench/README.md": "benchmarks.md",
}
"""File of the repository → page of the site."""


def command_help() -> str:
    """Every command with the help that it prints."""
    lines = ["# Command reference", "", "What `legscore COMMAND --help` prints."]

    def show(command: click.Command, context: click.Context, depth: int) -> None:
        lines.extend(
            ["", f"{'#' * depth} {context.command_path}", "", "```", command.get_help(context), "```"]
        )
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                if inner is not None and not inner.hidden:
                    show(
                        inner,
                        click.Context(inner, context, name, max_content_width=WIDTH, terminal_width=WIDTH),
                        2,
                    )

    show(cli, click.Context(cli, info_name="legscore", max_content_width=WIDTH, terminal_width=WIDTH), 2)
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages, and the pictures that they show."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, "commands.md", content=command_help()))
    for picture in (ROOT / "bench/results").glob("*.png"):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files that are pages here lead to those pages."""

    def moved(match: re.Match[str]) -> str:
        path, heading = match[1].removeprefix("../").removeprefix("docs/"), match[2] or ""
        return f"]({PAGES.get(path, path)}{heading})"

    return re.sub(r"\]\(((?:\.\./|docs/)?[\w./-]+\.md)(#[\w-]+)?\)", moved, markdown)
