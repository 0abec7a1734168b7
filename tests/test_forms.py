"""Forms of the graph on CPUs: the convolution in phases against the sum it stands for, forms against each
other and against the published code, and which form a CPU gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from conftest import PUBLISHED, human_contract, random_batch, random_dna, toy_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.engine import forms
from legscore.engine.choose import Request
from legscore.engine.doctor import examine
from legscore.engine.open_engine import open_engine
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import load_checkpoint
from legscore.model.graph import build_graph
from legscore.model.graph_builder import Builder, to_model
from legscore.model.phases import PhasedLowering

FP32 = load_recipe("fp32")
BUNDLED = Path(__file__).resolve().parent.parent / "examples/models/yeast_complex2_seed1.safetensors"


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def twin(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """SiLU of the convolution that keeps the length, as a sum over taps (float64)."""
    taps, length = weight.shape[2], x.shape[2]
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (taps // 2, taps // 2)))
    y = sum(np.einsum("oi,nil->nol", weight[:, :, k], wide[:, :, k : k + length]) for k in range(taps))
    return np.asarray(silu(y + bias[:, None]))


@settings(max_examples=40, deadline=None)
@given(
    taps=st.sampled_from([3, 5, 7, 9]),
    length=st.integers(1, 24),
    channels=st.integers(1, 9),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_wide_convolution_in_phases_is_the_convolution(
    taps: int, length: int, channels: int, outputs: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(outputs, channels, taps)), rng.normal(size=outputs)
    x = rng.normal(size=(3, channels, length)).astype(np.float32)
    builder = Builder(rank=4)
    lowering = PhasedLowering(toy_checkpoint(), "rewritten", builder)
    lowering.folded = lambda at: (weight, bias)  # type: ignore[method-assign]
    y = builder.leave(lowering.mix(builder.enter("x"), "mix", length))
    model = to_model(builder, y, ["N", channels, length], ["N", outputs, length])
    assert any(node.kind == "AveragePool" for node in model.nodes) == (length % 2 == 0)
    core = openvino.Core()
    ours = core.compile_model(core.read_model(model.to_bytes()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        [x]
    )[0]
    expected = twin(x, weight, bias)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"residual": "add"},
        {"residual": "none", "se": "none"},
        {"kernel": 1},
        {"kernel": 7, "pools": (2, 1), "concat_order": "fx,x"},  # 150 and 75 positions
        {"pools": (3, 2), "widths": (16, 8, 8), "final_activation": "none"},
    ],
    ids=str,
)
def test_phases_equal_the_rewritten_form(changes: dict[str, Any]) -> None:
    member, batch = toy_checkpoint(3, **changes), random_batch(20, 17)
    scores = {}
    for form in ("rewritten", "phases"):
        engine = OpenVINOEngine([member], FP32, both_strands=True, form=form)
        assert engine.describe()["form"] == form
        scores[form] = engine.score(batch)
        engine.close()
    assert np.ptp(scores["rewritten"]) > 1e-3  # a hundred times what is let pass
    assert np.abs(scores["phases"] - scores["rewritten"]).max() < 1e-5


def test_phases_equal_the_rewritten_form_of_real_networks() -> None:
    for member, length in (
        (load_checkpoint(BUNDLED), 150),
        (toy_checkpoint(1, human_contract(), pools=(2, 2)), 230),
    ):
        batch = random_batch(12, 0, length)
        engines = [
            OpenVINOEngine([member], FP32, both_strands=True, form=form) for form in ("rewritten", "phases")
        ]
        ours, theirs = (engine.score(batch) for engine in engines)
        assert np.abs(ours - theirs).max() < 1e-5
        for n in (1, 7):  # neither neighbours nor the tail matter
            assert (engines[1].score(Batch(batch.codes_WL[:n])) == theirs[:, :n]).all()
        for engine in engines:
            engine.close()


@pytest.mark.parametrize("form", list(forms.FORMS))
def test_every_form_gives_the_published_scores(shared: Path, form: str) -> None:
    pytest.importorskip("torch", reason="importing needs legscore[train]")
    from legscore.model.importers import import_checkpoint

    for file, options in PUBLISHED.items():
        vectors = np.load(shared / "reference" / f"{file.split('.')[0]}_io.npz")
        member = import_checkpoint(shared / "reference" / file, **options)
        codes = np.stack([encode_text(str(sequence)) for sequence in vectors["sequence"]])
        engine = OpenVINOEngine([member], FP32, both_strands=True, form=form)
        assert np.abs(engine.score(Batch(codes))[0] - vectors["score_rc_averaged"]).max() < 1e-4
        engine.close()


def test_phases_are_of_rank_4_and_rewritten() -> None:
    member = toy_checkpoint()
    for form, rank in (("plain", 4), ("rewritten", 3)):
        with pytest.raises(ValueError, match="rank 4"):
            build_graph(member, form, rank, lowering=PhasedLowering)


@pytest.mark.parametrize(
    ("kernel", "precision", "form"),
    [
        ("brgconv_avx2_1x1_f32", "fp32", "phases"),
        ("brgconv_avx512_core_1x1_f32", "fp32", "rewritten"),
        ("acl_f32", "fp32", "rewritten"),
        ("", "fp32", "rewritten"),
        ("brgconv_avx2_1x1_f32", "bf16", "rewritten"),
    ],
)
def test_form_goes_by_the_kernels(
    kernel: str, precision: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "convolution", lambda core, settings: kernel)
    chosen, why = forms.choose_form(openvino.Core(), precision)
    assert chosen == form
    assert (kernel if precision == "fp32" else "bf16") in why


def test_form_of_an_openvino_without_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forms.SETTINGS, "phases", {"NO_SUCH_SETTING": "1"})
    chosen, why = forms.choose_form(openvino.Core(), "fp32")
    assert (chosen, "lacks the setting" in why) == ("rewritten", True)

    def refused(core: Any, settings: Any) -> str:
        raise RuntimeError("no memory")

    monkeypatch.setattr(forms, "convolution", refused)
    with pytest.raises(RuntimeError, match="no memory"):
        forms.choose_form(openvino.Core(), "fp32")


def test_the_form_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "conv" in forms.convolution(openvino.Core(), {})
    for kernel, told in (
        ("brgconv_avx2_f32", ["form: phases (convolutions run as brgconv_avx2_f32)"]),
        ("other", []),
    ):
        monkeypatch.setattr(forms, "convolution", lambda core, settings, kernel=kernel: kernel)
        said: list[str] = []
        engine = open_engine([toy_checkpoint()], Request("openvino", "fp32"), said.append)
        assert [line for line in said if line.startswith("form")] == told
        assert isinstance(engine, OpenVINOEngine)
        assert engine.describe()["form"] == ("phases" if told else "rewritten")
        engine.close()
        assert forms.choose_form(openvino.Core(), "fp32")[0] in examine()["has"]["FP32 networks"]


def test_verify_holds_phases_against_the_rewritten_form(
    tmp_path: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forms, "convolution", lambda core, settings: "brgconv_avx2_f32")
    rows = "\n".join(random_dna(np.random.default_rng(i), 80) for i in range(40))
    (tmp_path / "a.tsv").write_text(f"sequence\n{rows}\n")
    options = ("--engine", "openvino", "--precision", "fp32", "--verify", "1")
    ran = cli("run", tmp_path / "a.tsv", "-m", toy_model, "-o", tmp_path / "o.parquet", *options)
    assert ran.code == 0, ran.err
    assert "form: phases" in ran.err
    record = json.loads((tmp_path / "o.parquet.run.json").read_text())
    assert record["engine"]["form"] == "phases"
    assert record["verify"]["windows"] == 40
    assert 0 < record["verify"]["max_error"] < 1e-4
