"""Columns as roles, with the oddest values that their types allow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import yeast_contract

from legscore.errors import InputError
from legscore.input.read import open_input
from legscore.input.roles import check_types, role_array
from legscore.rows.schema import STATUSES, find_roles
from legscore.rows.window import Windower, given_status


def test_offsets_at_the_ends_of_their_types(tmp_path: Path) -> None:
    """Missing values of other tools are often the least or the largest number: a status, and no traceback."""
    cases = {
        pa.int64(): [-(2**63), 2**63 - 1, -1, 4, 3],
        pa.uint64(): [2**64 - 1, 2**63, 2**63 - 1, 4, 3],
        pa.int8(): [-128, 127, -1, 4, 3],
        pa.dictionary(pa.int8(), pa.int64()): [-(2**63), 2**63 - 1, -1, 4, 3],
    }
    for kind, offsets in cases.items():
        values = pa.array(offsets, kind.value_type if pa.types.is_dictionary(kind) else kind)
        values = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values
        for bases in (pa.array(["A"] * 5), pa.array([b"\xff", b"A", b"\xc3\xa9", b"A", b"A"])):
            odd = pa.table({"sequence": ["CCCC"] * 5, "offset": values, "alt_base": bases})
            refill = pa.array(["none", "5A", None, "3", "none"])
            for t in (odd, odd.append_column("refill", refill.cast(pa.binary()))):
                pq.write_table(t, tmp_path / "t.parquet")
                opened = open_input([tmp_path / "t.parquet"])
                roles = find_roles(opened.schema.names, "t")
                check_types(opened, roles)
                part = next(opened.parts(opened.schema.names, 9))
                columns = {role: role_array(part, role, name) for role, name in roles.column_of.items()}
                found = Windower(yeast_contract(), roles.kind, "insert")(columns)
                assert [STATUSES[code] for code in found.status_N][1:2] == ["edge"]
                assert [STATUSES[code] for code in found.status_N][3:] == ["edge", "ok"]


def test_statuses_that_are_no_text_are_spelt_out(tmp_path: Path) -> None:
    for bad in (b"\xff\xfeAC", b"never heard of"):
        status = pa.array([b"ok", bad], pa.binary())
        table_ = pa.table({"sequence": ["AC"] * 2, "offset": [0, 1], "alt_base": ["G"] * 2, "status": status})
        pq.write_table(table_, tmp_path / "t.parquet")
        part = next(open_input([tmp_path / "t.parquet"]).parts(["status"], 9))
        with pytest.raises(InputError, match="column 'status' reads .*, which is no status of legscore"):
            given_status({"status": role_array(part, "status", "status")}, 2)
