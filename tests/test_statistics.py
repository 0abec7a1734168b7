"""Statistics of `evaluate` against published answers, scipy and slow twins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.evaluate import bootstrap, correlation, dependent
from legscore.evaluate.bootstrap import PairedMetrics, Resampling, p_of_difference, resample, spread
from legscore.evaluate.changes import CHANGE_METRICS, ChangeMetrics, substitutions
from legscore.evaluate.compare import Group, Pair, compare
from legscore.evaluate.ensemble_curve import ensemble_curve, subsets
from legscore.evaluate.noise import noise_of_replicates
from legscore.system import rank_order


def near(found: float, wanted: float, digits: int = 5) -> bool:
    return abs(found - wanted) <= 0.5001 * 10**-digits


# Worked examples: Silver, Hittner & May 2004 (the program DEPCOR's published answer), Zou 2007, with every
# intermediate value


def test_silver_step_by_step() -> None:
    """Swapping r_kh and r_jm, the usual mistake, changes these."""
    test = dependent.silver(r_jk=0.3, r_hm=0.4, r_jh=0.5, r_kh=0.6, r_km=0.7, r_jm=0.8, n=100)
    assert near(math.atanh(0.3), 0.309520)
    assert near(math.atanh(0.4), 0.423649)
    assert near((math.atanh(0.3) + math.atanh(0.4)) / 2, 0.366584)
    products = dependent.silver_products(test.mean, r_jh=0.5, r_jm=0.8, r_kh=0.6, r_km=0.7)
    assert all(map(near, products, (0.141632, 0.265100, 0.091888, 0.196388)))
    assert near(sum(products), 0.695009)
    assert near(2 * (1 - test.mean**2) ** 2, 1.537552)
    assert near(test.mean, 0.351000)
    assert near(test.covariance, 0.452023)
    assert near(math.sqrt(97) * (math.atanh(0.3) - math.atanh(0.4)), -1.124044)
    assert near(math.sqrt(2 - 2 * test.covariance), 1.046878)
    assert near(test.z, -1.073710)
    assert near(test.p, 0.282953)
    assert abs(test.z - -1.3281) > 0.2  # what a widely read manual's misprinted mean gives
    swapped = dependent.silver_products(test.mean, r_jh=0.5, r_jm=0.6, r_kh=0.8, r_km=0.7)
    assert max(abs(a - b) for a, b in zip(products, swapped, strict=True)) > 0.01


def test_silver_second_case() -> None:
    test = dependent.silver(r_jk=0.2, r_hm=0.7, r_jh=0.4, r_jm=0.5, r_kh=0.1, r_km=0.3, n=232)
    assert near(test.z, -7.273657)
    assert test.p == pytest.approx(3.4988e-13, rel=1e-4)
    other = dependent.silver(r_jk=0.2, r_hm=0.7, r_jh=0.4, r_kh=0.5, r_km=0.1, r_jm=0.3, n=232)
    assert other.z == pytest.approx(-7.478, abs=5e-4)


def test_silver_equals_its_other_form() -> None:
    """The covariance written with squares (Steiger 1980)."""
    jk, hm, jh, jm, kh, km = 0.3, 0.4, 0.5, 0.8, 0.6, 0.7
    test = dependent.silver(jk, hm, jh, jm, kh, km, 100)
    r = test.mean
    squares = r * r / 2 * (jh**2 + jm**2 + kh**2 + km**2)
    c = (squares + jh * km + jm * kh - r * (jh * jm + kh * km + jh * kh + jm * km)) / (1 - r * r) ** 2
    assert c == pytest.approx(test.covariance, abs=1e-12)


def test_hittner() -> None:
    test = dependent.hittner(r_jk=0.3, r_jh=0.4, r_kh=0.5, n=100)
    assert test.z == pytest.approx(-1.0715, abs=5e-5)
    assert test.p == pytest.approx(0.2839, abs=5e-5)
    assert near(dependent.hittner(0.5, 0.4, 0.6, 300).z, 2.2179, 4)
    assert dependent.hittner(0.97, 0.96, 0.98, 3978).z == pytest.approx(12.961, abs=5e-4)


def test_zou() -> None:
    four = dependent.zou(r_jk=0.396, r_hm=0.189, r_jh=0.208, r_kh=0.023, r_km=0.423, r_jm=0.143, n=66)
    assert near(four.covariance, 0.08905)
    assert (round(four.low, 3), round(four.high, 3)) == (-0.096, 0.501)
    three = dependent.zou_overlapping(r_jk=0.396, r_jh=0.179, r_kh=0.088, n=66)
    assert (round(three.low, 3), round(three.high, 3)) == (-0.093, 0.517)


def test_p_does_not_vanish_far_out() -> None:
    assert dependent.two_sided(20.0) == pytest.approx(5.5072e-89, rel=1e-4)


@pytest.mark.parametrize(
    ("six", "n", "why"),
    [
        ((1.0, 0.4, 0.5, 0.8, 0.6, 0.7), 100, "r_jk"),
        ((0.3, -1.0, 0.5, 0.8, 0.6, 0.7), 100, "r_hm"),
        ((0.3, 0.4, 0.5, 0.8, 0.6, 0.7), 3, "n is 3"),
        ((0.3, math.nan, 0.5, 0.8, 0.6, 0.7), 100, "r_hm is undefined"),
        ((0.9, 0.9, -0.9, 0.9, 0.9, 0.9), 100, "positive semi-definite"),
        ((0.3, 1.5, 0.5, 0.8, 0.6, 0.7), 100, "outside"),
    ],
)
def test_guards(six: tuple[float, ...], n: int, why: str) -> None:
    for found in (dependent.silver(*six, n), dependent.zou(*six, n)):
        assert why in found.reason
        assert math.isnan(found.z if isinstance(found, dependent.Test) else found.low)
    if why != "r_hm":
        jk, _, jh, _, kh, _ = six
        assert dependent.hittner(jk, jh, kh, n).reason or n > 3


def test_the_same_prediction_twice_has_no_test() -> None:
    test = dependent.hittner(0.5, 0.5, 0.9999999999, 100)
    assert math.isnan(test.z) or abs(test.z) < 1e-6
    assert (
        "determine each other" in dependent.hittner(0.5, 0.5, 1 - 1e-16, 100).reason
        or "|r_kh| is 1" in dependent.hittner(0.5, 0.5, 1.0, 100).reason
    )


def test_silver_and_hittner_hold_their_level() -> None:
    """Where two correlations are equal in truth, z is a standard normal: on 3,000 simulated tables."""
    rng = np.random.default_rng(5)
    zs: dict[str, list[float]] = {"hittner": [], "silver": []}
    for _ in range(3000):
        t = rng.normal(size=60)
        shared = rng.normal(size=60)
        a, b = (t + shared * 0.7 + rng.normal(size=60) for _ in range(2))
        t2 = 0.6 * t + 0.8 * rng.normal(size=60)
        c = t2 + shared * 0.7 + rng.normal(size=60)
        r = np.corrcoef([t, a, b, t2, c])
        zs["hittner"].append(dependent.hittner(r[0, 1], r[0, 2], r[1, 2], 60).z)
        zs["silver"].append(dependent.silver(r[0, 1], r[3, 4], r[0, 3], r[0, 4], r[1, 3], r[1, 4], 60).z)
    for z in zs.values():
        assert 0.93 < np.std(z) < 1.07
        assert 0.035 < np.mean(np.abs(z) > 1.96) < 0.065


# Correlations and ranks


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_ranks_equal_scipy(values: list[int]) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert np.array_equal(rank_order.ranks(np.array(values, float)), stats.rankdata(values))


def test_metrics_equal_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x, y = np.round(rng.normal(size=(2, 300)), 1)
    y = y + x
    assert correlation.pearson(x, y).value == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-13)
    assert correlation.spearman(x, y).value == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-13)
    assert correlation.pearson(x * 1e200, y * 1e-200).value == pytest.approx(
        correlation.pearson(x, y).value, abs=1e-12
    )
    assert correlation.pearson(x + 1e6, y).value == pytest.approx(correlation.pearson(x, y).value, abs=1e-9)
    assert correlation.rmse(x, y).value == pytest.approx(np.sqrt(np.mean((x - y) ** 2)))
    assert correlation.mae(x, y).value == pytest.approx(np.abs(x - y).mean())


@pytest.mark.parametrize("name", correlation.CORRELATIONS)
def test_constant_and_short_columns_have_a_reason(name: str) -> None:
    two = np.array([1.0, 2.0])
    assert correlation.metric(name, two, np.ones(2)).reason == "the prediction is constant"
    assert correlation.metric(name, np.full(2, 0.1), two).reason == "the truth is constant"
    assert "1 rows are too few" in correlation.metric(name, two[:1], two[:1]).reason
    assert math.isnan(correlation.metric(name, two, np.ones(2)).value)


# Bootstrap


def columns(n: int = 60, seed: int = 1, digits: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    return np.round(np.stack([truth, truth + rng.normal(size=n), 0.5 * truth + rng.normal(size=n)]), digits)


PAIRS = [(0, 1), (0, 2)]


@pytest.mark.parametrize("block", [7 * 60, bootstrap.BLOCK])
def test_every_draw_equals_its_slow_twin(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Ranks of a resample are those of scipy on the drawn rows themselves; draws do not depend on blocks."""
    stats = pytest.importorskip("scipy.stats")
    monkeypatch.setattr(bootstrap, "BLOCK", block)
    table = columns()
    found = resample(PairedMetrics(table, PAIRS), 60, Resampling(40, seed=9)).reshape(4, 2, 40)
    drawn = np.random.default_rng(9).integers(0, 60, (40, 60))
    for d, rows in enumerate(drawn):
        for i, (t, p) in enumerate(PAIRS):
            x, y = table[t][rows], table[p][rows]
            twin = (
                stats.pearsonr(x, y)[0],
                stats.spearmanr(x, y)[0],
                np.sqrt(np.mean((x - y) ** 2)),
                np.abs(x - y).mean(),
            )
            assert np.allclose(found[:, i, d], twin, atol=1e-12)


@pytest.mark.parametrize("name", correlation.METRICS)
def test_intervals_equal_scipy_on_the_same_resamples(name: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    table = columns(50, digits=2)

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        return correlation.metric(name, x, y).value

    theirs = stats.bootstrap(
        (table[0], table[1]),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="percentile",
        rng=np.random.default_rng(4),
    )
    mine = resample(PairedMetrics(table, PAIRS), 50, Resampling(300, seed=4))[
        2 * correlation.METRICS.index(name)
    ]
    assert np.allclose(mine, theirs.bootstrap_distribution, atol=1e-12)
    about = spread(mine, 0.95)
    assert (about.low, about.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)
    assert about.sd == pytest.approx(theirs.standard_error, abs=1e-12)


def test_clusters_are_drawn_whole() -> None:
    stats = pytest.importorskip("scipy.stats")
    table = columns(40)
    cluster = np.random.default_rng(2).integers(0, 8, 40)
    found = resample(PairedMetrics(table, PAIRS), 40, Resampling(25, seed=3, cluster_N=cluster)).reshape(
        4, 2, 25
    )
    drawn = np.random.default_rng(3).integers(0, 8, (25, 8))
    for d, clusters in enumerate(drawn):
        rows = np.concatenate([np.flatnonzero(cluster == c) for c in clusters])
        x, y = table[0][rows], table[1][rows]
        assert found[0, 0, d] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
        assert found[1, 0, d] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)


def test_constant_resamples_are_counted_not_hidden() -> None:
    table = np.array([[0.0, 0, 0, 5.0], [1.0, 2, 3, 4]])
    found = resample(PairedMetrics(table, [(0, 1)]), 4, Resampling(400))
    about = spread(found[0], 0.95)
    drawn = np.random.default_rng(0).integers(0, 4, (400, 4))
    constant = [len(set(table[0][rows])) == 1 or len(set(table[1][rows])) == 1 for rows in drawn]
    assert about.undefined == sum(constant) > 50
    assert np.isfinite(found[2:]).all()


def test_p_of_difference() -> None:
    assert p_of_difference(np.array([1.0, 2, 3, 4])) == pytest.approx(2 / 5)
    assert p_of_difference(np.array([-1.0, 2, -3, 4])) == 1.0
    assert math.isnan(p_of_difference(np.array([np.nan])))


# Comparisons


def test_the_test_is_chosen_by_what_is_shared() -> None:
    rng = np.random.default_rng(1)
    t = rng.normal(size=80)
    table = {"t": t, "u": t + rng.normal(size=80), "a": t + rng.normal(size=80), "b": t + rng.normal(size=80)}
    r = {(x, y): float(np.corrcoef(table[x], table[y])[0, 1]) for x, y in itertools.permutations(table, 2)}

    def only(first: Pair, second: Pair) -> tuple[str, str, float, float]:
        group = Group("g", 80)
        compare(group, table, [first, second], None, 0.95)
        found = next(c for c in group.comparisons if c.metric == "pearson")
        return found.method, found.shares, found.z, found.zou_low

    method, shares, z, low = only(Pair("t", "a"), Pair("t", "b"))
    assert (method, shares) == ("Hittner-May-Silver 2003", "t")
    assert z == pytest.approx(dependent.hittner(r["t", "a"], r["t", "b"], r["a", "b"], 80).z)
    assert low == pytest.approx(dependent.zou_overlapping(r["t", "a"], r["t", "b"], r["a", "b"], 80).low)
    method, shares, z, _ = only(Pair("t", "a"), Pair("u", "a"))
    assert (method, shares) == ("Hittner-May-Silver 2003", "a")
    assert z == pytest.approx(dependent.hittner(r["a", "t"], r["a", "u"], r["t", "u"], 80).z)
    method, shares, z, low = only(Pair("t", "a"), Pair("u", "b"))
    assert (method, shares) == ("Silver-Hittner-May 2004", "")
    six = (r["t", "a"], r["u", "b"], r["t", "u"], r["t", "b"], r["a", "u"], r["a", "b"])
    assert z == pytest.approx(dependent.silver(*six, 80).z)
    assert low == pytest.approx(dependent.zou(*six, 80).low)


def test_a_constant_prediction_does_not_end_the_others() -> None:
    rng = np.random.default_rng(1)
    t = rng.normal(size=30)
    table = {"t": t, "a": t + rng.normal(size=30), "flat": np.ones(30), "same": t}
    group = Group("g", 30)
    compare(group, table, [Pair("t", "a"), Pair("t", "flat"), Pair("t", "same")], Resampling(50), 0.95)
    found = {(m.prediction, m.metric): m for m in group.metrics}
    assert math.isnan(found["flat", "pearson"].value)
    assert found["flat", "pearson"].reason == "the prediction is constant"
    assert np.isfinite(found["a", "pearson"].low)
    assert found["same", "pearson"].value == 1.0
    reasons = {(c.first, c.second): c.reason for c in group.comparisons if c.metric == "pearson"}
    assert "undefined" in reasons["a", "flat"]
    assert "Fisher z is infinite" in reasons["a", "same"]


# Effects


def slow_auroc(score: np.ndarray, positive: np.ndarray) -> float:
    pairs = [(p > n) + (p == n) / 2 for p in score[positive] for n in score[~positive]]
    return float(np.mean(pairs))


def slow_average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    total, before = 0.0, 0
    for level in sorted(set(score), reverse=True):
        above = score >= level
        hits = int((above & positive).sum())
        total += (hits - before) * hits / above.sum()
        before = hits
    return total / positive.sum()


def test_change_metrics_equal_slow_twins_in_each_resample() -> None:
    table = columns(50)
    metrics = ChangeMetrics(table[0], table[1:], 0.8)
    found = resample(metrics, 50, Resampling(20, seed=2)).reshape(2, len(CHANGE_METRICS), 20)
    drawn = np.random.default_rng(2).integers(0, 50, (20, 50))
    for d, rows in enumerate(drawn):
        t = table[0][rows]
        for i in (0, 1):
            p = table[1 + i][rows]
            strong = np.abs(t) > 0.8
            agree = np.sign(t) == np.sign(p)
            twin = (
                agree[strong].mean(), agree[t != 0].mean(), slow_auroc(np.abs(p), strong), slow_average_precision(np.abs(p), strong),
                slow_auroc(p, t > 0.8), slow_auroc(-p, t < -0.8),
            )  # fmt: skip
            assert np.allclose(found[i, :, d], twin, atol=1e-12)


def test_change_metrics_without_a_threshold_say_so() -> None:
    values = ChangeMetrics(np.array([1.0, -1, 2]), np.array([[1.0, 1, 1]]), math.nan).reasons(3)
    named = dict(zip(CHANGE_METRICS, values, strict=True))
    assert named["sign_agreement_all"].value == pytest.approx(2 / 3)
    assert math.isnan(named["auroc"].value)
    assert "--replicate" in named["auroc"].reason


def test_noise_of_replicates() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=200_000)
    first, second = (signal + rng.normal(scale=0.5, size=len(signal)) for _ in range(2))
    noise = noise_of_replicates(first, second + 3.0, 1.96)  # a shift is no noise
    assert noise.sd == pytest.approx(0.5 / math.sqrt(2), rel=0.01)
    assert noise.threshold == pytest.approx(1.96 * noise.sd)
    assert noise.replicate_r == pytest.approx(0.8, abs=0.005)
    best = np.corrcoef(signal, (first + second) / 2)[0, 1]  # what a perfect prediction reaches
    assert noise.ceiling == pytest.approx(best, abs=0.003)
    assert noise_of_replicates(first[:2], second[:2], 2.0).reason
    assert "do not correlate" in noise_of_replicates(np.array([1.0, 2, 3]), np.array([3.0, 2, 1]), 2.0).reason


def test_substitutions() -> None:
    found = substitutions(
        ["ACGT", "acgt", None, "ACG", "AAAA", ""], ["ACGA", "ACGT", "A", "ACGT", "CCAC", ""]
    )
    assert np.array_equal(found, [1, 0, np.nan, np.nan, 3, np.nan], equal_nan=True)


# Ensembles


def test_subsets() -> None:
    rng = np.random.default_rng(0)
    assert len(subsets(5, 2, 100, rng)) == 10
    some = subsets(30, 15, 100, rng)
    assert some.shape == (100, 15)
    assert len({tuple(s) for s in some.tolist()}) == 100
    assert all(len(set(s)) == 15 for s in some.tolist())


def test_ensemble_curve() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=200)
    members = truth[:, None] + rng.normal(size=(200, 6))
    points = [p for p in ensemble_curve("g", "t", "p", truth, members) if p.metric == "pearson"]
    assert [p.k for p in points] == [1, 2, 3, 4, 5, 6]
    assert [p.subsets for p in points] == [6, 15, 20, 15, 6, 1]
    assert points[2].first == pytest.approx(np.corrcoef(truth, members[:, :3].mean(axis=1))[0, 1])
    pairs = [
        np.corrcoef(truth, members[:, list(s)].mean(axis=1))[0, 1]
        for s in itertools.combinations(range(6), 2)
    ]
    assert points[1].mean == pytest.approx(np.mean(pairs))
    assert points[1].spread == pytest.approx(np.std(pairs, ddof=1))
    assert math.isnan(points[5].spread)
    assert all(p.exhaustive for p in points)
    assert points[0].mean < points[3].mean < points[5].mean


def test_correlation_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(0).integers(0, 30, 200).astype(float)
    others = values + np.random.default_rng(1).normal(0, 5, 200)
    assert (rank_order.ranks(values) == stats.rankdata(values)).all()
    assert np.isclose(rank_order.correlation(values, others), stats.pearsonr(values, others)[0])
    assert np.isnan(rank_order.correlation(np.ones(5), others[:5]))
