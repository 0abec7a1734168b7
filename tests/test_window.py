"""Windows and statuses: the vectorised code against a slow reading of the rules, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import human_contract, random_dna, yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.dna.codes import count_n, encode_text, text_to_codes, unique_rows
from legscore.dna.contract import CODE_OF_BYTE, INVALID_CODE, N_CODE, Contract
from legscore.rows.reading import decide_sequence_is
from legscore.rows.schema import KINDS, STATUSES
from legscore.rows.window import Windower

YEAST, HUMAN = yeast_contract(), human_contract()
A5, A3 = YEAST.adapter5, YEAST.adapter3


def clean(text: str) -> str:
    """Upper case, U as T, ambiguity as N."""
    letters = {0: "A", 1: "G", 2: "C", 3: "T", 4: "N"}
    return "".join(letters[int(CODE_OF_BYTE[ord(c)])] for c in text)


def slow_window(text: str | None, contract: Contract, sequence_is: str) -> tuple[str, str]:
    """(status, window) of one sequence: the rules as sentences."""
    if text is None or text.upper() in ("NA", "NAN", "NULL", "NONE", "N/A", "<NA>", "#N/A", "."):
        return "null_sequence", ""
    if any(ord(c) > 127 or CODE_OF_BYTE[ord(c)] == INVALID_CODE for c in text):
        return "invalid_base", ""
    text = clean(text)
    if sequence_is == "window":
        if len(text) != contract.length:
            return ("too_short" if len(text) < contract.length else "too_long"), ""
        return "ok", text
    extra = len(contract.adapter5) + len(contract.adapter3) if sequence_is == "oligo" else 0
    if len(text) < contract.insert_min + extra:
        return "too_short", ""
    if len(text) > contract.insert_max + extra:
        return "too_long", ""
    carries = text.startswith(contract.adapter5) and text.endswith(contract.adapter3)
    long_enough = len(text) >= len(contract.adapter5) + len(contract.adapter3) + contract.insert_min
    if sequence_is == "oligo" and not carries:
        return "adapter_mismatch", ""
    if sequence_is == "insert" and carries and long_enough:
        return "adapter_mismatch", ""
    insert = (
        text[len(contract.adapter5) : len(text) - len(contract.adapter3)] if sequence_is == "oligo" else text
    )
    return "ok", (contract.flank5 + insert + contract.flank3)[-contract.length :]


def own_bases(text: str, contract: Contract, sequence_is: str) -> int:
    """Bases of a sequence that are not the construct's."""
    if sequence_is != "window":
        return len(text) - (len(contract.adapter5 + contract.adapter3) if sequence_is == "oligo" else 0)
    fits = [
        length
        for length in range(contract.insert_min, contract.insert_max + 1)
        if clean(text).endswith(contract.flank3)
        and contract.flank5.endswith(clean(text)[: len(text) - len(contract.flank3) - length])
    ]
    return min(fits, default=len(text))


def slow_sequence(text: str | None, sequence_is: str) -> tuple[str, str]:
    status, window = slow_window(text, YEAST, sequence_is)
    if status == "ok" and 2 * window.count("N") > own_bases(text or "", YEAST, sequence_is):
        return "mostly_n", window
    return status, window


def slow_pair(pair: tuple[str | None, str | None], sequence_is: str) -> tuple[str, list[str]]:
    found = [slow_window(text, YEAST, sequence_is) for text in pair]
    windows = [window for _, window in found]
    for status, _ in found:
        if status != "ok":
            return status, windows
    if windows[0] == windows[1]:
        return "ref_equals_alt", windows
    if any(slow_sequence(text, sequence_is)[0] == "mostly_n" for text in pair):
        return "mostly_n", windows
    return "ok", windows


def check(
    contract: Contract,
    kind: str,
    sequence_is: str,
    columns: dict[str, list[Any]],
    expected: list[tuple[str, list[str]]],
    rc: str = "construct",
) -> None:
    """Statuses, windows and n_count of every row against what the slow reading expects."""
    arrays = {
        role: pa.array(values, pa.int64() if role == "offset" else pa.large_string())
        for role, values in columns.items()
    }
    result = Windower(contract, KINDS[kind], sequence_is, rc)(arrays)
    assert [STATUSES[code] for code in result.status_N] == [status for status, _ in expected]
    codes = result.batch.expand()
    assert len(np.unique(result.batch.codes_WL, axis=0)) == len(result.batch.codes_WL)
    for row, (status, windows) in enumerate(expected):
        index = result.index_NKS[row].ravel()
        if status != "ok":
            assert (index == -1).all()
            continue
        assert len(index) == len(windows)
        for i, window in zip(index, windows, strict=True):
            assert (codes[i] == encode_text(window)).all()
        assert result.n_count_N[row] == max(window.count("N") for window in windows)


TEXT = st.one_of(
    st.none(),
    st.text("ACGT", min_size=0, max_size=160),
    st.text("ACGTNacgtunRYwx-* é", min_size=0, max_size=100),
    st.builds(lambda s: A5 + s + A3, st.text("ACGTNacgt", max_size=140)),
    st.builds(lambda s: A5.lower() + s + A3.replace("T", "U"), st.text("ACGT", max_size=90)),
    st.builds(lambda s: A5[:-1] + s + A3, st.text("ACGT", max_size=90)),
    st.builds(lambda s: s + A3, st.text("ACGT", min_size=130, max_size=140)),
    st.text("ACGTN", min_size=150, max_size=150),
    st.sampled_from(["A" * 80, "a" * 80, "ACGT" * 20, "NA", "nan", "NaN", "AN", "NNA", "null", "."]),
    st.builds(lambda n, s: "N" * n + s, st.integers(0, 40), st.text("ACGTRN", max_size=40)),
    st.builds(lambda n, s: YEAST.window(("R" * n + s)[:137] or "A"), st.integers(0, 90), st.text("ACGTN")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, max_size=30), st.sampled_from(["insert", "oligo", "window"]))
def test_sequences_equal_the_slow_reading(texts: list[str | None], sequence_is: str) -> None:
    slow = [slow_sequence(text, sequence_is) for text in texts]
    check(
        YEAST, "sequence", sequence_is, {"sequence": texts}, [(status, [window]) for status, window in slow]
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=20), st.sampled_from(["insert", "oligo", "window"]))
def test_pairs_equal_the_slow_reading(pairs: list[tuple[str | None, str | None]], sequence_is: str) -> None:
    expected = [slow_pair(pair, sequence_is) for pair in pairs]
    check(
        YEAST,
        "pair",
        sequence_is,
        {"ref_sequence": [p[0] for p in pairs], "alt_sequence": [p[1] for p in pairs]},
        expected,
    )


def slow_edit(
    text: str | None, offset: int | None, alt: str | None, ref: str | None, sequence_is: str
) -> tuple[str, list[str]]:
    if text is None or offset is None or alt is None:
        return "null_sequence", []
    status, before = slow_window(text, YEAST, sequence_is)
    if status != "ok":
        return status, []
    single_letter = len(alt) == 1 and alt.isascii() and alt.isalpha()
    if single_letter and CODE_OF_BYTE[ord(alt)] == INVALID_CODE:
        return "invalid_base", []
    if not single_letter:
        return "unsupported_allele", []
    if not 0 <= offset < len(text):
        return "edge", []
    if sequence_is == "oligo" and not len(A5) <= offset < len(text) - len(A3):
        return "adapter_mismatch", []
    present, alt = clean(text)[offset], clean(alt)
    if ref is not None and (len(ref) != 1 or CODE_OF_BYTE[ord(ref)] == INVALID_CODE or clean(ref) != present):
        return ("ref_alt_swapped" if alt == present else "ref_mismatch"), []
    if alt == present:
        return "ref_equals_alt", []
    changed = text[:offset] + alt + text[offset + 1 :]
    windows = [before, slow_window(changed, YEAST, sequence_is)[1]]
    most = max(window.count("N") for window in windows)
    return ("mostly_n" if 2 * most > own_bases(text, YEAST, sequence_is) else "ok"), windows


BASE = st.sampled_from(["A", "C", "G", "T", "a", "u", "N", "R", None, "", "AC", "*", "X", "<DEL>"])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(TEXT, st.one_of(st.none(), st.integers(-2, 160)), BASE, BASE), max_size=25),
    st.sampled_from(["insert", "oligo", "window"]),
    st.booleans(),
)
def test_edits_equal_the_slow_reading(rows: list[tuple[Any, ...]], sequence_is: str, with_ref: bool) -> None:
    if with_ref:
        rows = [
            (text, offset, alt, ref if ref in ("A", "C", "G", "T", "a", "N", None, "AC") else "A")
            for text, offset, alt, ref in rows
        ]
    columns: dict[str, list[Any]] = {
        "sequence": [r[0] for r in rows],
        "offset": [r[1] for r in rows],
        "alt_base": [r[2] for r in rows],
    }
    if with_ref:
        columns["ref_base"] = [r[3] for r in rows]
    expected = [
        slow_edit(text, offset, alt, ref if with_ref else None, sequence_is)
        for text, offset, alt, ref in rows
    ]
    check(YEAST, "edit", sequence_is, columns, expected)


def slow_indel(row: tuple[Any, ...], sequence_is: str) -> tuple[str, list[str]]:
    """A row with a column `refill`: base replaced, `-` deleted, `+A` inserted before; the rules as
    sentences."""
    text, offset, alt, ref, refill = row
    if alt is None or not (alt == "-" or alt.startswith("+")):
        return slow_edit(text, offset, alt, ref, sequence_is)
    status, _ = slow_window(text, YEAST, sequence_is)
    if status != "ok":
        return status, []
    if offset is None or refill is None:
        return "null_sequence", []
    side, fill, deletes = refill[:1], refill[1:], alt == "-"
    bases = "ACGTUNRYSWKMBDHVacgtunryswkmbdhv"
    if (not deletes and (len(alt) != 2 or alt[1] not in bases)) or (
        refill != "none" and side not in ("5", "3")
    ):
        return "invalid_base", []
    if refill != "none" and (len(fill) != deletes or fill.strip(bases)):
        return "invalid_base", []
    if not 0 <= offset < len(text):
        return "edge", []
    head, tail = (text[: len(A5)], text[len(text) - len(A3) :]) if sequence_is == "oligo" else ("", "")
    insert, at = text[len(head) : len(text) - len(tail)], offset - len(head)
    if not 0 <= at < len(insert):
        return "adapter_mismatch", []
    if not deletes and at == 0:
        return "edge", []
    if ref is not None and (
        not deletes or len(ref) != 1 or ref not in bases or clean(ref) != clean(insert[at])
    ):
        return "ref_mismatch", []
    changed = insert[:at] + insert[at + 1 :] if deletes else insert[:at] + alt[1] + insert[at:]
    if side == "5":
        changed = fill + changed if deletes else changed[1:]
    elif side == "3":
        changed = changed + fill if deletes else changed[:-1]
    status, windows = slow_pair((text, head + changed + tail), sequence_is)
    return status, windows if status == "ok" else []


REFILL = st.sampled_from(["5", "3", "5A", "3c", "5N", "3G", "none", None, "", "7A", "5AC", "4", "5?", "non"])


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            TEXT,
            st.one_of(st.none(), st.integers(-2, 160)),
            st.one_of(BASE, st.sampled_from(["-", "-", "+A", "+g", "+", "+x", "+AC"])),
            st.sampled_from([None, None, None, "A", "C", "g", "N", "AC"]),
            REFILL,
        ),
        max_size=25,
    ),
    st.sampled_from(["insert", "oligo", "window"]),
)
def test_deletions_and_insertions_equal_the_slow_reading(
    rows: list[tuple[Any, ...]], sequence_is: str
) -> None:
    columns = {
        role: [r[i] for r in rows]
        for i, role in enumerate(("sequence", "offset", "alt_base", "ref_base", "refill"))
    }
    check(YEAST, "edit", sequence_is, columns, [slow_indel(row, sequence_is) for row in rows])


def test_indels_of_plain_inserts_reach_the_engine_whole() -> None:
    """Lengths at their limits, both strands of inserts, and rows that share a sequence."""
    rng = np.random.default_rng(1)
    text, full = random_dna(rng, 80), random_dna(rng, YEAST.insert_max)
    rows = [
        (text, 10, "-", None, "5A"), (text, 10, "-", None, "none"), (text, 79, "-", None, "3T"), (text, 0, "-", None, "5A" if text[0] != "A" else "5C"),
        (text, 1, "+A", None, "5"), (text, 79, "+C", None, "3"), (text, 40, "+G", None, "none"),
        (text, 40, "A" if text[40] != "A" else "C", None, None), (full, 5, "+A", None, "none"), ("A", 0, "-", None, "none"),
    ]  # fmt: skip
    columns = {
        role: [r[i] for r in rows]
        for i, role in enumerate(("sequence", "offset", "alt_base", "ref_base", "refill"))
    }
    expected = [slow_indel(row, "insert") for row in rows]
    assert [status for status, _ in expected] == ["ok"] * 8 + ["too_long", "too_short"]
    check(YEAST, "edit", "insert", columns, expected)
    arrays = {
        role: pa.array(values, pa.int64() if role == "offset" else pa.large_string())
        for role, values in columns.items()
    }
    turned = Windower(YEAST, KINDS["edit"], "insert", "insert")(arrays)
    codes = turned.batch.expand()
    for row, (status, windows) in enumerate(expected):
        for k, window in enumerate(windows if status == "ok" else ()):
            length = len(rows[row][0]) + (
                0 if k == 0 else {"none": -1 if rows[row][2] == "-" else 1}.get(rows[row][4], 0)
            )
            assert (codes[turned.index_NKS[row, k, 0]] == encode_text(window)).all()
            assert (codes[turned.index_NKS[row, k, 1]] == encode_text(flip(window, length))).all()
    without = {role: values for role, values in columns.items() if role != "refill"}
    # as before: unsupported_allele
    check(YEAST, "edit", "insert", without, [slow_edit(*row[:4], "insert") for row in rows])


def flip(window: str, insert_length: int) -> str:
    """Reverse complement of the insert within its flanks."""
    end = len(window) - len(YEAST.flank3)
    insert = window[end - insert_length : end]
    return (
        window[: end - insert_length] + insert[::-1].translate(str.maketrans("ACGT", "TGCA")) + window[end:]
    )


@pytest.mark.parametrize("sequence_is", ["insert", "oligo"])
def test_insert_strands(sequence_is: str) -> None:
    """--rc insert: a second window with the insert turned round, the same edit on the other strand."""
    rng = np.random.default_rng(0)
    inserts = [random_dna(rng, 80, "ACGTN") for _ in range(6)] + [random_dna(rng, 61)]
    texts = inserts if sequence_is == "insert" else [A5 + s + A3 for s in inserts]
    windows = [YEAST.window(s) for s in inserts]
    check(
        YEAST,
        "sequence",
        sequence_is,
        {"sequence": texts},
        [("ok", [w, flip(w, len(s))]) for w, s in zip(windows, inserts, strict=True)],
        "insert",
    )
    shift = 0 if sequence_is == "insert" else len(A5)
    rows = [(i, int(rng.integers(0, len(inserts[i])))) for i in range(7) for _ in range(5)]
    expected, columns = [], {"sequence": [], "offset": [], "alt_base": []}  # type: ignore[var-annotated]
    for i, offset in rows:
        alt = "ACGT"[("ACGTN".index(inserts[i][offset]) + 1) % 4]
        after = YEAST.window(inserts[i][:offset] + alt + inserts[i][offset + 1 :])
        n = len(inserts[i])
        expected.append(("ok", [windows[i], flip(windows[i], n), after, flip(after, n)]))
        for role, value in (("sequence", texts[i]), ("offset", offset + shift), ("alt_base", alt)):
            columns[role].append(value)
    check(YEAST, "edit", sequence_is, columns, expected, "insert")


def test_insert_strands_do_not_depend_on_neighbours() -> None:
    """An insert that holds what another's flank holds has the same window, but turns round differently."""
    short = random_dna(np.random.default_rng(5), 80)
    long = YEAST.window(short)[:137]
    expected, columns = [], {"sequence": [short, long], "offset": [3, 60], "alt_base": ["N", "N"]}
    for text, offset in ((short, 3), (long, 60)):
        after = YEAST.window(text[:offset] + "N" + text[offset + 1 :])
        before = YEAST.window(text)
        expected.append(("ok", [before, flip(before, len(text)), after, flip(after, len(text))]))
    arrays = {
        "sequence": pa.array(columns["sequence"]),
        "offset": pa.array(columns["offset"]),
        "alt_base": pa.array(columns["alt_base"]),
    }
    result = Windower(YEAST, KINDS["edit"], "insert", "insert")(arrays)
    codes = result.batch.expand()
    for row, (_, windows) in enumerate(expected):
        for i, window in zip(result.index_NKS[row].ravel(), windows, strict=True):
            assert (codes[i] == encode_text(window)).all()


def test_dictionary_encoded_sequences_give_the_same() -> None:
    rng = np.random.default_rng(1)
    tiles = [random_dna(rng, 80), None, random_dna(rng, 80), "XX", random_dna(rng, 200)]
    texts = [tiles[i] for i in rng.integers(0, 5, 300)]
    offset = pa.array(rng.integers(0, 80, 300))
    alt = pa.array([None if x == "-" else x for x in rng.choice(list("ACGT-"), 300)])
    plain = pa.array(texts, pa.large_string())
    windower = Windower(YEAST, KINDS["edit"], "insert")
    one = windower({"sequence": plain, "offset": offset, "alt_base": alt})
    two = windower({"sequence": plain.dictionary_encode(), "offset": offset, "alt_base": alt})
    assert (one.status_N == two.status_N).all()
    assert (one.batch.expand() == two.batch.expand()).all()
    assert (one.index_NKS == two.index_NKS).all()
    assert one.n_asked > one.batch.n_windows


def test_sliced_arrays_are_read_at_their_offset() -> None:
    texts = pa.array(["ACGT", None, "GGGGG", "", "TT"], pa.string())
    sequences = text_to_codes(texts.slice(2, 3))
    assert sequences.length.tolist() == [5, 0, 2]
    assert sequences.flat.tolist() == [1] * 5 + [3] * 2
    assert text_to_codes(texts.slice(1, 1)).is_null.tolist() == [True]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["A" * 80] * 5, "insert"),
        ([A5 + "A" * 80 + A3] * 5, "oligo"),
        ([A5.lower() + "a" * 80 + A3.lower()] * 5, "oligo"),
        (["A" * 150] * 5, "window"),
        ([A5 + "A" * 120 + A3] * 5, "oligo"),
        ([A5 + "A" * 80 + A3] * 5 + ["A" * 110] * 5, "oligo"),
        ([A5 + "A" * 80 + A3] * 4 + ["A" * 110] * 5, "insert"),
        ([None, "", None], "insert"),
        ([], "insert"),
    ],
)
def test_what_a_sequence_is_is_decided_once(texts: list[str | None], expected: str) -> None:
    assert decide_sequence_is(pa.array(texts, pa.large_string()), YEAST) == expected


def test_human_sequences() -> None:
    """A 230-bp oligo is the window; bare 230-bp sequences are windows; 200 bp are inserts."""
    oligo = HUMAN.adapter5 + "ACGT" * 50 + HUMAN.adapter3
    assert decide_sequence_is(pa.array([oligo] * 3), HUMAN) == "oligo"
    assert decide_sequence_is(pa.array(["A" * 230] * 3), HUMAN) == "window"
    assert decide_sequence_is(pa.array(["A" * 200] * 3), HUMAN) == "insert"
    for texts, sequence_is in (([oligo], "oligo"), ([oligo], "window"), (["ACGT" * 50], "insert")):
        check(HUMAN, "sequence", sequence_is, {"sequence": texts}, [("ok", [oligo])])
    check(
        HUMAN,
        "sequence",
        "insert",
        {"sequence": ["A" * 199, "A" * 201]},
        [("too_short", []), ("too_long", [])],
    )


def test_a_megabase_among_rows() -> None:
    check(
        YEAST,
        "sequence",
        "insert",
        {"sequence": ["A" * 80, "C" * 1_000_000, "G" * 80]},
        [("ok", [YEAST.window("A" * 80)]), ("too_long", []), ("ok", [YEAST.window("G" * 80)])],
    )


def test_max_n() -> None:
    arrays = {"sequence": pa.array(["A" * 80, "N" + "A" * 79, "NN" + "A" * 78])}
    result = Windower(YEAST, KINDS["sequence"], "insert", max_n=1)(arrays)
    assert [STATUSES[s] for s in result.status_N] == ["ok", "ok", "invalid_base"]
    assert result.n_count_N.tolist() == [0, 1, 2]
    edits = {
        "sequence": pa.array(["N" + "A" * 79] * 2),
        "offset": pa.array([5, 5]),
        "alt_base": pa.array(["C", "N"]),
    }
    result = Windower(YEAST, KINDS["edit"], "insert", max_n=1)(edits)
    assert [STATUSES[s] for s in result.status_N] == ["ok", "invalid_base"]
    assert result.n_count_N.tolist() == [1, 2]


@pytest.mark.parametrize("letters", ["N", "n", "RYSWKM"])
@pytest.mark.parametrize("sequence_is", ["insert", "oligo", "window"])
def test_sequences_without_information_are_not_scored(letters: str, sequence_is: str) -> None:
    """More than half of a sequence's own bases unknown; the construct's bases do not make up for them."""
    inserts = [(letters * 80)[:unknown] + "ACGT" * 20 for unknown in (0, 40, 79, 80, 81, 137)]
    inserts = [insert[:80] if i < 5 else insert[:137] for i, insert in enumerate(inserts)]
    dress = {"insert": str, "oligo": lambda s: A5 + s + A3, "window": YEAST.window}[sequence_is]
    texts = pa.array([dress(insert) for insert in inserts], pa.large_string())
    for contract in (YEAST, HUMAN) if sequence_is == "insert" else (YEAST,):
        expected = [
            "mostly_n" if 2 * sum(letter not in "ACGT" for letter in insert) > len(insert) else "ok"
            for insert in inserts
        ]
        if contract is HUMAN:
            inserts = [letters[0] * n + "A" * (200 - n) for n in (99, 100, 101, 200)]
            texts, expected = pa.array(inserts, pa.large_string()), ["ok", "ok", "mostly_n", "mostly_n"]
        found = Windower(contract, KINDS["sequence"], sequence_is)({"sequence": texts})
        assert [STATUSES[s] for s in found.status_N] == expected
        assert found.n_count_N.tolist() == [
            sum(letter not in "ACGT" for letter in insert) for insert in inserts
        ]
        plain = pa.array([texts[0].as_py()] * len(texts), pa.large_string())
        for ref, alt in ((plain, texts), (texts, plain)):
            pairs = Windower(contract, KINDS["pair"], sequence_is)({"ref_sequence": ref, "alt_sequence": alt})
            assert [STATUSES[s] for s in pairs.status_N[1:]] == expected[1:]
        for limit in (0, 200):
            limited = Windower(contract, KINDS["sequence"], sequence_is, max_n=limit)({"sequence": texts})
            assert [STATUSES[s] for s in limited.status_N] == [
                "ok" if count <= limit else "invalid_base" for count in found.n_count_N
            ]


def test_an_edit_that_brings_one_n_too_many_is_not_scored() -> None:
    edits = {
        "sequence": pa.array(["N" * 40 + "A" * 40] * 3 + ["N" * 41 + "A" * 39]),
        "offset": pa.array([50, 50, 3, 0]),
        "alt_base": pa.array(["C", "N", "C", "C"]),
    }
    result = Windower(YEAST, KINDS["edit"], "insert")(edits)
    assert [STATUSES[s] for s in result.status_N] == ["ok", "mostly_n", "ok", "mostly_n"]
    result = Windower(YEAST, KINDS["edit"], "insert", max_n=41)(edits)
    assert [STATUSES[s] for s in result.status_N] == ["ok"] * 4


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_unique_rows(n: int, length: int, letters: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, letters, (n, length), dtype=np.uint8)
    first, inverse = unique_rows(codes)
    assert (codes[first][inverse] == codes).all() if n else len(first) == 0
    assert (np.diff(first) > 0).all()
    assert len({row.tobytes() for row in codes}) == len(first)


def test_unique_rows_survives_hash_collisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legscore.dna.codes.hash_rows", lambda codes: (codes[:, 0] % 2).astype(np.uint64))
    codes = np.random.default_rng(0).integers(0, 4, (100, 3), dtype=np.uint8)
    first, inverse = unique_rows(codes)
    assert (codes[first][inverse] == codes).all()
    assert (np.diff(first) > 0).all()
    assert len({row.tobytes() for row in codes}) == len(first)


def test_many_rows_are_looked_at_in_blocks() -> None:
    """5,000 rows, which are three blocks: repeats and N's across their borders, and one bad letter in the
    last."""
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 5, (5000, 9), dtype=np.uint8)
    codes[2040:2060] = codes[10:30]
    codes[4990:] = codes[2047]
    assert (count_n(codes) == (codes == N_CODE).sum(axis=1)).all()
    first, inverse = unique_rows(codes)
    assert (codes[first][inverse] == codes).all()
    assert len({row.tobytes() for row in codes}) == len(first) <= 5000 - 29
    texts = ["".join("ACGT"[code] for code in row) for row in rng.integers(0, 4, (5000, 80))]
    texts[-1] = texts[-1][:40] + "!" + texts[-1][41:]
    result = Windower(YEAST, KINDS["sequence"], "insert")({"sequence": pa.array(texts, pa.large_string())})
    assert [STATUSES[code] for code in result.status_N] == ["ok"] * 4999 + ["invalid_base"]


def test_words_for_missing_values_are_no_dna() -> None:
    """WA is ambiguous DNA, not somebody's word for null, though its codes are those of NA."""
    texts = ["NA", "na", "NaN", "NAN", "WA", "RAN", "N", None, "null", "None", "n/a", "<NA>", ".", ".."]
    status = Windower(YEAST, KINDS["sequence"], "oligo", "construct")(
        {"sequence": pa.array(texts, pa.large_string())}
    ).status_N
    expected = ["null_sequence"] * 4 + ["too_short"] * 3 + ["null_sequence"] * 6 + ["invalid_base"]
    assert [STATUSES[code] for code in status] == expected
