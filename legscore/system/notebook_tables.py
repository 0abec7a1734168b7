"""Tables as notebooks show them: HTML, in which no text can be markup."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 10
"""Rows of a table that are shown: the first half of them, and the last."""


def facts_as_html(caption: str, facts: Mapping[str, str]) -> str:
    """One line for each fact, under a caption."""
    cells = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in facts.items()
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{cells}</tbody></table>"


def rows_as_html(caption: str, table: pa.Table) -> str:
    """The first and last rows, numbers with four decimals, under a line that says what they are."""
    half = SHOWN_ROWS // 2
    many = table.num_rows > SHOWN_ROWS
    rows = table.slice(0, half if many else None).to_pylist()
    if many:
        rows += [{}, *table.slice(table.num_rows - half).to_pylist()]
    head = "".join(f"<th>{escape(name)}</th>" for name in table.column_names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row, name)}</td>" for name in table.column_names) + "</tr>"
        for row in rows
    )
    return f"<p>{escape(caption)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(row: dict[str, Any], name: str) -> str:
    if not row:
        return "⋮"
    value = row[name]
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else escape(str(value))
