"""What lets a student be an ordinary checkpoint: a window cropped near the insert, one strand, uneven widths."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from conftest import human_contract, random_dna, toy_checkpoint, yeast_contract

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import Contract
from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.engine.open_engine import open_engine
from legscore.errors import ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.forward import Forward
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower

CROPPED = yeast_contract().cropped(80, 8)


def test_a_cropped_window_is_the_middle_of_the_whole_one() -> None:
    whole, dna = yeast_contract(), random_dna(np.random.default_rng(1), 80)
    assert (CROPPED.length, CROPPED.insert_min, CROPPED.insert_max) == (96, 80, 80)
    assert not CROPPED.rc_trained
    assert CROPPED.extras == ()
    end = whole.length - len(whole.flank3)
    assert CROPPED.window(dna) == whole.window(dna)[end - 80 - 8 : end + 8]
    assert Contract.from_json(json.loads(json.dumps(CROPPED.to_json()))) == CROPPED


def test_a_window_is_never_cropped_to_more_than_it_holds() -> None:
    """A long insert leaves less of flank5 in the window; without flanks nothing is left to crop."""
    long = yeast_contract().cropped(135, 8)
    assert (len(long.flank5), len(long.flank3), long.length) == (2, 8, 145)
    assert yeast_contract().cropped(80, 0).length == 80
    assert yeast_contract().in_genome(150).cropped(150, 8).length == 150
    for insert in (0, 138):
        with pytest.raises(ModelError, match=f"inserts of {insert} bases: these models take 1 to 137"):
            yeast_contract().cropped(insert, 8)
    with pytest.raises(ModelError, match="take 200 to 200"):
        human_contract().cropped(80, 8)


@pytest.mark.parametrize("sequence_is", ["insert", "oligo", "window"])
def test_rows_reach_a_cropped_window_in_every_form(sequence_is: str) -> None:
    """Oligos carry both adapters whole, though the window holds only their ends."""
    rng = np.random.default_rng(2)
    inserts = [random_dna(rng, 80) for _ in range(5)]
    texts = {
        "insert": inserts,
        "oligo": [CROPPED.adapter5 + insert + CROPPED.adapter3 for insert in inserts],
        "window": [CROPPED.window(insert) for insert in inserts],
    }[sequence_is]
    windows = Windower(CROPPED, KINDS["sequence"], sequence_is)({"sequence": pa.array(texts)})
    assert (windows.batch.codes_WL == np.stack([encode_text(CROPPED.window(i)) for i in inserts])).all()


def test_a_flank_that_is_not_the_end_of_its_adapter_is_refused() -> None:
    with pytest.raises(ModelError, match="adapter5 must end flank5, and flank5 must end it"):
        replace(CROPPED, flank5="ACGTACGT")
    with pytest.raises(ModelError, match="adapter3 must start flank3, and flank3 must start it"):
        replace(CROPPED, flank3="ACGTACGT")


STUDENTS = {
    "original": {"inner_widths": (20, 12), "widths": (24, 20, 8)},
    "optimised": {
        "widths": (20, 12, 8), "inner_widths": (20, 12), "se": "plain", "se_widths": (4, 3), "filters_per_group": 1,
        "concat_order": "fx,x", "final_activation": "none",
    },
}  # fmt: skip


def student(kind: str) -> Checkpoint:
    """Its head is stretched, so that scores of random inserts differ by more than bf16 rounds."""
    plain = toy_checkpoint(5, CROPPED, **STUDENTS[kind])
    arrays = dict(plain.arrays)
    arrays["head.conv.weight"] = arrays["head.conv.weight"] * 5
    return replace(plain, arrays=arrays)


@pytest.mark.parametrize("kind", STUDENTS)
@pytest.mark.parametrize(
    ("engine", "precision"), [("openvino", "fp32"), ("torch", "fp32"), ("native", "bf16")]
)
def test_every_engine_scores_it_as_published(kind: str, engine: str, precision: str) -> None:
    if engine == "native" and not library_path().is_file():
        pytest.skip("kernels/cpu is not built here: python setup.py build_cpu")
    if engine == "torch":
        pytest.importorskip("torch", reason="the torch engine needs legscore[train]")
    member, rng = student(kind), np.random.default_rng(3)
    codes = np.stack([encode_text(CROPPED.window(random_dna(rng, 80))) for _ in range(40)])
    truth = Forward(member, both_strands=False, is_singleton=False).score(codes)
    opened = open_engine([member], Request(engine, precision, both_strands=False))
    try:
        found = opened.score(Batch(codes))[0]
    finally:
        opened.close()
    assert truth.std() > 0.05
    tolerance = {"fp32": 1e-3, "bf16": 0.05}[precision]
    assert np.abs(found - truth).max() < tolerance
    assert np.corrcoef(found, truth)[0, 1] > 0.97


@pytest.mark.parametrize("kind", STUDENTS)
def test_the_torch_twin_agrees(kind: str) -> None:
    torch = pytest.importorskip("torch", reason="the torch twin needs legscore[train]")
    from legscore.model.legnet import from_checkpoint
    from legscore.train.inputs import encode

    member, rng = student(kind), np.random.default_rng(4)
    codes = np.stack([encode_text(CROPPED.window(random_dna(rng, 80))) for _ in range(10)])
    off = torch.zeros(10, dtype=torch.bool)
    with torch.inference_mode():
        found = from_checkpoint(member)(encode(torch.from_numpy(codes), off, off, CROPPED)).numpy()
    truth = Forward(member, both_strands=False, is_singleton=False).score(codes)
    assert np.abs(found - truth).max() < 1e-3
