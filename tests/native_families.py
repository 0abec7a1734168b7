"""Networks of every kind that the native engine covers, small, and how tests score with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from conftest import human_contract, toy_checkpoint, yeast_contract

from legscore.dna.batch import Batch
from legscore.dna.contract import Output
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import FORMS, library_path, missing_form
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import Checkpoint

BF16, FP32 = load_recipe("bf16"), load_recipe("fp32")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRAINED = ("original/yeast_complex_original", "models/yeast_complex2_seed1")
NOT_BUILT = "kernels/cpu is not built here: python setup.py build_cpu"


def families() -> dict[str, Checkpoint]:
    """Small networks of every covered kind."""
    forty = yeast_contract(output=Output("bins", "bin", 0.0, 39.0, 4.0))
    human = human_contract()
    return {
        "original": toy_checkpoint(1),
        "optimised": toy_checkpoint(
            2, concat_order="fx,x", se="plain", filters_per_group=1, final_activation="none"
        ),
        "add": toy_checkpoint(3, residual="add"),
        "no residual, no gate": toy_checkpoint(4, residual="none", se="none"),
        "four per group, uneven widths": toy_checkpoint(
            5, filters_per_group=4, widths=(40, 33, 70), inner_widths=(72, 136)
        ),
        "wide kernels, 40 bins": toy_checkpoint(6, forty, kernel=11, stem_kernel=9, outputs=40),
        "kernel 1": toy_checkpoint(7, kernel=1, stem_kernel=1),
        "kernel 3": toy_checkpoint(8, kernel=3, stem_kernel=11),
        "one block": toy_checkpoint(9, widths=(24, 24), inner_widths=(48,), pools=(1,)),
        "human, pooled": toy_checkpoint(10, human, pools=(2, 2), se="plain", filters_per_group=1),
        "human, SiLU": toy_checkpoint(11, human, pools=(3, 1), kernel=9, final_activation="silu"),
        "N is zero": toy_checkpoint(12, yeast_contract(n_value=0.0)),
        "other alphabet": toy_checkpoint(
            13, yeast_contract(alphabet="ACGT", channels=(*"ACGT", "is_reverse"))
        ),
    }


def overflowing_at_poly_a(run: int = 7) -> tuple[Checkpoint, np.ndarray]:
    """A network that `run` (odd) times A drives beyond FP16, and nothing less; and codes uint8 [40, 150] of whose
    forward strands that of window 17 has them."""
    member = toy_checkpoint(1, stem_kernel=run)
    weight = member.arrays["stem.conv.weight"]
    weight[:4] = 0.0
    weight[:4, 0] = 1.0  # counts of A among `run`
    member.arrays["stem.norm.running_mean"][:4] = run - 0.5  # only all of them are above
    member.arrays["stem.norm.weight"][:4], member.arrays["stem.norm.running_var"][:4] = 1.0, 1e-9
    member.arrays["stem.norm.bias"][:4] = 0.0
    member.arrays["blocks.0.expand.conv.weight"] *= 100.0
    codes = np.random.default_rng(0).integers(1, 4, (40, 150), dtype=np.uint8)
    codes[17, 40:60] = 0
    return member, codes


FAMILIES = families()
HERE = [form for form in FORMS if library_path().is_file() and not missing_form(form)]


def engine(members: Checkpoint | list[Checkpoint], **options: Any) -> NativeEngine:
    options.setdefault("both_strands", True)
    return NativeEngine(members if isinstance(members, list) else [members], BF16, **options)


def scores(member: Checkpoint, batch: Batch, **options: Any) -> np.ndarray:
    opened_engine = engine(member, **options)
    try:
        return opened_engine.score(batch)
    finally:
        opened_engine.close()
