"""Forbidden patterns as a finite automaton: which inserts hold none, and the best insert that holds none.

Aho and Corasick's automaton over the patterns reads flank5, then the insert, then flank3; a pattern that lies
wholly in a flank is none of the insert's doing and does not count, one that overlaps the insert does. With
the number of G and C so far as a second part of the state, dynamic programming decides exactly whether an
insert with given bases at given places and a GC content within bounds exists, and finds the most probable
one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from legscore.dna.codes import encode_text

IS_GC = np.array([0, 1, 1, 0])
"""Of the codes A, G, C, T."""
ROWS_AT_ONCE = 16
IMPOSSIBLE = -1e9


class Automaton:
    """Reads inserts of one length between two flanks.

    Attributes:
        next_SB: int64 [states + 1, 4], state after a base; the last state is where a forbidden pattern leads.
        start: state after flank5.
        accepts_S: bool [states + 1], whether flank3 can follow.
    """

    def __init__(self, patterns: Sequence[str], flank5: str, flank3: str) -> None:
        """patterns: texts over A,C,G,T; flanks likewise."""
        coded = [encode_text(p) for p in dict.fromkeys(patterns)]
        children: list[list[int]] = [[-1] * 4]
        ends: list[set[int]] = [set()]
        for pattern in coded:
            at = 0
            for base in pattern:
                if children[at][base] < 0:
                    children.append([-1] * 4)
                    ends.append(set())
                    children[at][base] = len(children) - 1
                at = children[at][base]
            ends[at].add(len(pattern))
        table = np.zeros((len(children) + 1, 4), dtype=np.int64)
        fail = [0] * len(children)
        waiting = [0]
        for node in waiting:  # breadth first: a node's failure state is nearer the root
            for base in range(4):
                child, through = children[node][base], table[fail[node], base] if node else 0
                if child < 0:
                    table[node, base] = through
                    continue
                table[node, base], fail[child] = child, int(through)
                ends[child] |= ends[fail[child]]
                waiting.append(child)
        self._ends = ends
        free = table.copy()  # where nothing is forbidden: in the flanks
        self.dead = len(children)
        self.accepts_S = np.array(
            [self._follows(free, node, flank3) for node in range(len(children))] + [False]
        )
        table[: self.dead][
            np.isin(table[: self.dead], [node for node, found in enumerate(ends) if found])
        ] = self.dead
        table[self.dead] = self.dead
        self.next_SB, self.start = table, 0
        for base in encode_text(flank5):
            self.start = int(free[self.start, base])

    def _follows(self, free: np.ndarray, node: int, flank3: str) -> bool:
        """Whether no pattern that began in the insert or before is completed in flank3."""
        for read, base in enumerate(encode_text(flank3), start=1):
            node = int(free[node, base])
            if any(length > read for length in self._ends[node]):
                return False
        return True

    def refuses(self, codes_NL: np.ndarray) -> np.ndarray:
        """Which inserts hold a pattern, bool [N]; uint8 codes [N, L], A,G,C,T."""
        state_N = np.full(len(codes_NL), self.start)
        for place in range(codes_NL.shape[1]):
            state_N = self.next_SB[state_N, codes_NL[:, place]]
        return ~self.accepts_S[state_N]

    def best(self, value_N4L: np.ndarray, gc_low: int, gc_high: int) -> tuple[np.ndarray, np.ndarray]:
        """The insert with the largest sum of values that holds no pattern and gc_low..gc_high bases G or C.

        Args:
            value_N4L: [N, 4, L], for example log probabilities; IMPOSSIBLE or less where a base may not be.

        Returns:
            uint8 [N, L], and bool [N] whether there is one at all.
        """
        if gc_low <= 0 and gc_high >= value_N4L.shape[2]:
            return self._best_of_any_gc(value_N4L.astype(np.float32))
        found = [
            self._best(value_N4L[first : first + ROWS_AT_ONCE].astype(np.float32), gc_low, gc_high)
            for first in range(0, len(value_N4L), ROWS_AT_ONCE)
        ]
        length = value_N4L.shape[2]
        if not found:
            return np.empty((0, length), np.uint8), np.empty(0, bool)
        return np.concatenate([codes for codes, _ in found]), np.concatenate(
            [possible for _, possible in found]
        )

    def _best(self, value_N4L: np.ndarray, gc_low: int, gc_high: int) -> tuple[np.ndarray, np.ndarray]:
        n, _, length = value_N4L.shape
        counts = gc_high + 2  # the last count is one too many
        ahead = np.full((n, len(self.next_SB), counts), IMPOSSIBLE, dtype=np.float32)
        ahead[:, self.accepts_S, gc_low : counts - 1] = 0.0
        options = [ahead]
        for place in range(length - 1, -1, -1):
            behind = np.full_like(ahead, IMPOSSIBLE)
            for base in range(4):
                value = self._after(ahead, base, int(IS_GC[base])) + value_N4L[:, base, place, None, None]
                np.maximum(behind, value, out=behind)
            ahead = np.maximum(behind, IMPOSSIBLE)
            options.append(ahead)
        options.reverse()
        rows, state, count = np.arange(n), np.full(n, self.start), np.zeros(n, dtype=np.int64)
        possible = options[0][rows, state, count] > IMPOSSIBLE / 2
        codes = np.empty((n, length), dtype=np.uint8)
        for place in range(length):
            values = np.full((n, 4), 2 * IMPOSSIBLE, dtype=np.float32)
            for base in range(4):
                after = np.minimum(count + IS_GC[base], counts - 1)
                values[:, base] = (
                    options[place + 1][rows, self.next_SB[state, base], after] + value_N4L[:, base, place]
                )
            codes[:, place] = values.argmax(axis=1)
            state = self.next_SB[state, codes[:, place]]
            count = np.minimum(count + IS_GC[codes[:, place]], counts - 1)
        return codes, possible

    def _best_of_any_gc(self, value_N4L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same without counting: what every step of the loop asks."""
        n, _, length = value_N4L.shape
        ahead = np.tile(np.where(self.accepts_S, np.float32(0), np.float32(IMPOSSIBLE)), (n, 1))
        options = [ahead]
        for place in range(length - 1, -1, -1):
            behind = np.full_like(ahead, IMPOSSIBLE)
            for base in range(4):
                reached = ahead[:, self.next_SB[:, base]]
                reached += value_N4L[:, base, place, None]
                np.maximum(behind, reached, out=behind)
            ahead = behind
            options.append(ahead)
        options.reverse()
        rows, state = np.arange(n), np.full(n, self.start)
        possible = options[0][rows, state] > IMPOSSIBLE / 2
        codes = np.empty((n, length), dtype=np.uint8)
        for place in range(length):
            onward = options[place + 1][rows[:, None], self.next_SB[state]] + value_N4L[:, :, place]
            codes[:, place] = onward.argmax(axis=1)
            state = self.next_SB[state, codes[:, place]]
        return codes, possible

    def _after(self, ahead: np.ndarray, base: int, gain: int) -> np.ndarray:
        """Value of every state and count once `base` is read."""
        moved = ahead[:, self.next_SB[:, base]]
        if not gain:
            return np.asarray(moved)
        shifted = np.full_like(moved, IMPOSSIBLE)
        shifted[:, :, :-1] = moved[:, :, 1:]
        return shifted
