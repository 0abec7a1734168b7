"""Motifs in MEME's text format, versions 4 and 5: names, background, matrices of probabilities.

The minimal format is read, and MEME's own text output. Lines that say nothing of this (URL, comments,
log-odds matrices) are passed over. What is read has to fit: every motif has one matrix, with a row of four
probabilities for each position.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote

import numpy as np

from legscore.errors import InputError
from legscore.system.small_files import read_small

LETTERS = "ACGT"
"""Order of the columns of a matrix."""
VERSIONS = ("4", "5")
SITES = 20.0
"""Sites of a motif that does not say how many it was made of: MEME's own default."""
WIDEST = 100
SUM_IS_ONE = 0.01
"""How far probabilities, which are printed rounded, may sum from 1; they are divided by their sum."""
_SEPARATES = re.compile(r"[\s%|;]")
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Motif:
    """A motif.

    Attributes:
        name, alias: its identifier, unique in a file, and its alternate name ("" for none).
        probability_WB: float64 [width, 4], bases A, C, G, T; rows sum to 1.
        sites: sites that it was made of.
    """

    name: str
    alias: str
    probability_WB: np.ndarray
    sites: float

    def __len__(self) -> int:
        return len(self.probability_WB)

    @property
    def title(self) -> str:
        """Identifier, and the alternate name in parentheses."""
        return f"{self.name}({self.alias})" if self.alias else self.name

    @property
    def written(self) -> str:
        """The title without what separates fields and hits: those letters are written as %7C is in
        addresses."""
        return _SEPARATES.sub(lambda found: quote(found[0]), self.title)


@dataclass(frozen=True)
class MotifFile:
    """Motifs in the order of their file, and its background: float64 [4], A, C, G, T; None where it has
    none."""

    motifs: tuple[Motif, ...]
    background_B: np.ndarray | None


def read_meme(path: str) -> MotifFile:
    """The motifs of a file. InputError where it is no MEME file of DNA motifs; it names file and line."""
    try:
        text = read_small(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no MEME file: it is not UTF-8 text ({error.reason})") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return parse_meme(text, path)


def parse_meme(text: str, where: str) -> MotifFile:
    """The motifs of a text. `where` names it in messages. InputError as of `read_meme`."""
    if not text.strip():
        raise InputError(f"{where} is empty")
    return _Parser(text.splitlines(), where).parse()


class _Parser:
    """Goes through the lines once. `at` is the line that is read next, from 0."""

    def __init__(self, lines: list[str], where: str) -> None:
        self._lines, self._where, self._at = lines, where, 0
        self._names: dict[str, int] = {}
        self._motifs: list[Motif] = []
        self._open: tuple[str, str] | None = None  # a motif whose matrix has not come yet
        self._background_B: np.ndarray | None = None

    def parse(self) -> MotifFile:
        version = next(
            (found for line in self._lines if (found := re.match(r"MEME version\s+(\S+)", line))), None
        )
        if version is None:
            raise InputError(f"{self._where} is no MEME file: it has no line 'MEME version 4' or 5")
        if version[1].split(".")[0] not in VERSIONS:
            raise InputError(f"{self._where} is of MEME version {version[1]}; versions 4 and 5 are read")
        while self._at < len(self._lines):
            line = self._lines[self._at].strip()
            self._at += 1
            if re.match(r"ALPHABET\s*=", line):
                self._check_alphabet(line.partition("=")[2].split())
            elif re.match(r"ALPHABET\b", line):
                self._check_alphabet(self._core_letters())
            elif line.startswith("Background letter frequencies"):
                self._background_B = self._read_background()
            elif re.match(r"MOTIF\b", line):
                self._begin(line.split()[1:])
            elif line.startswith("letter-probability matrix"):
                self._read_matrix(line)
        self._check_matrix_came()
        if not self._motifs:
            raise InputError(f"{self._where} holds no motif")
        return MotifFile(tuple(self._motifs), self._background_B)

    def _refuse(self, what: str) -> NoReturn:
        """InputError about the line that was read last."""
        raise InputError(f"{self._where}, line {self._at}: {what}")

    def _check_alphabet(self, letters: list[str]) -> None:
        found = "".join(letters).upper()
        if sorted(found) != sorted(LETTERS):
            more = "; write T for U" if sorted(found) == sorted("ACGU") else ""
            self._refuse(f"the alphabet is {found or 'empty'}; motifs must be of DNA (ACGT){more}")

    def _core_letters(self) -> list[str]:
        """Letters that an alphabet block defines, without those that stand for several."""
        letters: list[str] = []
        while True:
            if self._at == len(self._lines):
                self._refuse("the alphabet has no line END ALPHABET")
            line = _QUOTED.sub(" ", self._lines[self._at]).strip()
            self._at += 1
            if re.match(r"END ALPHABET\b", line):
                return letters
            if line and "=" not in line and not line.startswith("#"):
                letters += [words[0] for part in line.split("~") if (words := part.split())]

    def _read_background(self) -> np.ndarray:
        words: list[str] = []
        while self._at < len(self._lines) and len(words) < 2 * len(LETTERS):
            line = self._lines[self._at].split()
            if not line:
                break
            words += line
            self._at += 1
        values = dict(zip(words[::2], map(_number, words[1::2]), strict=False))
        if len(words) != 2 * len(LETTERS) or sorted(values) != sorted(LETTERS):
            self._refuse(
                f"the background reads '{' '.join(words)}'; it must have a frequency for A, C, G and T"
            )
        frequency_B = np.array([values[letter] for letter in LETTERS])
        if not (frequency_B > 0).all() or abs(frequency_B.sum() - 1) > SUM_IS_ONE:
            self._refuse(f"the background reads '{' '.join(words)}'; frequencies are above 0 and sum to 1")
        return np.asarray(frequency_B / frequency_B.sum())

    def _begin(self, words: list[str]) -> None:
        self._check_matrix_came()
        if not words:
            self._refuse("MOTIF has no name")
        name, alias = words[0], words[1] if len(words) > 1 and words[1] != "width" else ""
        if name in self._names:
            self._refuse(f"motif {name} is there already, in line {self._names[name]}; names must differ")
        self._names[name], self._open = self._at, (name, alias)

    def _check_matrix_came(self) -> None:
        if self._open is not None:
            name = self._open[0]
            raise InputError(
                f"{self._where}, line {self._names[name]}: motif {name} has no letter-probability matrix"
            )

    def _read_matrix(self, header: str) -> None:
        if self._open is None:
            self._refuse("a matrix without a line MOTIF of its own before it")
        name, alias = self._open
        said = dict(re.findall(r"(\w+)\s*=\s*(\S+)", header))
        if said.get("alength", "4") != "4":
            self._refuse(f"motif {name}: alength is {said['alength']}; a position of DNA has 4 probabilities")
        width = _number(said["w"]) if "w" in said else None
        sites = _number(said.get("nsites", str(SITES)))
        if not 0 < sites < math.inf:
            self._refuse(f"motif {name}: nsites is {said['nsites']}; it must be a number above 0")
        rows = self._rows(name)
        if width is not None and width != len(rows):
            self._refuse(f"motif {name} has {len(rows)} positions, and its header says w= {said['w']}")
        if not 1 <= len(rows) <= WIDEST:
            self._refuse(f"motif {name} has {len(rows)} positions; 1 to {WIDEST} are taken")
        matrix_WB = np.array(rows)
        self._motifs.append(Motif(name, alias, matrix_WB / matrix_WB.sum(axis=1, keepdims=True), sites))
        self._open = None

    def _rows(self, name: str) -> list[list[float]]:
        """The rows of numbers that come next."""
        rows: list[list[float]] = []
        while self._at < len(self._lines):
            words = self._lines[self._at].split()
            if not words and not rows:  # between header and matrix
                self._at += 1
                continue
            if not words or not re.match(r"[-+.]?[.\d]", words[0]):
                break
            self._at += 1
            values = [_number(word) for word in words]
            if len(values) != len(LETTERS):
                self._refuse(f"motif {name}: {len(values)} numbers; a position has 4, for A, C, G and T")
            if not all(0 <= value <= 1 for value in values) or abs(sum(values) - 1) > SUM_IS_ONE:
                self._refuse(
                    f"motif {name}: '{' '.join(words)}' are no probabilities (0 to 1, which sum to 1)"
                )
            rows.append(values)
        return rows


def _number(word: str) -> float:
    """A number as written; NaN for anything else."""
    try:
        return float(word)
    except ValueError:
        return math.nan
