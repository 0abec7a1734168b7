"""Read prediction files, join them on a key and filter them; every row that is left out is counted.

Files are Parquet, Arrow, CSV or TSV. With several, rows are joined on key columns that are unique in each
file; a column that stands in more than one is named `FILE:column`, FILE without its folder and extension.
Rows are those of the first file.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from legscore.errors import InputError, listed, nearest, shorten
from legscore.evaluate.provenance import run_metadata
from legscore.input.arrow_stream import as_table, table_input
from legscore.input.read import Input, open_input
from legscore.input.whole_table import is_plain, read_columns
from legscore.rows.schema import STATUSES
from legscore.system.overwrite import named_twice

NO_PARTNER = "no partner in {}"


@dataclass
class Table:
    """One input: a name for messages, and what it holds."""

    name: str
    stem: str
    path: str
    opened: Input

    @property
    def columns(self) -> list[str]:
        return list(self.opened.schema.names)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Some columns, all rows; dictionaries as their values. InputError for damage, and text that is not
        UTF-8."""
        return read_columns(self.opened, columns)

    def metadata(self) -> dict[str, Any] | None:
        """What `legscore run` wrote into the file, or beside it; None where it wrote nothing."""
        return run_metadata(self.opened)


@dataclass
class Selection:
    """Rows to evaluate.

    Attributes:
        frame: the columns asked for, under the names they were asked by, with `#row` (from 0, of the first
            file).
        rows: rows of the first file. dropped: reason → rows left out of them.
        notes: what else a reader should know.
    """

    frame: pl.DataFrame
    rows: int
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def drop(self, keep: pl.Series, reason: str) -> None:
        """Leave out rows that `keep` (boolean) does not keep."""
        gone = len(keep) - int(keep.sum())
        if gone:
            self.dropped[reason] += gone
            self.frame = self.frame.filter(keep)

    def summary(self) -> str:
        """`3,703 of 3,788 rows; dropped: 85 truth missing`."""
        what = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        return f"{len(self.frame):,} of {self.rows:,} rows" + (f"; dropped: {what}" if what else "")

    def require_rows(self, hint: str = "") -> None:
        if not len(self.frame):
            what = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
            of = f"of {self.rows:,}, {what}" if self.rows else "there are none"
            raise InputError(f"no rows are left to evaluate: {of}{hint}")


class TableInMemory(str):
    """A table where a path may stand: its name, for messages and for columns that two tables have."""

    data: Any

    @classmethod
    def named(cls, name: str, data: Any) -> TableInMemory:
        """InputError for what is no table."""
        found = as_table(data)
        if isinstance(found, pa.RecordBatchReader):  # looked at more than once
            found = found.read_all()
        table = cls(name)
        table.data = table_input(data if found is None else found, name)
        return table

    def __deepcopy__(self, memo: dict[int, Any]) -> str:
        return str(self)


class Tables:
    """Open prediction files, or tables in memory, and find columns in them by name."""

    def __init__(self, paths: Sequence[str], keys: Sequence[str] = ()) -> None:
        self.keys = list(keys)
        self.all: list[Table] = []
        if twice := named_twice(path for path in paths if not isinstance(path, TableInMemory)):
            raise InputError(f"{twice} is named twice: it would be compared with itself; name it once")
        for path in paths:
            opened = path.data if isinstance(path, TableInMemory) else open_input([path])
            name = Path(path).name or path
            stem = name.split(".")[0]
            if any(stem == table.stem for table in self.all):
                raise InputError(
                    f"two files are called {stem}; columns are told apart by that name, so rename one"
                )
            self.all.append(Table(name, stem, path, opened))
        if len(self.all) > 1 and not self.keys:
            shared = [c for c in self.all[0].columns if all(c in t.columns for t in self.all)]
            raise InputError(
                f"{len(self.all)} files are joined on a key: give --key; columns in all of them: "
                f"{shorten(shared)}"
            )
        for key in self.keys:
            for table in self.all:
                if key not in table.columns:
                    raise InputError(
                        f"--key {key}: {table.name} has no such column{nearest(key, table.columns)}; "
                        f"it has {listed(key, table.columns)}"
                    )
                kind = table.opened.schema.field(key).type
                if not is_plain(kind):
                    raise InputError(
                        f"--key {key}: {table.name} holds {kind} there; keys are text or numbers"
                    )

    def find(self, name: str, option: str) -> tuple[Table, str]:
        """The file and the column that a name stands for; InputError with the nearest names."""
        having = [table for table in self.all if name in table.columns]
        if len(having) > 1 and name in self.keys:
            return having[0], name
        if len(having) > 1:
            names = ", ".join(f"{table.stem}:{name}" for table in having)
            raise InputError(f"{option} {name}: {len(having)} files have this column; write {names}")
        if having:
            return having[0], name
        stem, colon, column = name.partition(":")
        for table in self.all:
            if colon and table.stem == stem and column in table.columns:
                return table, column
        known = [c for table in self.all for c in table.columns]
        where = self.all[0].name if len(self.all) == 1 else f"none of {shorten([t.name for t in self.all])}"
        no = f"{where} has no such column" if len(self.all) == 1 else f"{where} has such a column"
        raise InputError(
            f"{option} {name}: {no}{nearest(column or name, known)}; "
            f"there are {listed(column or name, known)}"
        )

    def default_prediction(self) -> str:
        """The column that is evaluated where none is named. InputError where there is none."""
        found = next((name for name in ("effect", "score") if self.has(name)), None)
        if found is None:
            raise InputError(
                f"{self.all[0].name} has neither effect nor score; name the predictions with --prediction: "
                f"it has {listed('score', self.all[0].columns)}"
            )
        return found

    def has(self, name: str) -> bool:
        return any(name in table.columns for table in self.all) or (
            ":" in name and any(f"{table.stem}:{c}" == name for table in self.all for c in table.columns)
        )

    def select(
        self, names: dict[str, str], where: Sequence[tuple[str, str]] = (), lists: Sequence[str] = ()
    ) -> Selection:
        """Read columns and join them.

        Args:
            names: column name → the option that asked for it (for messages).
            where: (column, value) that rows must have, compared as numbers in columns of numbers, else as
                text.
            lists: names among them that hold a list of numbers per row; all others hold one value.

        Returns:
            Selection whose frame has these columns as read (numbers not yet checked).
        """
        found = {name: self.find(name, option) for name, option in names.items()}
        found |= {column: self.find(column, "--where") for column, _ in where}
        for name, (table, column) in found.items():
            kind = table.opened.schema.field(column).type
            if not (_is_list(kind) if name in lists else is_plain(kind)):
                wanted = (
                    "lists of numbers, as legscore run --per-model writes them"
                    if name in lists
                    else "text or numbers"
                )
                raise InputError(
                    f"{names.get(name, '--where')} {name}: the column holds {kind}; it must hold {wanted}"
                )
        first = self.all[0]
        frame = None
        dropped: Counter[str] = Counter()
        notes = [note for table in self.all for note in table.opened.notes]
        for table in self.all:
            mine = {name: column for name, (t, column) in found.items() if t is table}
            status = ["status"] if _legscore_status(table) else []
            part = self._read(table, mine, status)
            if table is not first and not mine:
                raise InputError(f"{table.name}: no option names a column of it; leave it out")
            if frame is None:
                frame, n_rows = part, len(part)
                continue
            keys = [f"#key {key}" for key in self.keys]
            for key in keys:
                if frame.schema[key] != part.schema[key]:
                    frame, part = (f.with_columns(pl.col(key).cast(pl.String)) for f in (frame, part))
            partners = part.with_columns(pl.lit(True).alias("#partner"))
            lone = len(part.join(frame, on=keys, how="anti"))
            if lone:
                notes.append(f"{table.name}: {lone:,} of {len(part):,} rows match none of {first.name}")
            frame = frame.join(partners, on=keys, how="left").sort("#row")
            selection = Selection(frame, n_rows, dropped, notes)
            selection.drop(frame["#partner"].fill_null(False), NO_PARTNER.format(table.name))
            frame = selection.frame.drop("#partner")
        assert frame is not None
        selection = Selection(frame, n_rows, dropped, notes)
        for column, value in where:
            values = selection.frame[column]
            selection.drop(_equal(values, value), f"{column} is not {value}")
            selection.require_rows(
                f"; {column} holds {shorten(values.unique(maintain_order=True).drop_nulls().to_list())}"
            )
        for table in self.all:
            if (name := f"#status {table.stem}") in selection.frame.columns:
                counts = selection.frame[name].fill_null("null").value_counts(sort=True)
                for status, _ in counts.iter_rows():
                    if status != "ok":
                        selection.drop(selection.frame[name].fill_null("null") != status, f"status {status}")
        selection.require_rows()
        return selection

    def _read(self, table: Table, mine: dict[str, str], status: list[str]) -> pl.DataFrame:
        read = table.read(list(dict.fromkeys([*mine.values(), *self.keys, *status])))
        plain = {}
        for column in read.column_names:
            values = read.column(column)
            plain[column] = pl.from_arrow(pa.table({column: values})).to_series()  # type: ignore[union-attr]
        frame = pl.DataFrame({name: plain[column] for name, column in mine.items()})
        if table is self.all[0]:
            frame = pl.DataFrame({"#row": np.arange(read.num_rows)}).hstack(frame)
        for key in self.keys if len(self.all) > 1 else ():
            frame = frame.with_columns(plain[key].alias(f"#key {key}"))
        if len(self.all) > 1:
            keys = [f"#key {key}" for key in self.keys]
            twice = frame.filter(
                pl.struct(keys).is_duplicated() & pl.all_horizontal(pl.col(keys).is_not_null())
            )
            if len(twice):
                shown = ", ".join(str(value) for value in twice.select(keys).row(0))
                many = twice.select(keys).n_unique()
                raise InputError(
                    f"{table.name}: the key {shown!r} ({', '.join(self.keys)}) stands in more than one row"
                    + (f", and so do {many - 1:,} others" if many > 1 else "")
                    + "; a join needs keys that stand once: add another --key or remove the copies"
                )
        for column in status:
            frame = frame.with_columns(plain[column].cast(pl.String).alias(f"#status {table.stem}"))
        return frame


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ) and pa.types.is_primitive(kind.value_type)


def _legscore_status(table: Table) -> bool:
    """Whether the file has a status column with legscore's words (any other status column is none of
    ours)."""
    if "status" not in table.columns:
        return False
    kind = table.opened.schema.field("status").type
    if not (pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return False
    values = table.read(["status"]).column("status")
    known = values.cast(pa.string()).unique().to_pylist()
    return set(known) <= {*STATUSES, None}


def _equal(values: pl.Series, value: str) -> pl.Series:
    """Rows that hold a value as --where writes it: 1 finds 1.0."""
    same = values.cast(pl.String) == value
    if values.dtype.is_numeric():
        with contextlib.suppress(ValueError):
            same |= values.cast(pl.Float64) == float(value)
    return same.fill_null(False)
