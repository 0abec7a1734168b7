"""Do two correlations of the same rows differ? Tests that know that they depend on each other.

`silver` is for correlations without a shared variable (Silver, Hittner & May 2004, Journal of Experimental
Education 73, 53-71, doi:10.3200/JEXE.71.1.53-70), `hittner` for two that share one (Hittner, May & Silver
2003, Journal of General Psychology 130, 149-168): Fisher's z with the covariance taken at the
back-transformed mean of both (Dunn & Clark 1969). `zou` gives intervals for the difference (Zou 2007,
Psychological Methods 12, 399-413, doi:10.1037/1082-989X.12.4.399). All assume independent rows and normal
variables; for rank correlations they are approximations.

Names: r_jk and r_hm are compared; j and h are truths, k and m predictions. A shared variable is j, and r_jk
and r_jh are compared. r̄ is tanh of the mean z: a widely read manual prints another formula, which does not
depend on the data. What is undefined (|r| = 1, n ≤ 3, an impossible set of correlations) is NaN with a
reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NORMAL_975 = 1.959963984540054
SLACK = 1e-9
"""How far below 0 rounding may take the smallest eigenvalue of a correlation matrix."""


@dataclass(frozen=True)
class Test:
    """A comparison of two correlations.

    Attributes:
        z, p: statistic and two-sided p; NaN where undefined.
        mean: r̄. covariance: c, of the two Fisher z's times n - 3.
        reason: why z is NaN.
    """

    method: str
    z: float
    p: float
    mean: float = math.nan
    covariance: float = math.nan
    reason: str = ""


@dataclass(frozen=True)
class Interval:
    """Limits of a difference of correlations, and the correlation c between them."""

    low: float
    high: float
    covariance: float = math.nan
    reason: str = ""


def two_sided(z: float) -> float:
    """2 (1 - Φ|z|) by erfc, which does not vanish beyond |z| = 8.3."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def silver(r_jk: float, r_hm: float, r_jh: float, r_jm: float, r_kh: float, r_km: float, n: int) -> Test:
    """Silver, Hittner & May 2004: r_jk against r_hm, four different variables measured on the same n rows."""
    method = "Silver-Hittner-May 2004"
    names = {"r_jk": r_jk, "r_hm": r_hm, "r_jh": r_jh, "r_jm": r_jm, "r_kh": r_kh, "r_km": r_km}
    if reason := _unfit(names, n, ("j", "k", "h", "m")):
        return Test(method, math.nan, math.nan, reason=reason)
    r = math.tanh((math.atanh(r_jk) + math.atanh(r_hm)) / 2)
    products = silver_products(r, r_jh, r_jm, r_kh, r_km)
    return _test(method, r_jk, r_hm, r, sum(products) / (2 * (1 - r * r) ** 2), n)


def silver_products(
    r: float, r_jh: float, r_jm: float, r_kh: float, r_km: float
) -> tuple[float, float, float, float]:
    """The four products whose sum, over 2 (1 - r̄²)², is c."""
    return (
        (r_jh - r * r_kh) * (r_km - r_kh * r),
        (r_jm - r_jh * r) * (r_kh - r * r_jh),
        (r_jh - r_jm * r) * (r_km - r * r_jm),
        (r_jm - r * r_km) * (r_kh - r_km * r),
    )


def hittner(r_jk: float, r_jh: float, r_kh: float, n: int) -> Test:
    """Hittner, May & Silver 2003: r_jk against r_jh, which share j."""
    method = "Hittner-May-Silver 2003"
    if reason := _unfit({"r_jk": r_jk, "r_jh": r_jh, "r_kh": r_kh}, n, ("j", "k", "h")):
        return Test(method, math.nan, math.nan, reason=reason)
    r = math.tanh((math.atanh(r_jk) + math.atanh(r_jh)) / 2)
    c = (r_kh * (1 - 2 * r * r) - r * r / 2 * (1 - 2 * r * r - r_kh * r_kh)) / (1 - r * r) ** 2
    return _test(method, r_jk, r_jh, r, c, n)


def _test(method: str, first: float, second: float, r: float, c: float, n: int) -> Test:
    if 1 - c <= 0:
        same = "; the two predictions are the same" if first == second else ""
        return Test(
            method,
            math.nan,
            math.nan,
            r,
            c,
            f"the two correlations determine each other (1 - c = {1 - c:.3g}){same}",
        )
    z = math.sqrt(n - 3) * (math.atanh(first) - math.atanh(second)) / math.sqrt(2 - 2 * c)
    return Test(method, z, two_sided(z), r, c)


def zou(
    r_jk: float,
    r_hm: float,
    r_jh: float,
    r_jm: float,
    r_kh: float,
    r_km: float,
    n: int,
    normal: float = NORMAL_975,
) -> Interval:
    """Zou 2007 interval for r_jk - r_hm, four different variables; `normal` is the quantile (1.96 for 95
    %)."""
    names = {"r_jk": r_jk, "r_hm": r_hm, "r_jh": r_jh, "r_jm": r_jm, "r_kh": r_kh, "r_km": r_km}
    if reason := _unfit(names, n, ("j", "k", "h", "m")):
        return Interval(math.nan, math.nan, reason=reason)
    squares = r_jh**2 + r_jm**2 + r_kh**2 + r_km**2
    triples = r_jk * r_jh * r_jm + r_jk * r_kh * r_km + r_jh * r_kh * r_hm + r_jm * r_km * r_hm
    c = (r_jk * r_hm * squares / 2 + r_jh * r_km + r_jm * r_kh - triples) / ((1 - r_jk**2) * (1 - r_hm**2))
    return _limits(r_jk, r_hm, c, n, normal)


def zou_overlapping(r_jk: float, r_jh: float, r_kh: float, n: int, normal: float = NORMAL_975) -> Interval:
    """Zou 2007 interval for r_jk - r_jh, which share j."""
    if reason := _unfit({"r_jk": r_jk, "r_jh": r_jh, "r_kh": r_kh}, n, ("j", "k", "h")):
        return Interval(math.nan, math.nan, reason=reason)
    above = (r_kh - r_jk * r_jh / 2) * (1 - r_jk**2 - r_jh**2 - r_kh**2) + r_kh**3
    return _limits(r_jk, r_jh, above / ((1 - r_jk**2) * (1 - r_jh**2)), n, normal)


def _limits(first: float, second: float, c: float, n: int, normal: float) -> Interval:
    half = normal / math.sqrt(n - 3)
    l1, u1, l2, u2 = (math.tanh(math.atanh(r) + side * half) for r in (first, second) for side in (-1, 1))
    below = (first - l1) ** 2 + (u2 - second) ** 2 - 2 * c * (first - l1) * (u2 - second)
    above = (u1 - first) ** 2 + (second - l2) ** 2 - 2 * c * (u1 - first) * (second - l2)
    if below < 0 or above < 0:
        return Interval(math.nan, math.nan, c, f"the two correlations determine each other (c = {c:.3g})")
    return Interval(first - second - math.sqrt(below), first - second + math.sqrt(above), c)


def _unfit(r: dict[str, float], n: int, variables: tuple[str, ...]) -> str:
    """Why these correlations cannot be compared, or an empty text."""
    if n <= 3:
        return f"n is {n}; at least 4 rows are needed"
    for name, value in r.items():
        if math.isnan(value):
            return f"{name} is undefined"
        if abs(value) > 1:
            return f"{name} is {value:g}, outside -1..1"
        if abs(value) == 1:
            return f"|{name}| is 1: its Fisher z is infinite"
    matrix = np.eye(len(variables))
    for i, one in enumerate(variables):
        for k, other in enumerate(variables[:i]):
            matrix[i, k] = matrix[k, i] = r.get(f"r_{other}{one}", r.get(f"r_{one}{other}", math.nan))
    if np.linalg.eigvalsh(matrix)[0] < -SLACK:
        return "no data have these correlations (their matrix is not positive semi-definite)"
    return ""
