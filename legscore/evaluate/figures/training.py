"""Training curves from the metrics that `legscore train` writes beside each member (one JSON object a
line)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legscore.errors import InputError, shorten
from legscore.evaluate.figures.style import COLOURS, new_figure, plain, save

ENDING = ".metrics.jsonl"


def metric_files(paths: Sequence[str]) -> list[Path]:
    """The named files, and those in named folders. InputError when there is none."""
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        inside = sorted(path.rglob(f"*{ENDING}")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path} holds no *{ENDING}; legscore train writes one beside each member")
        found += inside
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records in the order of steps; where a resumed training wrote a step again, the later record counts."""
    records: dict[int, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            step = int(record["step"])
            float(record["loss"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue  # a killed training may have left half a line
            raise InputError(
                f"{path} line {number} is no record of a training ({type(error).__name__}: {error})"
            ) from None
        records = {known: r for known, r in records.items() if known < step}
        records[step] = record
    if not records:
        raise InputError(f"{path} holds no record of a training")
    return list(records.values())


def draw_training(paths: Sequence[str], picture: str) -> list[str]:
    """Loss, validation correlations and learning rate against steps, a line for each member; returns lines to
    say."""
    runs = {path.name.removesuffix(ENDING): read_metrics(path) for path in metric_files(paths)}
    figure = new_figure(9.0, 2.8)
    loss, quality, rate = figure.subplots(1, 3)
    for i, (name, records) in enumerate(runs.items()):
        colour, steps = COLOURS[i % len(COLOURS)], [r["step"] for r in records]
        loss.plot(steps, [r["loss"] for r in records], color=colour, linewidth=1, label=plain(name))
        rate.plot(steps, [r.get("lr", float("nan")) for r in records], color=colour, linewidth=1)
        judged = [r for r in records if r.get("pearson") is not None]
        for metric, form in (("pearson", "o-"), ("spearman", "s--")):
            label = f"{metric.capitalize()} {plain(name)}" if len(runs) < 4 else None
            quality.plot(
                [r["step"] for r in judged],
                [r[metric] for r in judged],
                form,
                color=colour,
                markersize=3,
                lw=1,
                label=label,
            )
    loss.set(xlabel="step", ylabel="training loss", title="Loss")
    quality.set(
        xlabel="step", ylabel="validation correlation", title="Validation (circles Pearson, squares Spearman)"
    )
    rate.set(xlabel="step", ylabel="learning rate", title="Learning rate")
    if len(runs) <= 8:
        loss.legend(fontsize=7)
    save(figure, picture)
    return [f"{picture}: {len(runs)} trainings ({shorten(list(runs))})"]
