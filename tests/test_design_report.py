"""The report on designs: told by their columns, from any table and record, in a folder or one page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import Ran, random_dna

from legscore.design.outputs import agreement, random_summary
from legscore.design.report import error_by_target, is_designs

pytest.importorskip("matplotlib", reason="pictures need legscore[report]")
Cli = Callable[..., Ran]
HOSTILE = "</style><script>document.title='owned'</script>"


def designs(n: int = 40, **more: Any) -> pa.Table:
    rng = np.random.default_rng(1)
    inserts = [random_dna(rng, 80) for _ in range(n)]
    target = np.linspace(6, 15, n).astype(np.float32)
    score = (target + rng.normal(size=n)).astype(np.float32)
    columns: dict[str, Any] = {
        "sequence": ["A" + insert for insert in inserts], "insert": inserts, "target": target, "score": score,
        "score_sd": pa.nulls(n, pa.float32()), "error": score - target, "steps": np.full(n, 100, np.int32), "seed": np.arange(n),
    }  # fmt: skip
    return pa.table(columns | more)


def record(random: np.ndarray) -> dict[str, Any]:
    judge = {
        "models": [{"name": HOSTILE}],
        "engine": {"engine": "openvino", "precision": "fp32"},
        "rc": "construct",
    }
    made = {
        "method": "generator", "generator": {"name": "g", "sha256": "ab" * 32}, "schedule": {"steps": 100, "feed": "soft"},
        "emphasis": 2.5, "target": "6:15", "calls": 1, "rules": {"avoid": ["EcoRI"], "gc": None}, "seed": 1, "min_distance": 3,
        "judge": judge, "random": random_summary(random, 3.25),
    }  # fmt: skip
    return {"legscore": "0.1.0", "design": made}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(2).normal(9, 2, 500).astype(np.float32)
    made = designs(
        check_score=designs()["score"].to_numpy() + 0.5,
        nearest_distance=np.full(40, 44),
        nearest_training=["t<1>"] * 40,
    )
    pq.write_table(
        made.replace_schema_metadata({"legscore": json.dumps(record(random))}), tmp_path / "d.parquet"
    )
    return tmp_path / "d.parquet"


def test_designs_get_a_folder_with_a_page(cli: Cli, table: Path, tmp_path: Path) -> None:
    ran = cli("report", table, "-o", tmp_path / "report" / "new")
    assert ran.code == 0, ran.err
    lines = ran.err.splitlines()
    assert lines[0] == "designs: told by their columns insert, target, score, error, steps, seed"
    assert lines[1].startswith("target and score: Pearson 0.9")
    assert "40 designs" in lines[2]
    folder = tmp_path / "report" / "new"
    assert {path.name for path in folder.iterdir()} == {
        "index.html",
        "hexbin.png",
        "error_by_target.png",
        "diversity.png",
        "report.json",
    }
    page = (folder / "index.html").read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:image/png;base64,)', page)
    assert page.count("data:image/png;base64,") == 3
    for words in (
        "models that took no part",
        "avoid EcoRI; at least 3 substitutions apart",
        "500 random sequences",
        "3.25",
        "t&lt;1&gt;",
    ):
        assert words in page, words
    numbers = json.loads((folder / "report.json").read_text())
    expected = agreement(pq.read_table(table))
    assert numbers["agreement"] == expected | {"random_mae": 3.25}
    assert numbers["nearest_training"]["median"] == 44
    assert sum(row["n"] for row in numbers["by_target"]) == 40


def test_one_page_and_text_tables(cli: Cli, table: Path, tmp_path: Path) -> None:
    """A CSV's record lies beside it; nulls of one model's SD are empty there; without a record the page says
    so."""
    assert cli("report", table, "-o", tmp_path / "one.html").code == 0
    held = pq.read_table(table)
    pyarrow.csv.write_csv(held, tmp_path / "d.csv")
    raw = (held.schema.metadata or {})[b"legscore"]
    (tmp_path / "d.csv.run.json").write_bytes(raw)
    assert cli("report", tmp_path / "d.csv", "-o", tmp_path / "two.html").code == 0
    pages = [(tmp_path / name).read_text().replace("d.csv", "d.parquet") for name in ("one.html", "two.html")]
    assert pages[0] == pages[1]
    (tmp_path / "d.csv.run.json").unlink()
    assert cli("report", tmp_path / "d.csv", "-o", tmp_path / "three.html").code == 0
    page = (tmp_path / "three.html").read_text()
    assert "does not say how its designs were made" in page
    assert "no scores of random sequences" in page


def test_random_sequences_are_kept_as_quantiles() -> None:
    """What the record keeps gives the mean |error| of all random scores within a hundredth."""
    random, table = np.random.default_rng(0).gamma(4, 2, 3000).astype(np.float32), designs()
    kept = np.array(random_summary(random, 0.0)["score_quantiles"])
    for ours, theirs in zip(error_by_target(table, kept), error_by_target(table, random), strict=True):
        assert ours["random_mae"] == pytest.approx(theirs["random_mae"], abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_designs(cli: Cli, tmp_path: Path, n: int) -> None:
    pq.write_table(designs(n), tmp_path / "d.parquet")
    ran = cli("report", tmp_path / "d.parquet", "-o", tmp_path / "r")
    assert ran.code == 0, ran.err
    assert (json.loads((tmp_path / "r" / "report.json").read_text())["agreement"]["pearson"] is None) == (
        n == 1
    )


def test_scores_stay_scores(cli: Cli, table: Path, tmp_path: Path) -> None:
    """Designs with a measured column are scores once --truth says so; a table without the columns is none."""
    pytest.importorskip("matplotlib")
    assert not is_designs(["insert", "target", "score"])
    ran = cli("report", table, "--truth", "target", "-o", tmp_path / "r.html")
    assert ran.code == 0, ran.err
    assert "designs:" not in ran.err
    assert "Measured (" in (tmp_path / "r.html").read_text()


def test_what_cannot_be_shown_is_one_line(cli: Cli, table: Path, tmp_path: Path) -> None:
    def with_column(name: str, values: list[Any]) -> Path:
        made = designs(3)
        pq.write_table(
            made.set_column(made.column_names.index(name), name, pa.array(values)), tmp_path / "bad.parquet"
        )
        return tmp_path / "bad.parquet"

    cases: list[tuple[Callable[[], Path], str, str]] = [
        (lambda: with_column("score", [1.0, None, 2.0]), "r", "column 'score' has rows without a number"),
        (lambda: with_column("target", ["6", "high", "7"]), "r", "column 'target' must hold numbers"),
        (
            lambda: with_column("insert", ["ACGT", "ACGT", "ACG"]),
            "r",
            "row 3: column 'insert' must hold A, C, G, T",
        ),
        (lambda: with_column("insert", ["ACGT", None, "ACGT"]), "r", "row 2: column 'insert'"),
        (lambda: table, "r.png", "name a folder, or a page that ends in .html"),
        (lambda: table, str(table), "is both input and output"),
    ]
    for make, output, message in cases:
        ran = cli("report", make(), "-o", tmp_path / output)
        assert ran.code == 2, ran.err
        assert message in ran.err
        assert len([line for line in ran.err.splitlines() if line.startswith("legscore: ")]) == 1
    assert not (tmp_path / "r").exists()
    pq.write_table(designs(0), tmp_path / "none.parquet")
    ran = cli("report", tmp_path / "none.parquet", "-o", tmp_path / "r")
    assert (ran.code, "has no rows" in ran.err) == (2, True)
