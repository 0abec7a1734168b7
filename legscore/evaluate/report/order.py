"""Chromosomes in the order that people expect: 2 before 10, IV before IX, others last by name."""

from __future__ import annotations

import re
from collections.abc import Iterable

ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50}


def in_order(names: Iterable[str]) -> list[str]:
    """Sorted by number; Roman ones count as numbers only where no name has an Arabic one (X of human is not
    yeast's tenth)."""
    listed = list(names)
    short = {name: re.sub(r"^chr(omosome)?", "", name, flags=re.IGNORECASE).upper() for name in listed}
    arabic = any(_is_number(text) for text in short.values())

    def key(name: str) -> tuple[int, int, str]:
        text = short[name]
        number = int(text) if _is_number(text) else 0 if arabic else _roman(text)
        return (0, number, name) if number else (1, 0, name)

    return sorted(listed, key=key)


def _is_number(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def _roman(text: str) -> int:
    """Value of a Roman number up to 89; 0 for any other text."""
    if not re.fullmatch(r"(XL|L?X{0,3})(IX|IV|V?I{0,3})", text):
        return 0
    values = [ROMAN[letter] for letter in text]
    return sum(-v if v < after else v for v, after in zip(values, [*values[1:], 0], strict=True))
