"""Records in JSON: in what two of them differ."""

from __future__ import annotations

import json
from typing import Any


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
    return "" if before == now else f"{where} {words[0]} {_short(before)}, {words[1]} {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
