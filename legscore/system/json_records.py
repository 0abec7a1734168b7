"""Records in JSON: read without trusting them, told apart by a fingerprint, compared in words."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any

from legscore.system.small_files import parse_json

MOST_BYTES = 64 << 20
"""Of a record: that of a run over a hundred thousand files is smaller."""


SEAL = "record_crc32"


def parse_record(content: str | bytes) -> dict[str, Any]:
    """A JSON object that anybody may have written. ValueError: it is none, too long or too deep."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content):,} bytes; a record has at most {MOST_BYTES:,}")
    found = parse_json(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def sealed(record: Mapping[str, Any]) -> str:
    """The text of a record with a checksum of all that it says, for `is_sealed`."""
    return json.dumps({**record, SEAL: _seal_of(json.loads(json.dumps(record)))}, indent=1) + "\n"


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Whether a record that was read says what it said when it was written."""
    return record.get(SEAL) == _seal_of(record)


def _seal_of(record: Mapping[str, Any]) -> str:
    said = {name: value for name, value in record.items() if name != SEAL}
    return f"{zlib.crc32(json.dumps(said, sort_keys=True).encode()):08x}"


def fingerprint_of(record: Any) -> bytes:
    """32 bytes that stand for a record: equal for records that are equal, whatever the order of their
    keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).digest()


def difference(before: Any, now: Any, where: str = "", words: tuple[str, str] = ("was", "is now")) -> str:
    """The first thing in which two records differ, in words; empty when they agree."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before, 1)), dict(enumerate(now, 1))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in (*now, *(key for key in before if key not in now)):
            name = before[key].get("path", key) if isinstance(before.get(key), dict) else key
            place = f"{where} {name}".strip()
            if key not in before:
                return f"{place} is new"
            if key not in now:
                return f"{place} is gone"
            if found := difference(before[key], now[key], place, words):
                return found
        return ""
    # as they are written: in Python true equals 1, and 1 equals 1.0
    was, is_now = (json.dumps(value, default=repr) for value in (before, now))
    return "" if was == is_now else f"{where} {words[0]} {_short(was)}, {words[1]} {_short(is_now)}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
