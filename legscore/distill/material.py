"""Everything that the ensemble labels for one student: windows to train on, and rows to check it on.

What is checked shares no 20 bases in a row with what is trained on, on either strand, wherever it comes from.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from legscore.distill.check_rows import CheckRows, of_groups, of_rows, tiles_with_snvs
from legscore.distill.drawn_groups import draw_groups, drawn_inserts, kmers_apart, share_nothing
from legscore.distill.input_rows import InputRows, read_rows
from legscore.distill.options import DistillOptions
from legscore.distill.own_rows import groups_of, hold_out
from legscore.distill.sources import Source, open_sources
from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.read import open_input
from legscore.system.log import Say

MOST_CHECKED = 100_000
"""Rows of a --check table; of a larger one so many are drawn."""
MEASURED = 1_000
"""Rows of a --measured table that are kept from training, where --truth names what was measured."""
LEAST_MEASURED = 100
"""Of these; between them a fifth of the table's rows."""
TILES = "tiles"
KINDS = ("tiles", "genome", "measured", "random")
"""Sources that tiles are drawn from, the likest to what will be scored first: intervals are as right as these
are like it."""
CALLED = {"random": "random DNA", "measured": "--measured", "tiles": "--tiles", "genome": "--fasta"}
MUCH_LESS = 0.5
"""Of the groups that were asked for of a source; where it gives fewer, that is said."""


@dataclass(frozen=True)
class Material:
    """What is labelled.

    Attributes:
        train_GKL: uint8 codes [groups, 4, insert] to train on. own_GKL: likewise, of the user's rows.
        checks: first the held-out groups, then drawn tiles, the user's held-out rows, and --check tables.
    """

    train_GKL: np.ndarray
    own_GKL: np.ndarray
    checks: tuple[CheckRows, ...]

    @property
    def checked(self) -> np.ndarray:
        """Windows of all checks, one after the other."""
        return np.concatenate([check.inserts_NL for check in self.checks])

    @property
    def windows(self) -> np.ndarray:
        """Everything that is labelled: training, the user's rows, checks."""
        length = self.train_GKL.shape[-1]
        return np.concatenate(
            [self.train_GKL.reshape(-1, length), self.own_GKL.reshape(-1, length), self.checked]
        )

    def parted(self, values_MN: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values of `windows` as [members, groups, 4] of training and of the user's rows, and [members,
        windows] of checks."""
        train, own = (groups.shape[0] * groups.shape[1] for groups in (self.train_GKL, self.own_GKL))
        first, second, third = np.split(values_MN, [train, train + own], axis=1)
        members, windows = len(values_MN), self.train_GKL.shape[1]
        return first.reshape(members, -1, windows), second.reshape(members, -1, windows), third

    def by_check(self, values: np.ndarray) -> list[np.ndarray]:
        """Values [.., windows] of `checked`, for each check."""
        ends = np.cumsum([len(check.inserts_NL) for check in self.checks])[:-1]
        return np.split(values, ends, axis=-1)

    @property
    def sha256(self) -> str:
        """Of all windows and of what they are for."""
        shape = [self.train_GKL.shape, self.own_GKL.shape]
        digest = hashlib.sha256(str(shape).encode())
        digest.update(np.ascontiguousarray(self.windows))
        for check in self.checks:
            digest.update(f"{check.name} {len(check.inserts_NL)} {len(check.alt_E)}".encode())
            digest.update(np.ascontiguousarray(check.alt_E))
        return digest.hexdigest()


def gather(contract: Contract, insert: int, options: DistillOptions, say: Say) -> Material:
    """Read and draw everything that the ensemble will label.

    Raises:
        InputError: a table or genome that cannot be read, or too little that shares nothing with the checks.
    """
    sources = open_sources(
        contract, insert, options.tiles, options.fasta, options.measured, options.seed, say
    )
    own, own_check = _own(contract, insert, options, say)
    tables = [_check_table(path, contract, insert, options, MOST_CHECKED, say) for path in options.check]
    measured = [path for path in options.measured if _has(path, options.truth)]
    for path in measured:
        most = min(MEASURED, max(open_input([path]).n_rows // 5, LEAST_MEASURED))
        tables.append(_check_table(path, contract, insert, options, most, say))
    if options.truth is not None and all(table.measured_E is None for table in tables):
        raise InputError(f"--truth {options.truth}: no --check or --measured table has such a column")
    held_from, train_from = _parted(sources, options)
    tiles = _drawn_tiles(held_from, options)
    if (n_tiles := len(np.unique(tiles.tile_E))) < options.n_tiles:
        say(f"tiles: {n_tiles:,} to check on instead of {options.n_tiles:,}; the others are for training")
    checks = [tiles, *([own_check] if own_check else []), *tables]
    apart = [_apart_table(path, contract, insert, say) for path in options.apart]
    checked = [check.inserts_NL for check in checks]
    drawn = draw_groups(
        train_from, options.groups, options.held_out, options.seed, [*checked, *apart], held_from
    )
    _say_given(sources, drawn.given, say)
    held = of_groups("groups", drawn.inserts_GKL[: drawn.held_out])
    own_GKL = np.empty((0, *drawn.inserts_GKL.shape[1:]), np.uint8)
    if own is not None:
        own_GKL = _apart(
            groups_of(own, np.random.default_rng([options.seed, 53])), [held.inserts_NL, *checked], say
        )
    material = Material(drawn.inserts_GKL[drawn.held_out :], own_GKL, (held, *checks))
    _say_all(material, say)
    return material


def _own(
    contract: Contract, insert: int, options: DistillOptions, say: Say
) -> tuple[InputRows | None, CheckRows | None]:
    """The user's rows to train on, and those held out."""
    if options.own is None:
        return None, None
    rng = np.random.default_rng([options.seed, 51])
    rows = read_rows(options.own, contract, insert, options.own_share / 100, options.n_labels, rng, say)
    rows, held = hold_out(rows, rng)
    if held is None:
        say(f"{options.own}: all rows change the same insert, so that none can be held out")
    return rows, held


def _has(path: str, column: str | None) -> bool:
    """Whether a table has this column."""
    return column is not None and column in open_input([path]).schema.names


def _check_table(
    path: str, contract: Contract, insert: int, options: DistillOptions, most: int, say: Say
) -> CheckRows:
    """A table of which `most` rows are checked, and compared with what was measured where it says so."""
    rng = np.random.default_rng([options.seed, 61])
    values = (options.truth,) if options.truth is not None and _has(path, options.truth) else ()
    rows = read_rows(path, contract, insert, 1.0, most, rng, say, values)
    return of_rows(Path(path).name, rows, measured=bool(values))


def _of_tiles(sources: Sequence[tuple[float, Source]]) -> tuple[str, float]:
    """What tiles are drawn from, the first of KINDS that there is a source of, and its share."""
    kinds = {source.kind for _, source in sources}
    kind = next(kind for kind in KINDS if kind in kinds)
    return kind, sum(share for share, source in sources if source.kind == kind)


def _parted(
    sources: Sequence[tuple[float, Source]], options: DistillOptions
) -> tuple[list[tuple[float, Source]], list[tuple[float, Source]]]:
    """Sources of what is held out, and of training: of small ones most is kept for training."""
    rng = np.random.default_rng([options.seed, 45])
    kind, whole = _of_tiles(sources)
    held, trained = [], []
    for share, source in sources:
        of_tiles = share / whole if source.kind == kind else 0.0
        taken = share * options.held_out + of_tiles * options.n_tiles
        one, other = source.parted(taken, round(of_tiles * (options.check_tiles or 0)), rng)
        held.append((share, one))
        trained.append((share, other))
    return held, trained


def _say_given(sources: Sequence[tuple[float, Source]], given: Sequence[int], say: Say) -> None:
    """How many groups to train on came from where, and a warning where a source gave much less than asked."""
    groups: dict[str, int] = defaultdict(int)
    shares: dict[str, float] = defaultdict(float)
    for (share, source), n in zip(sources, given, strict=True):
        groups[source.kind] += n
        shares[source.kind] += share
    whole = max(sum(given), 1)
    say("groups to train on: " + ", ".join(f"{n:,} of {CALLED[kind]}" for kind, n in groups.items()))
    for kind, n in groups.items():
        if n < MUCH_LESS * shares[kind] * whole:
            say(
                f"warning: {CALLED[kind]} gave {100 * n / whole:.3g} % of the groups to train on, where "
                f"{100 * shares[kind]:.3g} % were asked for; the other sequences share 20 bases with what is "
                "held out or checked. Give more sequences, or ask for fewer --check-tiles or --check rows"
            )


def _drawn_tiles(sources: Sequence[tuple[float, Source]], options: DistillOptions) -> CheckRows:
    """Tiles with single changes of them, from the first of KINDS that there is a source of."""
    kind, whole = _of_tiles(sources)
    some = [(share / whole, source) for share, source in sources if source.kind == kind]
    rng = np.random.default_rng([options.seed, 43])
    references = drawn_inserts(some, options.n_tiles, rng)[0]
    return of_groups(TILES, tiles_with_snvs(references, rng), drawn_from=kind)


def _apart_table(path: str, contract: Contract, insert: int, say: Say) -> np.ndarray:
    """All inserts of a table, which the ensemble does not label; N's in them too, which a student scores."""
    rows = read_rows(path, contract, insert, 1.0, None, np.random.default_rng(0), say, with_n=True)
    return np.concatenate([rows.anchors, rows.alt_NL])


def _apart(own_GKL: np.ndarray, checked: Sequence[np.ndarray], say: Say) -> np.ndarray:
    """The user's groups that share nothing with what is checked. InputError where none is left."""
    apart = own_GKL[share_nothing(own_GKL, kmers_apart(checked))]
    if len(apart) < len(own_GKL):
        left_out = len(own_GKL) - len(apart)
        say(f"--own: {left_out:,} of {len(own_GKL):,} groups share 20 bases with checked rows; left out")
    if not len(apart):
        raise InputError(
            "--own: every row shares 20 bases in a row with checked rows, so that none can be trained on; "
            "give --check other rows, or a larger --own-share"
        )
    return apart


def _say_all(material: Material, say: Say) -> None:
    windows = len(material.windows)
    own = f", {len(material.own_GKL):,} groups of your own rows" if len(material.own_GKL) else ""
    checks = ", ".join(f"{len(check.alt_E):,} of {check.name}" for check in material.checks)
    say(
        f"windows: {windows:,} to label: {len(material.train_GKL):,} groups to train on{own}; rows held out: "
        f"{checks}"
    )
