"""Violins of predictions: what is drawn in which order, and whose test the stars come from."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import Ran, one_line

from legscore.errors import InputError
from legscore.evaluate.compare import Group
from legscore.evaluate.evaluation import evaluate
from legscore.evaluate.figures.violins import holm, stars, violin_panel
from legscore.evaluate.options import EvaluationOptions

pytest.importorskip("matplotlib", reason="pictures need legscore[report]")

Cli = Callable[..., Ran]
ROWS = 120


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Measured values, three predictions of falling quality and a copy of the best, two media, 12 families."""
    rng = np.random.default_rng(3)
    truth = rng.normal(8, 3, ROWS)
    family = np.repeat(rng.normal(0, 2, ROWS // 10), 10)
    good = truth + rng.normal(0, 1, ROWS)
    pl.DataFrame({
        "measured": truth, "poor": truth + family + rng.normal(0, 2, ROWS), "good": good, "twin": good,
        "fair": truth + rng.normal(0, 1.3, ROWS), "medium": ["complex", "defined"] * (ROWS // 2),
        "family": np.repeat(np.arange(ROWS // 10), 10),
    }).write_parquet(tmp_path / "t.parquet")  # fmt: skip
    return tmp_path / "t.parquet"


def group_of(table: Path, predictions: list[str], **options: object) -> Group:
    wanted = EvaluationOptions([str(table)], ["measured"], predictions, bootstrap=400, **options)  # type: ignore[arg-type]
    return evaluate(wanted).groups[0]


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_stars_come_from_the_test_for_dependent_correlations(table: Path, metric: str) -> None:
    group = group_of(table, ["poor", "good", "fair"])
    panel = violin_panel(group, metric, "all")
    assert list(panel.draws) == ["good", "fair", "poor"]  # best first
    assert panel.test == "Hittner-May-Silver 2003"
    by = {frozenset((c.first, c.second)): c for c in group.comparisons if c.metric == metric}
    for pair, p in panel.tests.items():
        assert p == by[frozenset(pair)].p
        assert p != by[frozenset(pair)].boot_p
    assert list(panel.tests) == [("good", "fair"), ("fair", "poor")]


def test_clusters_are_compared_by_their_bootstrap(table: Path) -> None:
    group = group_of(table, ["good", "poor"], cluster="family")
    panel = violin_panel(group, "pearson", "all")
    assert panel.test == "bootstrap of 12 clusters"
    assert panel.tests["good", "poor"] == group.comparisons[0].boot_p


def test_only_named_predictions_are_drawn_under_their_names(table: Path) -> None:
    group = group_of(table, ["poor", "good", "fair"])
    panel = violin_panel(group, "pearson", "all", {"poor": "Poor", "good": "Good", "absent": "Absent"})
    assert list(panel.draws) == ["Good", "Poor"]
    assert list(panel.tests) == [("Good", "Poor")]
    with pytest.raises(InputError, match="violins compare predictions, and 1 of them has a value"):
        violin_panel(group, "pearson", "all", {"poor": "Poor"})


def test_holm_leaves_out_what_has_no_p() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    corrected = holm([0.02, math.nan, 0.01])
    assert corrected[0] == 0.02
    assert math.isnan(corrected[1])
    assert corrected[2] == 0.02
    assert [stars(p) for p in (0.001, 0.01, 0.05, 0.051, math.nan)] == ["***", "**", "*", "n.s.", "–"]


def test_command(cli: Cli, table: Path, tmp_path: Path) -> None:
    given = ("plot", "violins", table, "--truth", "measured", "--prediction", "good", "--bootstrap", 200)
    ran = cli(*given, "--prediction", "poor", "--by", "medium", "-o", tmp_path / "v.svg")
    assert ran.code == 0, ran.err
    assert ran.err == f"{tmp_path / 'v.svg'}: medium=complex 60 rows, medium=defined 60 rows\n"
    text = (tmp_path / "v.svg").read_text()
    for part in (
        "Pearson r",
        "Spearman ρ",
        "medium=complex",
        "n = 60",
        "Hittner-May-Silver 2003",
        "***",
    ):
        assert part in text, part
    ran = cli(*given, "--prediction", "twin", "--metric", "pearson", "-o", tmp_path / "v.pdf")
    assert ran.code == 0, ran.err
    assert (tmp_path / "v.pdf").read_bytes()[:4] == b"%PDF"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "violins compare predictions: give --prediction twice or more"),
        (("--prediction", "nope"), "t.parquet has no such column"),
        (("--prediction", "poor", "--metric", "rmse"), "'rmse' is not one of 'pearson', 'spearman'"),
        (("--prediction", "poor", "--bootstrap", 10), "10 is not in the range x>=100"),
        (("--prediction", "poor", "--where", "medium"), "--where medium: write COLUMN=VALUE"),
    ],
)
def test_wrong_words(cli: Cli, table: Path, tmp_path: Path, words: tuple[object, ...], message: str) -> None:
    ran = cli(
        "plot",
        "violins",
        table,
        "--truth",
        "measured",
        "--prediction",
        "good",
        *words,
        "-o",
        tmp_path / "v.png",
    )
    one_line(ran, message)
    assert not (tmp_path / "v.png").exists()


def test_outputs_are_not_written_over(cli: Cli, table: Path, tmp_path: Path) -> None:
    (tmp_path / "v.png").write_text("mine")
    given = ("plot", "violins", table, "--truth", "measured", "--prediction", "good", "--prediction", "poor")
    ran = cli(*given, "-o", tmp_path / "v.png")
    assert ran.code == 2
    assert (tmp_path / "v.png").read_text() == "mine"
    ran = cli(*given, "-o", tmp_path / "v.gif")
    assert ran.code == 2
    assert "pictures are .png, .svg, .pdf" in ran.err
