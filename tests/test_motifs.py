"""Motifs that variants make and break: MEME files read or refused, p-values as all words give them, hits as a plain
loop over texts finds them."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, Ran, one_line, random_dna
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attribute import rows_of, write

from legscore.attribute.meme_files import Motif, MotifFile, parse_meme, read_meme
from legscore.attribute.motif_scores import PSEUDOCOUNT, UNITS, MotifScores, background_of
from legscore.errors import InputError

Cli = Callable[..., Ran]
YEAST = REPOSITORY / "examples" / "yeast.meme"
COMPLEMENT = str.maketrans("ACGT", "TGCA")
HEAD = "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
REB1 = "MOTIF REB1\nletter-probability matrix: alength= 4 w= 2 nsites= 20\n 0 0 0 1\n 1 0 0 0\n"


def meme_text(file: MotifFile) -> str:
    """A file in the minimal format, numbers as Python writes them."""
    out = HEAD
    if file.background_B is not None:
        out += "Background letter frequencies\n"
        out += " ".join(f"{b} {float(p)!r}" for b, p in zip("ACGT", file.background_B, strict=True)) + "\n\n"
    for motif in file.motifs:
        out += f"MOTIF {motif.name} {motif.alias}\n"
        out += f"letter-probability matrix: alength= 4 w= {len(motif)} nsites= {motif.sites!r} E= 0\n"
        out += "".join(f" {' '.join(repr(float(p)) for p in row)}\n" for row in motif.probability_WB)
        out += f"URL http://motifs.example/{motif.name}\n\n"
    return out


def random_motif(rng: np.random.Generator, width: int, name: str = "m") -> Motif:
    return Motif(name, "", rng.dirichlet(np.full(4, 0.4), size=width), float(rng.integers(3, 200)))


@st.composite
def motif_files(draw: Any) -> MotifFile:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    words = st.text(
        st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("Z", "C")),
        min_size=1,
        max_size=8,
    )
    names = draw(st.lists(words, min_size=1, max_size=4, unique=True))
    motifs = [random_motif(rng, draw(st.integers(1, 12)), name) for name in names]
    return MotifFile(tuple(motifs), rng.dirichlet(np.full(4, 5.0)) if draw(st.booleans()) else None)


@settings(max_examples=30, deadline=None)
@given(motif_files())
def test_what_is_written_is_read(file: MotifFile) -> None:
    found = parse_meme(meme_text(file), "m.meme")
    assert [(m.name, m.sites) for m in found.motifs] == [(m.name, m.sites) for m in file.motifs]
    for mine, given_motif in zip(found.motifs, file.motifs, strict=True):
        np.testing.assert_allclose(mine.probability_WB, given_motif.probability_WB, rtol=1e-12, atol=0)
    assert (found.background_B is None) == (file.background_B is None)
    if file.background_B is not None and found.background_B is not None:
        np.testing.assert_allclose(found.background_B, file.background_B, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_text_is_read_or_refused(data: Any) -> None:
    """Lines of a file shuffled, cut or changed end in motifs or in an InputError."""
    lines = (HEAD + REB1 + REB1.replace("REB1", "X").replace("w= 2", "")).splitlines()
    picked = data.draw(
        st.lists(st.sampled_from([*lines, "", "1 0 0", "END ALPHABET", "ALPHABET x"]), max_size=20)
    )
    text = "\n".join(["MEME version 5", *picked]) + data.draw(st.text(max_size=12))
    with contextlib.suppress(InputError):
        motifs = parse_meme(text, "x.meme").motifs
        assert motifs
        assert all(math.isclose(row.sum(), 1) for motif in motifs for row in motif.probability_WB)


ACCEPTED = {
    "version 5 with letters": (
        'MEME version 5.5.7 (Release)\nALPHABET "DNA" DNA-LIKE\nA "Adenine" CC0000 ~ T "Thymine" 008000\n'
        'C "Cytosine" 0000CC ~ G "Guanine" FFB300\nN "Any base" = ACGT\nEND ALPHABET\n' + REB1
    ),
    "no alphabet, no width, no sites": f"MEME version 4.4\n{REB1.replace('w= 2 nsites= 20', '')}",
    "no spaces after =": HEAD + REB1.replace("= ", "="),
    "CRLF": (HEAD + REB1).replace("\n", "\r\n"),
    "an empty line before the matrix": HEAD + REB1.replace("20\n", "20\n\n"),
    "rounded": HEAD + REB1.replace(" 1 0 0 0", " 0.997 0.001 0 0"),
    "a log-odds matrix and a link": HEAD + REB1.replace("\nletter", "\nlog-odds matrix: alength= 4 w= 1\n 7 -9 -9 -9\nletter") + "URL x\n",
    "MEME's own text": "*****\nMEME version 5.1.0\n" + HEAD[15:] + REB1.replace("REB1", "TA MEME-1\twidth = 2 sites = 20"),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_files_that_are_read(case: str) -> None:
    (motif,) = parse_meme(ACCEPTED[case], "m").motifs
    assert motif.sites == 20
    np.testing.assert_allclose(motif.probability_WB, [[0, 0, 0, 1], [1, 0, 0, 0]], atol=1.5e-3)
    assert motif.title == ("TA(MEME-1)" if "MEME-1" in ACCEPTED[case] else "REB1")


REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty": ("\n \n", ("is empty",)),
    "no MEME file": (">one\nACGT\n", ("no MEME file", "MEME version 4")),
    "an old version": (f"MEME version 3.0\n{REB1}", ("version 3.0", "4 and 5")),
    "no motif": (HEAD, ("holds no motif",)),
    "RNA": (HEAD.replace("ACGT", "ACGU") + REB1, ("line 3", "ACGU", "write T for U")),
    "protein": (HEAD.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY") + REB1, ("line 3", "must be of DNA")),
    "methylated": (f'MEME version 5\nALPHABET "D" DNA-LIKE\nA ~ T\nC ~ G\nm ~ 1\nEND ALPHABET\n{REB1}', ("line 6", "must be of DNA")),
    "an alphabet without end": ("MEME version 5\nALPHABET\nA\n", ("no line END ALPHABET",)),
    "width": (HEAD + REB1.replace("w= 2", "w= 3"), ("REB1 has 2 positions", "w= 3")),
    "no width": (HEAD + REB1.replace("w= 2", "w= two"), ("w= two",)),
    "wide": (HEAD + REB1.replace("w= 2", "") + " 0 0 0 1\n" * 99, ("REB1 has 101 positions", "1 to 100")),
    "no rows": (HEAD + REB1.split(" 0 0")[0].replace("w= 2", "w= 0"), ("REB1 has 0 positions",)),
    "counts": (HEAD + REB1.replace(" 0 0 0 1", " 0 0 0 20"), ("line 9", "'0 0 0 20'", "sum to 1")),
    "a sum": (HEAD + REB1.replace(" 0 0 0 1", " 0.2 0.2 0.2 0.2"), ("line 9", "sum to 1")),
    "below 0": (HEAD + REB1.replace(" 0 0 0 1", " -0.5 0.5 0 1"), ("line 9", "no probabilities")),
    "no number": (HEAD + REB1.replace(" 0 0 0 1", " 0 x 0 1"), ("line 9", "'0 x 0 1'")),
    "three numbers": (HEAD + REB1.replace(" 0 0 0 1", " 0 0 1"), ("line 9", "3 numbers")),
    "alength": (HEAD + REB1.replace("alength= 4", "alength= 20"), ("line 8", "alength is 20")),
    "nsites": (HEAD + REB1.replace("nsites= 20", "nsites= 0"), ("line 8", "nsites is 0")),
    "twice": (HEAD + REB1 + REB1, ("line 11", "REB1 is there already, in line 7")),
    "no name": (HEAD + "MOTIF\n", ("line 7", "no name")),
    "no matrix": (HEAD + "MOTIF a\n" + REB1, ("line 7", "motif a has no letter-probability matrix")),
    "a matrix alone": (HEAD + REB1.partition("\n")[2], ("line 7", "MOTIF")),
    "a background of three": (HEAD + "Background letter frequencies\nA 0.5 C 0.2 G 0.3\n\n" + REB1, ("line 8", "A, C, G and T")),
    "a background of 0": (HEAD + "Background letter frequencies\nA 0.5 C 0 G 0.2 T 0.3\n" + REB1, ("line 8", "above 0")),
    "a background of 2": (HEAD + "Background letter frequencies\nA 1 C 0.3 G 0.3 T 0.4\n" + REB1, ("line 8", "sum to 1")),
}  # fmt: skip


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text("id,ref_sequence,alt_sequence\na,GGTTACCCGAAA,GGTTACGCGAAA\n")
    return path


@pytest.mark.parametrize("case", REFUSED)
def test_files_that_are_refused(case: str, tmp_path: Path, pairs: Path, cli: Cli) -> None:
    text, words = REFUSED[case]
    (tmp_path / "m.meme").write_text(text)
    one_line(cli("motifs", pairs, "--meme", tmp_path / "m.meme", "-o", tmp_path / "o.csv"), "m.meme", *words)
    assert not (tmp_path / "o.csv").exists()


def test_files_that_cannot_be_read(tmp_path: Path, pairs: Path, cli: Cli) -> None:
    (tmp_path / "b.meme").write_bytes(b"MEME version 4\n\xff\xfe")
    for name, word in (("none.meme", "no such file"), ("b.meme", "not UTF-8"), (".", "directory")):
        ran = cli("motifs", pairs, "--meme", tmp_path / name, "-o", tmp_path / "o.csv")
        one_line(ran, word)


@pytest.mark.parametrize(("width", "seed"), [(1, 0), (3, 1), (6, 2)])
def test_p_values_are_those_of_all_words(width: int, seed: int) -> None:
    """The chance of a score or more is the summed chance of every word that has it."""
    rng = np.random.default_rng(seed)
    file = MotifFile((random_motif(rng, width),), rng.dirichlet(np.full(4, 5.0)))
    background = background_of(file)
    scores = MotifScores.of(file.motifs[0], background)
    words = np.array(list(itertools.product(range(4), repeat=width)))
    n, p = file.motifs[0].sites, file.motifs[0].probability_WB
    odds = (n * p + PSEUDOCOUNT * background) / (n + PSEUDOCOUNT) / background
    exact = np.log2(odds)[np.arange(width), words].sum(axis=1)
    rounded = np.rint(UNITS * np.log2(odds))[np.arange(width), words].sum(axis=1).astype(int)
    assert np.abs(rounded - UNITS * exact).max() <= width / 2
    chance = background[words].prod(axis=1)
    expected = np.array([chance[rounded >= one].sum() for one in rounded])
    np.testing.assert_allclose(scores.p_of(rounded), expected, rtol=1e-9)
    for most in (1e-3, 0.02, 0.3, 0.999):
        passing = {score for score, p_value in zip(rounded, expected, strict=True) if p_value <= most}
        assert passing == {score for score in rounded if score >= scores.bound(most)}


def hits(text: str, motif: Motif, scores: MotifScores, most_p: float) -> dict[tuple[str, int], str]:
    """Strand and offset of every hit → its bases, word by word."""
    found, width = {}, len(motif)
    for offset in range(len(text) - width + 1):
        word = text[offset : offset + width]
        for strand, read in (("+", word), ("-", word.translate(COMPLEMENT)[::-1])):
            if set(read) <= set("ACGT"):
                score = sum(scores.score_WC[i, "AGCT".index(base)] for i, base in enumerate(read))
                if scores.p_of(np.array([score]))[0] <= most_p:
                    found[strand, offset] = word
    return found


def lost(one: str, other: str, motif: Motif, scores: MotifScores, most_p: float) -> Counter[tuple[str, str]]:
    """Strand and bases of the hits of `one` that `other` has nowhere, and no other hit in their places."""
    mine, theirs = (hits(text, motif, scores, most_p) for text in (one, other))
    shift = len(other) - len(one)
    left = {
        key: word
        for key, word in mine.items()
        if key not in theirs and (key[0], key[1] + shift) not in theirs
    }
    right = {
        key: word for key, word in theirs.items() if key not in mine and (key[0], key[1] - shift) not in mine
    }
    by_word = (Counter((strand, word) for (strand, _), word in some.items()) for some in (left, right))
    return next(by_word) - next(by_word)


def changed_rows(rng: np.random.Generator, sites: Sequence[str], n: int) -> list[tuple[str, str]]:
    """Pairs that differ by one to three bases, an insertion, a deletion, or a deletion refilled at an end; N's too."""
    rows = []
    for i in range(n):
        ref = random_dna(rng, int(rng.integers(20, 50)))
        at, site = int(rng.integers(0, len(ref) - 13)), sites[i % len(sites)]
        ref = ref[:at] + site + ref[at + len(site) :]
        if i % 11 == 0:
            ref = ref[:3] + "N" + ref[4:]
        at = int(np.clip(at + rng.integers(-3, 10), 1, len(ref) - 5))
        some, kind = random_dna(rng, 3), i % 5
        alt = (
            ref[:at] + some[: 1 + i % 3] + ref[at + 1 + i % 3 :], ref[:at] + some + ref[at:], ref[:at] + ref[at + 2 :],
            ref[:at] + ref[at + 2 :] + some[:2], some[:2] + ref[:at] + ref[at + 2 :],
        )[kind]  # fmt: skip
        if alt != ref:
            rows.append((ref, alt))
    return rows


def parts(text: str | None) -> list[list[str]]:
    return [one.split("|") for one in text.split(";")] if text else []


def test_hits_are_those_of_a_plain_loop(tmp_path: Path, cli: Cli) -> None:
    """Both sides, both strands, indels with and without refill; scores change by what the loop says."""
    rng, most_p = np.random.default_rng(4), 2e-3
    rows = changed_rows(rng, ["TTACCCG", "CGGGTAA", "CACCCATACAT", "CGTACGTAACGAT", "ATCGTTAAAAACG"], 160)
    table = pa.table({"ref_sequence": [r for r, _ in rows], "alt_sequence": [a for _, a in rows]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=50)
    ran = cli(
        "motifs", tmp_path / "p.parquet", "--meme", YEAST, "--motif-p", most_p, "-o", tmp_path / "o.parquet"
    )
    assert ran.code == 0, ran.err
    found = pq.read_table(tmp_path / "o.parquet").to_pylist()
    file = read_meme(str(YEAST))
    scores = {motif.name: MotifScores.of(motif, background_of(file)) for motif in file.motifs}
    seen = Counter[str]()
    for (ref, alt), row in zip(rows, found, strict=True):
        assert (row["ref_sequence"], row["status"]) == (ref, "ok")
        for side, one, other in (("broken", ref, alt), ("made", alt, ref)):
            told = parts(row[side])
            assert len(told) == row[f"n_{side}"]
            for motif in file.motifs:
                width = len(motif)
                mine = [hit for hit in told if hit[0] == motif.name]
                words = Counter((hit[1], one[int(hit[2]) : int(hit[2]) + width]) for hit in mine)
                assert words == lost(one, other, motif, scores[motif.name], most_p), (ref, alt, side)
                for _, strand, offset, change, p in mine:
                    assert (strand, int(offset)) in hits(one, motif, scores[motif.name], most_p)
                    assert 0 < float(p) <= most_p
                    if change != ".":
                        assert (float(change) > 0) == (side == "made")
                    if len(ref) == len(alt):
                        word, there = (text[int(offset) : int(offset) + width] for text in (one, other))
                        value, before = (score(text, strand, scores[motif.name]) for text in (word, there))
                        expected = (
                            "."
                            if before is None
                            else f"{(value - before) / UNITS * (1 if side == 'made' else -1):+.2f}"
                        )
                        assert change == expected
                seen[side] += len(mine)
            chances = [float(hit[4]) for hit in told]
            assert chances == sorted(chances)
    assert min(seen.values()) > 20


def score(word: str, strand: str, scores: MotifScores) -> Any:
    read = word if strand == "+" else word.translate(COMPLEMENT)[::-1]
    if set(read) - set("ACGT"):
        return None
    return sum(scores.score_WC[i, "AGCT".index(base)] for i, base in enumerate(read))


def test_known_sites(tmp_path: Path, cli: Cli) -> None:
    """A REB1 site broken on either strand, one made, one moved, and what one sees of them."""
    site, rest = "TTACCCG", "AGTCATTGCAATTGAC"
    other = "CGGGTAA"
    rows = [
        f"gone,{rest}{site}AA,{rest}TTACGCGAA",
        f"turned,{rest}{other}AA,{rest}CGCGTAAAA",
        f"new,{rest}TTAGCCGAA,{rest}{site}AA",
        f"moved,{rest}{site}AAGG,{rest}A{site}AAGG",
        f"none,{rest}AAAA,{rest}ACAA",
        f"same,{rest},{rest}",
        f"letters,{rest}X,{rest}A",
        f"long,{'A' * 1001},{'A' * 1000}",
        f"nothing,,{rest}",
        f"missing,NA,{rest}",
    ]
    (tmp_path / "p.csv").write_text("id,ref_sequence,alt_sequence\n" + "\n".join(rows) + "\n")
    ran = cli("motifs", tmp_path / "p.csv", "--meme", YEAST, "-o", tmp_path / "o.csv")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "o.csv").read_text().splitlines()
    drop = math.log2((20 + 0.1 * 0.19) / (0.1 * 0.19))  # of 20 sites that all have a C: C over G
    p = 0.31**3 * 0.19**4
    assert lines[0] == "id,n_made,n_broken,made,broken,status"
    assert lines[1] == f"gone,0,1,,REB1|+|16|-{drop:.2f}|{p:.3g},ok"
    assert lines[2] == f"turned,0,1,,REB1|-|16|-{drop:.2f}|{p:.3g},ok"
    assert lines[3] == f"new,1,0,REB1|+|16|+{drop:.2f}|{p:.3g},,ok"
    assert [line.split(",", 1)[1] for line in lines[4:6]] == ["0,0,,,ok"] * 2
    assert [line.split(",", 1)[1] for line in lines[6:]] == [
        ",,,,ref_equals_alt", ",,,,invalid_base", ",,,,too_long", ",,,,null_sequence", ",,,,null_sequence",
    ]  # fmt: skip
    assert "rows: 10 (ok 5, null_sequence 2, invalid_base 1, too_long 1, ref_equals_alt 1)" in ran.err
    assert "made: 1 hit in 1 row: REB1 1" in ran.err
    assert "broken: 2 hits in 2 rows: REB1 2" in ran.err


def test_edits_and_pairs_agree(tmp_path: Path, cli: Cli) -> None:
    """Every change of a sequence as an edit (indels with and without refill too), and as the pair that it makes."""
    rng = np.random.default_rng(8)
    text = f"{random_dna(rng, 12)}TTACCCG{random_dna(rng, 12)}"
    edits, pair_rows = [], []

    def add(offset: int, alt: str, refill: str, made: str) -> None:
        edits.append(f"{text},{offset},{text[offset] if alt[0] != '+' else ''},{alt},{refill}")
        pair_rows.append(f"{text},{made}")

    for i, base in enumerate(text):
        for other in set("ACGT") - {base}:
            add(i, other, "", text[:i] + other + text[i + 1 :])
        add(i, "-", "none", text[:i] + text[i + 1 :])
        add(i, "-", "3G", text[:i] + text[i + 1 :] + "G")
        if i:
            add(i, "+C", "5", text[1:i] + "C" + text[i:])
            add(i, "+C", "none", text[:i] + "C" + text[i:])
    reads, alt = sorted(set("ACGT") - {text[0]})[:2]
    edits += [f"{text},0,{reads},{alt},", f"{text},99,,G,", f"{text},3,,{text[3]},"]
    pair_rows += [f"{text},X", f"{text},X", f"{text},{text}"]
    (tmp_path / "e.csv").write_text("sequence,offset,ref_base,alt_base,refill\n" + "\n".join(edits) + "\n")
    (tmp_path / "p.csv").write_text("ref_sequence,alt_sequence\n" + "\n".join(pair_rows) + "\n")
    found = {}
    for name in ("e", "p"):
        ran = cli(
            "motifs",
            tmp_path / f"{name}.csv",
            "--meme",
            YEAST,
            "--keep",
            "none",
            "-o",
            tmp_path / f"{name}.tsv",
        )
        assert ran.code == 0, ran.err
        found[name] = (tmp_path / f"{name}.tsv").read_text().splitlines()
    assert found["e"][:-3] == found["p"][:-3]
    assert sum("REB1" in line for line in found["e"]) > 30
    status = [line.split("\t")[-1] for line in found["e"][-3:]]
    assert status == ["ref_mismatch", "edge", "ref_equals_alt"]


def test_output_of_a_run(tmp_path: Path, cli: Cli, toy_model: Path) -> None:
    """What a run wrote with its sequences goes in, in any format and from standard input; its statuses come first."""
    source = REPOSITORY / "examples/genome/pairs.csv"
    keep = "id,ref_sequence,alt_sequence"
    out = tmp_path / "scores.parquet"
    assert cli("run", source, "-m", toy_model, "--engine", "null", "--keep", keep, "-o", out).code == 0
    scored = pq.read_table(out)
    status = pa.array(["nonfinite", *scored["status"].cast(pa.string()).to_pylist()[1:]])
    pq.write_table(scored.set_column(scored.schema.get_field_index("status"), "status", status), out)
    meme = ("--meme", YEAST, "--motif-p", "0.001")
    assert cli("motifs", out, *meme, "-o", tmp_path / "m.arrow").code == 0
    table = pa.ipc.open_file(tmp_path / "m.arrow").read_all()
    assert table.schema.names == [
        "id", "ref_score", "alt_score", "effect", "effect_sd", "n_count", "n_made", "n_broken", "made", "broken", "status",
    ]  # fmt: skip
    rows = table.to_pylist()
    assert rows[0]["status"] == "nonfinite"
    assert rows[0]["n_made"] is None
    assert {row["status"] for row in rows[1:]} == {"ok"}
    assert len(rows) == 60
    plain = cli("motifs", source, *meme, "-o", "-", "--keep", "id")
    read = pc.read_csv(
        io.BytesIO(plain.out.encode()), parse_options=pc.ParseOptions(delimiter="\t")
    ).to_pylist()
    assert [(r["id"], r["n_made"], r["made"] or None) for r in read[1:]] == [
        (r["id"], r["n_made"], r["made"]) for r in rows[1:]
    ]


@pytest.mark.parametrize(
    ("columns", "rows", "options", "words"),
    [
        ("id,sequence", "a,ACGT", (), ("single sequences", "ref_sequence + alt_sequence")),
        ("id,dna", "a,ACGT", (), ("no columns to score",)),
        ("made,ref_sequence,alt_sequence", "a,ACGT,ACGA", (), ("already has the column 'made'", "--keep")),
        ("ref_sequence,alt_sequence", "ACGT,ACGA", ("--keep", "x"), ("no column 'x'",)),
        ("ref_sequence,alt_sequence", "ACGT,ACGA", ("--column", "ref=x"), ("no such role",)),
        ("ref_sequence,alt_sequence,status", "ACGT,ACGA,hit", (), ("no status of legscore",)),
        ("ref_sequence,alt_sequence", "ACGT,ACGA", ("--motif-p", "1e-9"), ("no word of any motif", "raise --motif-p")),
        ("ref_sequence,alt_sequence", "ACGT,ACGA", ("--motif-p", "0"), ("--motif-p",)),
    ],
)  # fmt: skip
def test_refusals(
    columns: str, rows: str, options: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "t.csv").write_text(f"{columns}\n{rows}\n")
    ran = cli("motifs", tmp_path / "t.csv", "--meme", YEAST, "-o", tmp_path / "o.csv", *options)
    one_line(ran, *words)
    assert not (tmp_path / "o.csv").exists()


def test_variants_and_folders_are_refused(tmp_path: Path, pairs: Path, cli: Cli) -> None:
    vcf = REPOSITORY / "examples/genome/toy.vcf"
    ran = cli("motifs", vcf, "--meme", YEAST, "-o", tmp_path / "o.csv")
    one_line(ran, "toy.vcf holds variants, not sequences", "legscore variants")
    one_line(cli("motifs", pairs, "--meme", YEAST, "-o", f"{tmp_path}/o/"), "writes one file")
    one_line(cli("motifs", pairs, "--meme", YEAST, "-o", YEAST), "both input and output")


def test_motifs_that_never_hit_are_named(tmp_path: Path, pairs: Path, cli: Cli) -> None:
    """A motif too short for the p-value asked for is told of; names are written so that they can be taken apart."""
    (tmp_path / "m.meme").write_text(
        YEAST.read_text().replace("MOTIF REB1", "MOTIF a;b|c RE%B1") + "\n" + REB1.replace("REB1", "TA")
    )
    ran = cli("motifs", pairs, "--meme", tmp_path / "m.meme", "-o", tmp_path / "o.csv")
    assert ran.code == 0
    assert "TA: even the best word has a larger p-value" in ran.err
    assert "a%3Bb%7Cc(RE%25B1)|+|2|" in (tmp_path / "o.csv").read_text()


def test_runs_are_named(tmp_path: Path, cli: Cli) -> None:
    """The run over a site has its name in the BED file, on the strand of the tile; one over other bases has none."""
    rng, rows = np.random.default_rng(5), []
    texts = {
        "site": f"{'ATTGA' * 4}TTACCCG{'ATTGA' * 4}",
        "turned": f"{'ATTGA' * 3}CGGGTAA{'ATTGA' * 5}",
        "other": "ATTGA" * 9,
    }
    first = {"site": 20, "turned": 15, "other": 20}
    for i, (name, text) in enumerate(texts.items()):
        for row in rows_of(name, text, 100 * i, "+-+"[i]):
            inside = first[name] <= row["offset"] < first[name] + 7
            rows.append(row | {"effect": float(np.float32(-1 if inside else rng.normal() / 100))})
    scores, bed, high = write(tmp_path / "s.parquet", rows), tmp_path / "a.bed", tmp_path / "b.bed"
    assert cli("attribute", scores, "-o", tmp_path / "a.npz", "--bed", bed).code == 0
    ran = cli("attribute", scores, "-o", tmp_path / "b.npz", "--bed", high, "--meme", YEAST)
    assert ran.code == 0, ran.err
    lines = [line.split("\t") for line in high.read_text().splitlines()]
    assert [line[:-1] for line in lines] == [line.split("\t") for line in bed.read_text().splitlines()]
    named = {line[3]: line[8] for line in lines}
    assert named == {"site": "REB1|+|20|3.88e-05", "turned": "REB1|-|15|3.88e-05", "other": "."}
    assert "runs with a motif: 2 of 3" in ran.err
    refused = cli("attribute", scores, "-o", tmp_path / "c.npz", "--meme", YEAST)
    one_line(refused, "--meme has no effect here", "--bed")
    refused = cli(
        "attribute", scores, "-o", tmp_path / "c.npz", "--bed", tmp_path / "c.bed", "--motif-p", 0.1
    )
    one_line(refused, "--motif-p has no effect here", "--meme")
    refused = cli("attribute", scores, "-o", tmp_path / "c.npz", "--bed", YEAST, "--meme", YEAST)
    one_line(refused, "both input and output")


def test_no_rows(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "t.csv").write_text("ref_sequence,alt_sequence\n")
    ran = cli("motifs", tmp_path / "t.csv", "--meme", YEAST, "-o", tmp_path / "o.parquet")
    assert ran.code == 0, ran.err
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 0
    assert "rows: 0" in ran.err
