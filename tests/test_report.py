"""The page and the figures: what they hold, and what a real browser makes of the page."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from conftest import Ran, random_dna
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.evaluate.report.collect import density, histogram
from legscore.evaluate.report.order import in_order
from legscore.evaluate.report.page import as_json
from legscore.evaluate.saturation import Place, read_saturation

pytest.importorskip("matplotlib", reason="figures need legscore[report]")
Cli = Callable[..., Ran]
HOSTILE = "</script><img src=x onerror=document.title='owned'>"
GENES = ("GAL1", HOSTILE, "<b>TDH3</b>")
LENGTH = 20


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three promoters saturated, one with a name that would run a script, on two chromosomes, with a truth
    and a failed row."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for g, gene in enumerate(GENES):
        sequence = random_dna(rng, LENGTH)
        for at, base in enumerate(sequence):
            for alt in "ACGT".replace(base, ""):
                effect = float(rng.normal()) * (1 + 2 * (at == 7))
                rows.append(
                    {
                        "variant_id": f"{g}:{at}:{alt}",
                        "gene": gene,
                        "chrom": "X" if g else "II",
                        "pos": 1000 * (g + 1) + at,
                        "ref": base,
                        "alt": alt,
                        "offset": at,
                        "alt_base": alt,
                        "strand": "+",
                        "ref_score": 8.0 + g,
                        "alt_score": 8.0 + g + effect,
                        "effect": effect,
                        "effect_sd": abs(float(rng.normal())),
                        "measured": effect + float(rng.normal()),
                        "status": "ok",
                    }
                )
    rows.append({**dict.fromkeys(rows[0]), "variant_id": "edge", "gene": "GAL1", "status": "edge"})
    record = {
        "legscore": "0.1.0", "models": [{"name": HOSTILE, "sha256": "ab" * 32}], "engine": {"engine": "openvino", "precision": "bf16"},
        "fidelity": {"reference": "openvino fp32", "score_rmse": 0.01}, "options": {"kind": "edit", "rc": "construct"},
        "contract": {"output": {"unit": "bin", "floor": 8.0}},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("report") / "scores.parquet"
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({"legscore": json.dumps(record)}), path)
    return path


def embedded(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    held: dict[str, Any] = json.loads(found[1])
    return held


def test_page_holds_everything_and_no_markup(cli: Cli, scores: Path, tmp_path: Path) -> None:
    ran = cli("report", scores, "--truth", "measured", "-o", tmp_path / "r.html")
    assert ran.code == 0, ran.err
    assert "3 of 3 as heat maps" in ran.err
    page = (tmp_path / "r.html").read_text()
    assert "<img src=x" not in page
    assert page.count("</script>") == 3
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    assert not re.search(
        r"<(?:script|link|img|iframe)[^>]*(?:src|href)=",
        page.replace(re.findall(r"<script>(.*?)</script>", page, re.S)[0], ""),
    )
    data = embedded(page)
    assert data["rows"] == 181
    assert dict(data["status"]) == {"ok": 180, "edge": 1}
    assert sum(data["histograms"]["effect"]["counts"]) == 180
    assert sorted(data["truth"]["raster"]["points"]["row"]) == list(range(1, 181))
    assert data["heat"]["titles"] == list(GENES)
    assert data["floor"]["level"] == 8.0
    assert data["floor"]["weak_rows"] == 60
    assert data["track"]["names"] == ["II", "X"]
    assert len(data["top"]["rows"]) == 180
    facts = dict(data["facts"])
    assert HOSTILE in facts["model 1"]
    assert "score rmse 0.01" in facts["fidelity"]


def test_a_small_page_is_small(cli: Cli, tmp_path: Path) -> None:
    """The library is in the page once and packed, with its licence."""
    from plotly.offline import get_plotlyjs

    pq.write_table(pa.table({"id": ["a"] * 60, "score": np.arange(60.0)}), tmp_path / "s.parquet")
    assert cli("report", tmp_path / "s.parquet", "-o", tmp_path / "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert len(page) < 2_500_000
    packed = re.search(r'<script type="application/gzip" id="library">(.*?)</script>', page, re.S)
    assert packed
    text = gzip.decompress(base64.b64decode(packed[1]))
    assert text == get_plotlyjs().encode()
    assert b"MIT license" in text[:300]


def test_largest_first_and_every_row_counted(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=5000)
    pq.write_table(pa.table({"id": [f"s{i}" for i in range(5000)], "score": values}), tmp_path / "s.parquet")
    assert cli("report", tmp_path / "s.parquet", "-o", tmp_path / "r.html").code == 0
    data = embedded((tmp_path / "r.html").read_text())
    rows = [row[0] - 1 for row in data["top"]["rows"]]
    assert rows == np.argsort(-np.abs(values), kind="stable")[:1000].tolist()
    assert data["top"]["of"] == 5000
    assert data["heat"] is None
    assert data["track"] is None
    assert "does not say which models" in dict(data["facts"])["record"]


def test_packed_numbers_come_back(cli: Cli, scores: Path, tmp_path: Path) -> None:
    cli("report", scores, "-o", tmp_path / "r.html")
    heat = embedded((tmp_path / "r.html").read_text())["heat"]
    whole = np.frombuffer(base64.b64decode(heat["effect"]["data"]), "<i2").astype(float)
    values = np.where(whole == -32768, np.nan, whole * heat["effect"]["step"]).reshape(len(GENES), LENGTH, 4)
    found = read_saturation(str(scores))
    for i in range(len(GENES)):
        tile = found.tile(i)
        assert np.allclose(values[i].T, tile.effect_BL, atol=heat["effect"]["step"], equal_nan=True)
        assert heat["sequence"][i * LENGTH : (i + 1) * LENGTH] == tile.sequence


def test_saturation_reads_the_sequence_back(scores: Path) -> None:
    table = pq.read_table(scores).slice(0, 180)
    found = read_saturation(str(scores))
    for i, gene in enumerate(GENES):
        rows = [row for row in table.to_pylist() if row["gene"] == gene]
        tile = found.tile(i)
        assert tile.sequence == "".join(rows[3 * at]["ref"] for at in range(LENGTH))
        for row in rows:
            assert tile.effect_BL["ACGT".index(row["alt_base"]), row["offset"]] == pytest.approx(
                row["effect"], abs=1e-6
            )
        assert tile.importance[7] == pytest.approx(
            -np.mean([row["effect"] for row in rows if row["offset"] == 7]), abs=1e-6
        )


@settings(deadline=None)
@given(
    st.recursive(
        st.text() | st.none() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_no_text_leaves_the_data_block(held: Any) -> None:
    """Whatever a name holds, the block stays one block and comes back as it was."""
    text = as_json(held)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == held


def test_scores_from_text_files(cli: Cli, scores: Path, tmp_path: Path) -> None:
    from pyarrow import csv

    csv.write_csv(pq.read_table(scores), tmp_path / "s.csv")
    assert cli("report", scores, "--truth", "measured", "-o", tmp_path / "a.html").code == 0
    ran = cli("report", tmp_path / "s.csv", "--truth", "measured", "-o", tmp_path / "b.html")
    assert ran.code == 0, ran.err
    one, other = (embedded((tmp_path / name).read_text()) for name in ("a.html", "b.html"))
    assert other["heat"]["sequence"] == one["heat"]["sequence"]
    assert other["histograms"]["effect"]["counts"] == one["histograms"]["effect"]["counts"]
    assert {k: other["track"][k] for k in ("width", "names", "rows", "bin")} == {
        k: one["track"][k] for k in ("width", "names", "rows", "bin")
    }


def test_positions_of_text_files_sort_as_numbers(cli: Cli, scores: Path, tmp_path: Path) -> None:
    from pyarrow import csv

    csv.write_csv(pq.read_table(scores), tmp_path / "s.csv")
    assert cli("report", tmp_path / "s.csv", "-o", tmp_path / "r.html").code == 0
    top = embedded((tmp_path / "r.html").read_text())["top"]
    for name in ("pos", "offset"):
        at = [c["name"] for c in top["columns"]].index(name)
        assert top["columns"][at]["number"]
        assert all(isinstance(row[at], int) for row in top["rows"])


def test_the_table_shows_what_it_has(cli: Cli, scores: Path, tmp_path: Path) -> None:
    """Columns without a value are left out, and the measured value stands beside the effect."""
    table = pq.read_table(scores)
    empty = table.append_column("gene_name", pa.nulls(len(table), pa.string()))
    pq.write_table(empty, tmp_path / "s.parquet")
    assert cli("report", tmp_path / "s.parquet", "--truth", "measured", "-o", tmp_path / "r.html").code == 0
    names = [c["name"] for c in embedded((tmp_path / "r.html").read_text())["top"]["columns"]]
    assert "gene_name" not in names
    assert names[names.index("effect") + 1] == "measured"


def test_few_rows_are_points_and_many_are_counted() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=2000), rng.normal(size=2000)
    x[7] = np.nan
    few = density(x, y)
    assert few is not None
    assert "counts" not in few
    assert few["points"]["row"] == [row for row in range(1, 2001) if row != 8]
    assert np.allclose(few["points"]["y"], np.delete(y, 7), rtol=1e-5)
    many = density(rng.normal(size=2001), rng.normal(size=2001))
    assert many is not None
    assert "points" not in many
    assert sum(map(sum, many["counts"])) == 2001


def test_few_rows_get_wide_bars() -> None:
    rng = np.random.default_rng(0)
    for n, bins in ((10, 10), (400, 40), (100_000, 80)):
        found = histogram(rng.normal(size=n))
        assert found is not None
        assert (len(found["counts"]), sum(found["counts"])) == (bins, n)


@pytest.mark.parametrize("as_text", [False, True], ids=["numbers", "text"])
def test_tiles_know_their_place(tmp_path: Path, as_text: bool) -> None:
    """`pos` runs up on the plus strand and down on the minus strand; a table without one place has none."""
    rows = [
        {"id": name, "chrom": "II", "pos": first + step * at, "offset": at, "alt_base": base, "effect": 0.5}
        for name, first, step in (("up", 1001, 1), ("down", 5000, -1), ("odd", 7000, 2))
        for at in range(12)
        for base in "CGT"
    ]
    table = pa.Table.from_pylist(rows)
    if as_text:
        table = table.set_column(2, "pos", table["pos"].cast(pa.string()))
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_saturation(str(tmp_path / "t.parquet"))
    assert [tile.place for tile in map(found.tile, range(3))] == [
        Place("II", 1001, 1),
        Place("II", 5000, -1),
        None,
    ]
    pq.write_table(table.drop_columns(["chrom"]), tmp_path / "t.parquet")
    assert read_saturation(str(tmp_path / "t.parquet")).tile(0).place is None


def test_figures_say_positions_and_counts_in_plain_numbers(cli: Cli, scores: Path, tmp_path: Path) -> None:
    def texts(path: Path) -> list[str]:
        return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text())

    assert cli("plot", "ism", scores, "--promoter", "GAL1", "-o", tmp_path / "i.svg").code == 0
    assert {"1,000", "1,010"} <= set(texts(tmp_path / "i.svg"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000)
    table = pa.table({"measured": x, "score": x + rng.normal(size=len(x))})
    for rows, shown in ((300, set()), (50_000, {"1", "10", "100"})):
        pq.write_table(table.slice(0, rows), tmp_path / "m.parquet")
        options = ("--truth", "measured", "--prediction", "score", "--force", "-o", tmp_path / "m.svg")
        assert cli("plot", "scatter", tmp_path / "m.parquet", *options).code == 0
        assert shown <= set(texts(tmp_path / "m.svg"))
        assert ("rows" in texts(tmp_path / "m.svg")) == bool(shown)
        assert not any("mathdefault" in text or "10^" in text for text in texts(tmp_path / "m.svg"))


def test_chromosomes_in_order() -> None:
    assert in_order(["X", "IX", "II", "IV", "XVI", "Mito"]) == ["II", "IV", "IX", "X", "XVI", "Mito"]
    assert in_order(["chrX", "chr10", "chr2", "chrM"]) == ["chr2", "chr10", "chrM", "chrX"]


def bad(ran: Ran, *words: str) -> None:
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    for word in words:
        assert word in ran.err, ran.err


def test_bad_input(cli: Cli, scores: Path, tmp_path: Path) -> None:
    bad(cli("report", scores, "-o", tmp_path / "r.pdf"), "name it .html")
    bad(
        cli("report", scores, "-o", tmp_path / "r.html", "--truth", "mesured"),
        "--truth mesured",
        'did you mean "measured"',
    )
    bad(cli("report", scores, "-o", tmp_path / "r.html", "--truth", "gene"), "which is no number")
    pq.write_table(pa.table({"scor": [1.0]}), tmp_path / "n.parquet")
    bad(
        cli("report", tmp_path / "n.parquet", "-o", tmp_path / "r.html"),
        "neither effect nor score",
        'did you mean "scor"',
    )
    pq.write_table(pa.table({"score": pa.nulls(2, pa.float32())}), tmp_path / "n.parquet")
    bad(cli("report", tmp_path / "n.parquet", "-o", tmp_path / "r.html"), "no row has a value")
    assert not (tmp_path / "r.html").exists()
    bad(
        cli("plot", "ism", scores, "--promoter", "GAL2", "-o", tmp_path / "i.png"),
        "no such gene",
        'did you mean "GAL1"',
    )
    bad(
        cli("plot", "ism", tmp_path / "n.parquet", "--promoter", "GAL2", "-o", tmp_path / "i.png"),
        "no saturated promoters",
        "offset",
    )
    bad(cli("plot", "ism", scores, "--promoter", "GAL1", "-o", tmp_path / "i.gif"), ".png, .svg, .pdf")
    bad(
        cli(
            "plot",
            "scatter",
            scores,
            "--truth",
            "measured",
            "--prediction",
            "efect",
            "-o",
            tmp_path / "i.png",
        ),
        'did you mean "effect"',
    )
    bad(cli("plot", "ensemble-curve", scores, "-o", tmp_path / "i.png"), "is not JSON")
    (tmp_path / "empty.json").write_text("{}")
    bad(cli("plot", "ensemble-curve", tmp_path / "empty.json", "-o", tmp_path / "i.png"), "no ensemble curve")
    bad(cli("plot", "training", tmp_path, "-o", tmp_path / "i.png"), "metrics.jsonl")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_do_not_change_by_themselves(cli: Cli, scores: Path, tmp_path: Path, kind: str) -> None:
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind]
    for name in ("a", "b"):
        assert cli("plot", "ism", scores, "--promoter", "GAL1", "-o", tmp_path / f"{name}.{kind}").code == 0
    assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / f"a.{kind}").read_bytes().startswith(start)
    if kind == "svg":
        assert "GAL1" in (tmp_path / "a.svg").read_text()


def test_hostile_names_in_figures(cli: Cli, scores: Path, tmp_path: Path) -> None:
    assert cli("plot", "ism", scores, "--promoter", HOSTILE, "-o", tmp_path / "h.svg").code == 0
    assert "<img" not in (tmp_path / "h.svg").read_text()


def test_training_figure(cli: Cli, tmp_path: Path) -> None:
    lines = [
        {
            "step": s,
            "loss": 2 / s,
            "lr": 0.001,
            "samples_per_s": 1.0,
            "data_wait": 0.0,
            "pearson": s / 100 if s % 20 == 0 else None,
            "spearman": s / 110 if s % 20 == 0 else None,
        }
        for s in range(10, 101, 10)
    ]
    text = "".join(json.dumps(line) + "\n" for line in [*lines[:6], *lines[4:]])  # resumed: two steps again
    (tmp_path / "seed1.metrics.jsonl").write_text(text + '{"step": 110, "lo')  # killed while writing
    ran = cli("plot", "training", tmp_path, "-o", tmp_path / "t.svg")
    assert ran.code == 0, ran.err
    assert "1 trainings (seed1)" in ran.err
    from legscore.evaluate.figures.training import read_metrics

    assert [r["step"] for r in read_metrics(tmp_path / "seed1.metrics.jsonl")] == list(range(10, 101, 10))
    (tmp_path / "bad.metrics.jsonl").write_text('{"loss": 1}\n{"step": 1, "loss": 1}\n')
    bad(
        cli("plot", "training", tmp_path / "bad.metrics.jsonl", "-o", tmp_path / "t.png"),
        "line 1",
        "no record",
    )


# In a real browser


def open_page(browser: Any, url: str) -> None:
    """Go there and wait until the page says that it has drawn everything."""
    browser.get(url)
    ready, end = "return document.documentElement.dataset.ready", time.monotonic() + 60
    while browser.execute_script(ready) != "yes":
        assert time.monotonic() < end, "the page was not ready within a minute"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium without a network."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser")
    chromium = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip(
            "there is no Chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1200,900",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(browser: Any, scores: Path) -> Any:
    from legscore.evaluate.report.page import write_report

    target = scores.with_name("page.html")
    write_report(str(scores), str(target), "measured")
    open_page(browser, target.as_uri())
    return browser


def column(page: Any, name: str) -> list[str]:
    """Texts of a column of the table that is shown."""
    script = """const t = document.querySelector('#variants'), k = [...t.tHead.rows[0].cells].findIndex(c => c.textContent.split(' ')[0] === arguments[0]);
    return [...t.tBodies[0].rows].map(r => r.cells[k].textContent)"""
    found: list[str] = page.execute_script(script, name)
    return found


def test_it_loads_without_an_error_or_a_request(page: Any) -> None:
    assert page.execute_script("return document.documentElement.dataset.ready") == "yes"
    assert page.get_log("browser") == []
    assert page.title == "legscore report: scores.parquet"  # no name ran
    assert page.execute_script("return document.querySelectorAll('img').length") == 0
    asked = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = {a["params"]["request"]["url"] for a in asked if a["method"] == "Network.requestWillBeSent"}
    assert all(url.startswith(("file:", "data:", "blob:")) for url in urls)
    assert page.execute_script("return document.querySelectorAll('.js-plotly-plot').length") >= 7
    refused = "return fetch('https://example.org/').then(() => 'went out', () => 'refused')"
    assert page.execute_script(refused) == "refused"
    page.get_log("browser")  # the refusal just asked for


def test_sorting(page: Any) -> None:
    sizes = [abs(float(v)) for v in column(page, "effect")]
    assert sizes == sorted(sizes, reverse=True)
    heading = page.execute_script(
        "return [...document.querySelectorAll('#variants th button')].find(b => b.textContent.startsWith('effect'))"
    )
    for ascending in (False, True):
        heading.click()
        values = [float(v) for v in column(page, "effect")]
        assert values == sorted(values, reverse=not ascending)
    names = page.execute_script(
        "return [...document.querySelectorAll('#variants th button')].find(b => b.textContent.startsWith('gene'))"
    )
    names.click()
    assert column(page, "gene") == sorted(column(page, "gene"))


def test_filtering(page: Any) -> None:
    box = page.find_element("id", "filter")
    box.send_keys("gal1 T")
    assert set(column(page, "gene")) == {"GAL1"}
    assert page.find_element("id", "count").text.endswith(f"of {len(column(page, 'gene'))}")
    box.clear()
    box.send_keys("onerror")
    assert set(column(page, "gene")) == {HOSTILE}  # a name, as text
    box.send_keys("nothing has this")
    assert column(page, "gene") == []
    box.clear()
    box.send_keys(" ")
    assert len(column(page, "gene")) == 50


def test_the_picker_changes_the_heat_map(page: Any, scores: Path) -> None:
    found = read_saturation(str(scores))
    heat = "return document.querySelector('#heat .js-plotly-plot').data[1].z"
    for i in (2, 0, 1):
        page.execute_script(
            "const s = document.getElementById('picker'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            str(i),
        )
        shown = np.array([[np.nan if v is None else v for v in row] for row in page.execute_script(heat)])
        assert np.allclose(shown, found.tile(i).effect_BL, atol=1e-3, equal_nan=True)
        assert page.execute_script("return document.querySelector('#heat .caption').textContent") == GENES[i]
    page.find_element("id", "find").send_keys("TDH3")
    assert page.execute_script(
        "return [...document.getElementById('picker').options].map(o => o.textContent)"
    ) == [GENES[2]]
    shown = np.array([[np.nan if v is None else v for v in row] for row in page.execute_script(heat)])
    assert np.allclose(shown, found.tile(2).effect_BL, atol=1e-3, equal_nan=True)


def test_the_track_zooms(page: Any) -> None:
    bars = "return document.querySelector('#track .js-plotly-plot').data[0].x.length"
    before = page.execute_script(bars)
    page.execute_script(
        "const s = document.getElementById('chromosome'); s.value = '0'; s.dispatchEvent(new Event('change'))"
    )
    page.execute_async_script(
        "const done = arguments[0]; Plotly.relayout(document.querySelector('#track .js-plotly-plot'), {'xaxis.range[0]': 995, 'xaxis.range[1]': 1025}).then(() => setTimeout(done, 200))"
    )
    assert before < page.execute_script(bars) == LENGTH  # every position by itself


def test_a_chromosome_is_shown_as_far_as_it_has_rows(page: Any) -> None:
    pick = "const s = document.querySelector('#chromosome'); s.value = arguments[0]; s.dispatchEvent(new Event('change'));"
    shown = "return document.querySelector('#genome')._fullLayout.xaxis.range"
    page.execute_script(pick, "0")
    low, high = page.execute_script(shown)
    assert 900 < low < 1000 < 1020 < high < 1100
    page.execute_script(pick, "-1")
    assert page.execute_script(shown)[0] == 0


def test_one_chromosome_has_positions_on_its_axis(page: Any, scores: Path, tmp_path: Path) -> None:
    from legscore.evaluate.report.page import write_report

    table = pq.read_table(scores)
    pq.write_table(table.filter(pc.field("chrom") == "X"), tmp_path / "one.parquet")
    write_report(str(tmp_path / "one.parquet"), str(tmp_path / "one.html"))
    before = page.current_url
    open_page(page, (tmp_path / "one.html").as_uri())
    titles = "return [...document.querySelectorAll('#chromosome option')].map(o => o.textContent)"
    assert page.execute_script(titles) == ["X"]
    axis = "const a = document.querySelector('#genome')._fullLayout.xaxis; return [a.title.text, a.range[0] > 1900, a._vals.length > 1]"
    assert page.execute_script(axis) == ["X, position", True, True]
    open_page(page, before)


def test_measured_against_predicted_has_one_scale(page: Any) -> None:
    sizes = """const f = document.querySelector('#truth .js-plotly-plot')._fullLayout;
    return [f.xaxis, f.yaxis].map(a => a._length / Math.abs(a.range[1] - a.range[0]))"""
    across, up = page.execute_script(sizes)
    assert across == pytest.approx(up, rel=0.01)


def test_a_browser_that_cannot_unpack_says_so(page: Any) -> None:
    """Browsers before 2023 have no DecompressionStream: the page says what it needs, and is not empty."""
    before = page.current_url
    script = page.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        page.get(before)
        text, end = "return document.getElementById('page').textContent", time.monotonic() + 60
        while not (said := page.execute_script(text)):
            assert time.monotonic() < end, "the page stayed empty for a minute"
            time.sleep(0.05)
        assert "needs a browser of 2023 or later" in said
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
        open_page(page, before)
        page.get_log("browser")


def test_no_button_sends_anything(page: Any) -> None:
    """Plotly's buttons only draw and save: none offers to share the chart with a service."""
    titles = page.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => b.getAttribute('data-title'))"
    )
    assert "Download plot as a PNG" in titles
    assert not any("share" in title.lower() or "cloud" in title.lower() for title in titles)


def test_the_heat_map_says_positions(page: Any) -> None:
    axis = "return document.querySelector('#heat .js-plotly-plot').layout.xaxis"
    page.execute_script(
        "const s = document.getElementById('picker'); document.getElementById('find').value = ''; "
        "document.getElementById('find').dispatchEvent(new Event('input')); s.value = '0'; "
        "s.dispatchEvent(new Event('change'))"
    )
    shown = page.execute_script(axis)
    assert shown["title"]["text"] == "II, position"
    assert "<br>1,000" in shown["ticktext"][0]
    assert shown["ticktext"][1] in "ACGT"


def test_on_a_phone_nothing_is_wider_than_the_screen(page: Any) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        open_page(page, page.current_url)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        wide = """return [...document.querySelectorAll('section, h1, .js-plotly-plot, .bar > *')]
            .filter(n => n.getBoundingClientRect().right > 391).map(n => n.id || n.className || n.tagName)"""
        assert page.execute_script(wide) == []
        assert page.execute_script("return document.querySelector('h1').getBoundingClientRect().width") > 250
        marks = "return document.querySelector('#heat .js-plotly-plot').layout.xaxis.ticktext.length"
        assert 1 <= page.execute_script(marks) <= LENGTH
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        open_page(page, page.current_url)


def test_light_and_dark(page: Any) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    seen = set()
    for _ in range(2):
        page.find_element("id", "theme").click()
        seen.add(page.execute_script(colour))
        scheme = "const root = document.documentElement; return [getComputedStyle(root).colorScheme, root.dataset.theme]"
        # scrollbars and lists of choices follow the button, not only the system
        bars, theme = page.execute_script(scheme)
        assert bars == theme
    assert seen == {"rgb(255, 255, 255)", "rgb(15, 20, 25)"}
    assert page.get_log("browser") == []
