"""Learning-rate range test: the rate rises exponentially, step by step, over a share of a pass; where does
the loss fall?

The suggestion is the rate at the steepest fall of the smoothed loss against log rate, a usual `max_lr` for a
one-cycle schedule; half the rate at which the loss starts to grow is an upper bound for it. The published
0.005 came from such a test.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from legscore.errors import LegscoreError
from legscore.system.publish import publishing, writing
from legscore.train.loop import Trainer

SMOOTHING = 0.9
"""Weight of the past in the exponential moving average of the loss."""
DIVERGED = 4.0
"""The test ends when the smoothed loss exceeds its minimum this many times."""
LEAST_STEPS = 100
SLOPE_DECADES = 0.25
RANGE_TEST_FILES = ("lr_find.csv", "lr_find.png")


@dataclass(frozen=True)
class RangeTest:
    """lr, loss and smoothed loss of each step, float64 [steps]; the suggested maximal rate."""

    lr: np.ndarray
    loss: np.ndarray
    smoothed: np.ndarray
    suggestion: float


def range_test(
    trainer: Trainer,
    fraction: float,
    low: float = 1e-6,
    high: float = 1.0,
    progress: Callable[[int, int], object] = lambda step, steps: None,
    stop: Callable[[], bool] = lambda: False,
) -> RangeTest:
    """Run a range test. It changes the trainer's weights, so use a fresh trainer.

    Args:
        trainer: a fresh one, with any schedule (it is not stepped).
        fraction: share of a pass over the samples that the test may use, at least 100 steps.
        low, high: range of rates.
        progress: called with (step, steps).
        stop: asked after every step; ends the test with an error when true.
    """
    steps = max(LEAST_STEPS, int(fraction * trainer.sampler.size / trainer.recipe.batch))
    rates = np.geomspace(low, high, steps)
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    groups = trainer.optimizer.param_groups
    shares = [group["lr"] / groups[0]["lr"] for group in groups]  # a fine-tuned network's parts differ
    for i, rate in enumerate(rates):
        for group, share in zip(groups, shares, strict=True):
            group["lr"] = float(rate) * share
        loss = float(trainer.train_step(scheduled=False))
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        corrected = average / (1 - SMOOTHING ** (i + 1))
        if not np.isfinite(loss) or (i > LEAST_STEPS // 2 and corrected > DIVERGED * min(smoothed)):
            break
        losses.append(loss)
        smoothed.append(corrected)
        progress(i + 1, steps)
        if stop():
            raise LegscoreError(
                f"stopped after {i + 1} of {steps} steps of the range test; nothing was written"
            )
    if len(losses) < 5:
        raise LegscoreError(f"the loss diverged after {len(losses)} steps; is the expression column right?")
    lr, curve = rates[: len(losses)], np.array(smoothed)
    return RangeTest(lr, np.array(losses), curve, steepest(lr, curve))


def steepest(lr: np.ndarray, smoothed: np.ndarray) -> float:
    """Rate at the steepest fall of the loss against log rate, before its minimum.

    The slope at each rate is that of a straight line fitted over a quarter of a decade on either side, so
    that the noise of single steps does not decide.
    """
    x, end = np.log10(lr), int(np.argmin(smoothed)) + 1
    slopes = np.zeros(len(lr))
    first = int(np.searchsorted(x, x[0] + SLOPE_DECADES))  # a line at the very start would fit start-up noise
    for i in range(first, end):
        near = slice(
            np.searchsorted(x, x[i] - SLOPE_DECADES), np.searchsorted(x, x[i] + SLOPE_DECADES, side="right")
        )
        if near.stop - near.start > 2:
            slopes[i] = np.polyfit(x[near], smoothed[near], 1)[0]
    if not slopes.min() < 0:
        raise LegscoreError("the loss never falls in this range of rates; is the expression column right?")
    return float(lr[int(np.argmin(slopes))])


def write_range_test(test: RangeTest, folder: Path) -> tuple[Path, Path]:
    """Write lr_find.csv and lr_find.png into a folder; returns their paths."""
    table, picture = (folder / name for name in RANGE_TEST_FILES)
    with publishing(table) as temporary, writing(table), open(temporary, "w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["lr", "loss", "smoothed_loss"])
        out.writerows(zip(test.lr.tolist(), test.loss.tolist(), test.smoothed.tolist(), strict=True))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise LegscoreError(
            f"{table} is written; its picture needs matplotlib: pip install 'legscore[train]'"
        ) from None
    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(test.lr, test.loss, color="#bbbbbb", linewidth=0.8, label="loss")
    axes.plot(test.lr, test.smoothed, color="#1f4e79", label="smoothed")
    axes.axvline(
        test.suggestion, color="#c0392b", linestyle="--", label=f"suggested maximum {test.suggestion:.2g}"
    )
    inside = test.smoothed[: int(np.argmin(test.smoothed)) + 1]
    axes.set_ylim(inside.min() * 0.8, max(inside.max(), test.loss[0]) * 1.2)
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.10f}".rstrip("0").rstrip("."))
    axes.legend(frameon=False)
    with publishing(picture) as temporary, writing(picture):
        figure.savefig(temporary, format="png")
    return table, picture
