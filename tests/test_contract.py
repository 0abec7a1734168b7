"""The sequence contract: windows, round trip, everything it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import human_contract, yeast_contract

from legscore.dna.contract import CODE_OF_BYTE, INVALID_CODE, ORIGIN, Contract, Output, reverse_complement
from legscore.errors import ModelError


def test_yeast_window_of_an_80_bp_insert_is_57_80_13() -> None:
    contract, insert = yeast_contract(), "C" * 80
    window = contract.window(insert)
    left = "AGTGCTAGCAGGAATGATGCAAAAGGTTCCCGATTCGAAC" + "TGCATTTTTTTCACATC"
    assert window == left + insert + "GGTTACGGCTGTT"
    assert (len(left), len(window)) == (57, 150)


@pytest.mark.parametrize("length", [1, 80, 136, 137])
def test_every_yeast_insert_of_1_to_137_fits(length: int) -> None:
    window = yeast_contract().window("A" * length)
    assert len(window) == 150
    assert window.endswith("A" * length + "GGTTACGGCTGTT")


def test_human_oligo_is_the_window() -> None:
    contract = human_contract()
    assert contract.window("G" * 200) == "AGGACCGGATCAACT" + "G" * 200 + "CATTGCGTGAACCGA"
    with pytest.raises(ValueError, match="199 bases"):
        contract.window("G" * 199)


def test_letters() -> None:
    codes = {letter: int(CODE_OF_BYTE[ord(letter)]) for letter in map(chr, range(128))}
    assert [codes[x] for x in "AGCTNagctnUu"] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3, 3]
    assert {x for x in codes if codes[x] == 4} == set("NRYSWKMBDHVnryswkmbdhv")
    assert all(codes[x] == INVALID_CODE for x in "XEFIJLOPQZ -.*>0\n")


def test_reverse_complement_is_flipping_both_axes_of_one_hot() -> None:
    codes = np.random.default_rng(0).integers(0, 5, (20, 31), dtype=np.uint8)
    table = np.vstack([np.eye(4), np.full(4, 0.25)])
    assert (table[reverse_complement(codes)] == table[codes][:, ::-1, ::-1]).all()
    assert (reverse_complement(reverse_complement(codes)) == codes).all()


def test_json_round_trip() -> None:
    for contract in (yeast_contract(), human_contract(alphabet="ACGT", channels=tuple("ACGT"), n_value=0.0)):
        assert Contract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alphabet": "AGCC"}, "alphabet"),
        ({"channels": tuple("ACGT")}, "must begin with the alphabet"),
        ({"channels": (*"AGCT", "is_spliced")}, "extra channels"),
        ({"channels": (*"AGCT", "is_reverse", "is_reverse")}, "at most once"),
        ({"n_value": 0.5}, "n_value"),
        ({"flank3": "ggtta"}, "flank3"),
        ({"adapter5": "ACGT"}, "adapter5 must end flank5"),
        ({"insert_min": 0}, "insert_min"),
        ({"insert_max": 138}, "exceeds length"),
        ({"flank5": "TGCATTTTTTTCACATC"}, "does not fill the window"),
        ({"length": 0}, "length"),
        ({"length": 32_768, "flank5": "A" * 32_768 + "TGCATTTTTTTCACATC"}, "1 to 32,767"),
        ({"output": Output("bins", "bin", 5.0, 17.0)}, "bins count from 0"),
    ],
)
def test_refuses(changes: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        yeast_contract(**changes)


@pytest.mark.parametrize("value", [None, [], {"alphabet": "AGCT"}, "x"])
def test_from_json_refuses_other_things(value: object) -> None:
    with pytest.raises(ModelError, match="contract"):
        Contract.from_json(value)


def test_from_json_refuses_unknown_and_mistyped_entries() -> None:
    data = yeast_contract().to_json()
    with pytest.raises(ModelError, match="unknown entry 'lenght'"):
        Contract.from_json({**data, "lenght": 3})
    with pytest.raises(ModelError, match="rc_trained is 1"):
        Contract.from_json({**data, "rc_trained": 1})
    with pytest.raises(ModelError, match="length is True"):
        Contract.from_json({**data, "length": True})


def test_what_was_measured_is_told_kept_and_compared() -> None:
    contract = yeast_contract()
    assert contract.describe().startswith("organism unknown; 150-bp window")
    assert not set(ORIGIN) & set(contract.to_json())  # files of before say nothing, and mean nothing else
    known = replace(contract, organism="Homo sapiens", medium="K562", assay="lentiMPRA")
    assert known.describe().startswith("Homo sapiens, K562, lentiMPRA; 150-bp window")
    assert Contract.from_json(json.loads(json.dumps(known.to_json()))) == known
    for name in ORIGIN:
        other = replace(known, **{name: "another"})
        assert known.difference(other) == f"{name} is 'another', not {getattr(known, name)!r}"
        assert known.difference(replace(known, **{name: ""})) == ""
        assert contract.difference(other) == ""
        for wrong in ("x" * 101, "a\nb", "\x1b[31m"):
            with pytest.raises(ModelError, match=f"{name} must be a line of at most 100 letters"):
                replace(known, **{name: wrong})
        with pytest.raises(ModelError, match=f"contract.{name} is 5, of the wrong type"):
            Contract.from_json({**known.to_json(), name: 5})


def test_reverse_complement_of_letters_and_of_nothing() -> None:
    from legscore.variants.genome import COMPLEMENT as LETTERS

    text = np.frombuffer(b"AACGTNRYSWKMBDHV", np.uint8)[None]
    assert reverse_complement(text, LETTERS).tobytes() == b"BDHVKMWSRYNACGTT"
    for shape in ((0, 5), (3, 0)):
        assert reverse_complement(np.zeros(shape, np.uint8)).shape == shape
