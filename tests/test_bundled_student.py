"""The bundled student: small, of the ensemble that is bundled, as good as the documents say, on every engine."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, example_script

from legscore.distill.labels import windows_of
from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.engine.open_engine import open_engine
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint, load_checkpoint, load_members
from legscore.model.forward import Forward
from legscore.model.model_names import locate_models
from legscore.model.student import sd_networks, student_record
from legscore.system.rank_order import correlation

pytestmark = pytest.mark.usefixtures("few_windows")
ENGINES = [("openvino", "fp32", 1e-4), ("openvino", "bf16", 0.15), ("native", "bf16", 0.15)]
ROWS = 240


@pytest.fixture(scope="module")
def student() -> Checkpoint:
    return load_checkpoint(locate_models(["bundled-student"])[0])


@pytest.fixture(scope="module")
def record(student: Checkpoint) -> dict[str, Any]:
    found = student_record(student)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return example_script("make_student")


def test_it_is_what_its_script_makes(student: Checkpoint, record: dict[str, Any], script: ModuleType) -> None:
    """Of the members that are bundled now, with the script's own settings, and small."""
    members = load_members(locate_models(["bundled"]))
    assert [one["sha256"] for one in record["teacher"]] == [member.sha256 for member in members]
    assert record["from"]["sha256"] in {member.sha256 for member in members}
    assert Path(student.path).stat().st_size <= script.MOST_BYTES
    assert (student.training["steps"], student.training["seed"]) == (script.STEPS, script.SEED)
    assert record["labels"] > script.LABELS
    assert record["cost"] >= script.COST
    assert record["outputs"] == ["mean", "sd"]
    assert record["forced"] is False


def test_the_documents_say_what_the_record_says(record: dict[str, Any]) -> None:
    text = (REPOSITORY / "docs/distilling.md").read_text()
    section = text[text.index("## The bundled student") : text.index("## Limits")]
    checks = {check["name"]: check for check in record["fidelity"]["checks"]}
    lines = {
        "5,520 changes": checks["promoters23_snvs.parquet"],
        "3,788 variants": checks["native_variants_measured.parquet"],
        "19,200 changes": checks["tiles"],
        "2,000 held-out": record["fidelity"],
    }
    for begins, found in lines.items():
        (line,) = re.findall(rf"^\| {begins}[^|]*\|(.*)\|$", section, re.MULTILINE)
        effects, others = found["effects"], {b["what"]: b["effects"]["pearson"] for b in found["baselines"]}
        assert [cell.strip() for cell in line.split("|")] == [
            f"{effects['pearson']:.3f} / {effects['spearman']:.3f} / {effects['slope']:.2f}",
            f"{found['levels']['pearson']:.3f}",
            f"{others['one member']:.3f}",
            f"{others['one member, forward strand']:.3f}",
        ]
    measured = checks["native_variants_measured.parquet"]["measured"]
    for who in ("student", "ensemble"):
        assert f"{measured[who]['pearson']:.3f} / {measured[who]['spearman']:.3f}" in section
    sd = record["fidelity"]["sd"]
    assert (
        f"correlation of {sd['spearman']:.3f} with the members', {sd['beyond_level']:.3f} beyond" in section
    )
    (three,) = [line for line in record["cascade"]["recall"] if line[0] == 0.03]
    assert three[1:] == [1.0, pytest.approx(0.9896, abs=1e-4), 1.0]


@pytest.mark.parametrize(("engine", "precision", "tolerance"), ENGINES)
def test_engines_give_both_heads(student: Checkpoint, engine: str, precision: str, tolerance: float) -> None:
    if engine == "native" and not library_path().is_file():
        pytest.skip("the native library is not built: python setup.py build_cpu")
    rng = np.random.default_rng(5)
    codes = windows_of(rng.integers(0, 4, (6, 80), dtype=np.uint8), student.contract)
    try:
        opened = open_engine([student], Request(engine, precision, both_strands=False))
    except EngineError as error:
        if "bf16" not in str(error):
            raise
        pytest.skip(f"this CPU has no bf16: {error}")
    found = opened.score(Batch(codes), [0, 1])
    opened.close()
    networks = [student, *sd_networks([student])]
    twins = [Forward(one, both_strands=False, is_singleton=False).score(codes) for one in networks]
    np.testing.assert_allclose(found, twins, atol=tolerance)


def changed_promoters(n: int) -> tuple[list[str], list[str]]:
    """References and changes of them, n of the example's."""
    table = pq.read_table(REPOSITORY / "examples/promoter_variants.parquet")
    rows = np.sort(np.random.default_rng(7).choice(len(table), n, replace=False))
    taken = table.select(["sequence", "offset", "alt_base"]).take(rows).to_pylist()
    refs = [row["sequence"] for row in taken]
    return refs, [
        ref[: row["offset"]] + row["alt_base"] + ref[row["offset"] + 1 :]
        for ref, row in zip(refs, taken, strict=True)
    ]


def test_it_agrees_with_the_ensemble(student: Checkpoint) -> None:
    """Effects and levels on changes of well-known promoters, of which it saw no 20 bases."""
    inserts = np.stack([encode_text(text) for pair in changed_promoters(ROWS) for text in pair])
    levels = []
    for members in ([student], load_members(locate_models(["bundled"]))):
        contract = members[0].contract
        opened = open_engine(members, Request("openvino", both_strands=contract.rc_trained))
        levels.append(opened.score(Batch(windows_of(inserts, contract))).mean(axis=0))
        opened.close()
    ours, theirs = levels
    effects = [level[ROWS:] - level[:ROWS] for level in levels]
    assert correlation(ours, theirs) > 0.99
    assert correlation(*effects) > 0.97


def test_the_sd_that_it_tells_ranks_promoters(tmp_path: Path, cli: Any) -> None:
    """`legscore run` gives it without being asked, in score units."""
    texts = changed_promoters(120)[1]
    (tmp_path / "s.csv").write_text("\n".join(["sequence", *texts]) + "\n")
    found = []
    for name in ("bundled-student", "bundled"):
        out = tmp_path / f"{name}.csv"
        ran = cli("run", tmp_path / "s.csv", "-m", name, "-o", out, "--engine", "openvino")
        assert ran.code == 0, ran.err
        found.append(csv.read_csv(out)["score_sd"].to_numpy())
        if name == "bundled-student":
            assert re.search(r"score_sd Spearman 0\.\d{3}", ran.err)
    ours, theirs = (np.argsort(np.argsort(one)) for one in found)
    assert correlation(ours, theirs) > 0.3
    assert 0.6 < np.median(found[0]) / np.median(found[1]) < 1.6


def test_its_intervals_are_found_by_its_name(tmp_path: Path, cli: Any) -> None:
    """As everything else of it: nobody knows where the file lies."""
    pairs = REPOSITORY / "examples/genome/pairs.csv"
    asked = ("run", pairs, "-m", "bundled-student", "--precision", "fp32", "-q", "--calibration")
    for given in ("bundled-student", locate_models(["bundled-student"])[0]):
        ran = cli(*asked, given, "-o", tmp_path / f"{Path(given).suffix}.csv")
        assert ran.code == 0, ran.err
    by_name, by_path = (csv.read_csv(tmp_path / name) for name in (".csv", ".safetensors.csv"))
    assert by_name.equals(by_path)
    assert by_name["effect_low"].null_count < len(by_name)
