"""The bundled ensemble: what it was trained on shares nothing with what it is tested on; the one before loads."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import example_script

from legscore.model.checkpoint import load_members
from legscore.model.model_names import locate_models

ADAPTER5, ADAPTER3 = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
COMPLEMENT = str.maketrans("ACGT", "TGCA")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return example_script("make_models_2")


def other_strand(text: str) -> str:
    return text[::-1].translate(COMPLEMENT)


def table(rows: list[tuple[str, str, str, int]]) -> pa.Table:
    """Measured rows of complex medium: insert, split, set, family."""
    inserts, splits, sets, families = zip(*rows, strict=True)
    return pa.table(
        {
            "sequence": [ADAPTER5 + insert + ADAPTER3 for insert in inserts],
            "medium": ["complex"] * len(rows),
            "split": splits,
            "set": sets,
            "family": pa.array(families, pa.int32()),
            "expression_calibrated": np.arange(len(rows), dtype=np.float64),
        }
    )


def test_rows_apart_by_the_obvious_loop(script: ModuleType, tmp_path: Path) -> None:
    """No tile shares 20 bases with a test or validation row, nor a training row with a tile that
    validates."""
    rng = np.random.default_rng(5)
    dna = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(1_000)]
    tests, valid, apart = dna[0], dna[1], dna[2]
    tile, first = ("aux_native_tile", "native_tile"), ("train", "random")
    rows = [(tests, "test_native", "native", 1), (valid, "valid", "random", 2)]
    rows += [(tests[:20] + dna[3][20:], *tile, 3), (dna[4][:61] + tests[-19:], *tile, 4)]
    rows += [(dna[5][:60] + other_strand(tests[30:50]), *tile, 5), (other_strand(valid), *tile, 6)]
    rows += [(dna[7][:10] + apart[5:60] + dna[7][65:], *tile, 7), (apart, *first, 8)]
    rows += [(text, *tile, 100 + number) for number, text in enumerate(dna[10:600])]
    rows += [(text, *first, 2_000 + number) for number, text in enumerate(dna[600:])]
    held = next(text for text, split, _, family in rows if split == tile[0] and family >= 100 and
                script.zlib.crc32(str(family).encode()) % 100 < script.VALID_PERCENT)  # fmt: skip
    rows += [(dna[8][:50] + held[10:40], *first, 9)]
    pq.write_table(pa.table({"ref_seq": [ADAPTER5 + apart + ADAPTER3]}), tmp_path / "apart.parquet")

    mixed = script.mix(table(rows), [tmp_path / "apart.parquet"])
    kept = dict(zip(mixed["family"].to_pylist(), mixed["split"].to_pylist(), strict=True))
    # 4 shares 19 bases; 8 trained before and is no tile
    assert [family in kept for family in range(1, 10)] == [
        False,
        True,
        False,
        True,
        False,
        False,
        False,
        True,
        False,
    ]

    def related(one: str, other: str) -> bool:
        strands = (other, other_strand(other))
        return any(one[at : at + 20] in strand for strand in strands for at in range(len(one) - 19))

    named = {family: text for text, _, _, family in rows}
    validating = [named[family] for family, split in kept.items() if split == "valid"]
    assert 5 <= len(validating) <= 40
    some = [family for family, split in kept.items() if split == "train"][::40]
    assert not any(related(named[family], text) for family in some for text in (*validating, tests))


@pytest.mark.shared
def test_no_tile_that_trained_shares_20_bases_with_a_test_row(script: ModuleType, shared: Path) -> None:
    """On the data themselves, by searching text."""
    data = shared / "data"
    names = ("predictions_native", "predictions_drift", "native_variants_measured")
    tables = [data / f"{name}.parquet" for name in names]
    mixed = script.mix(pq.read_table(data / "gpra_yeast.parquet"), [*tables, data / "promoters23.tsv"])
    tiles = mixed.filter(pa.compute.equal(mixed["set"], "native_tile"))
    assert tiles.num_rows > 49_000
    tests = set()
    for path in tables:
        tested = pq.read_table(path)
        for name in {"sequence", "original_seq", "ref_seq", "alt_seq"} & set(tested.column_names):
            tests |= set(tested[name].to_pylist())
    text = "|".join(test[17:-13] for test in tests)
    text += "|" + other_strand(text)
    for oligo in tiles["sequence"].to_pylist()[::4_500]:
        assert not any(oligo[at : at + 20] in text for at in range(17, len(oligo) - 32))


def test_the_ensemble_before_stays_loadable() -> None:
    now, before = (load_members(locate_models([name])) for name in ("bundled", "bundled@1"))
    assert [member.name for member in before] == [f"yeast_complex_seed{seed}" for seed in (1, 3, 4)]
    assert [member.name for member in now] == [f"yeast_complex2_seed{seed}" for seed in (1, 3, 4)]
    for member, start in zip(now, before, strict=True):
        assert member.contract == start.contract
        assert member.training["from"]["sha256"] == start.sha256
        assert "native tiles" in member.training["note"]
