"""Training curves from the metrics that `legscore train` writes beside each member (one JSON object a
line)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legscore.errors import InputError, shorten
from legscore.evaluate.figures.style import COLOURS, check_drawable, new_figure, plain, save
from legscore.system.entries import NUMBER, check_entries
from legscore.system.overwrite import named_twice
from legscore.system.small_files import parse_json

ENDING = ".metrics.jsonl"
NUMBERS = ("step", "loss", "lr", "pearson", "spearman")
"""What is drawn of a record; all but the first two may be null."""


def metric_files(paths: Sequence[str]) -> list[Path]:
    """The named files, and those in named folders. InputError when there is none, or one is named twice."""
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        inside = sorted(path.rglob(f"*{ENDING}")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path} holds no *{ENDING}; legscore train writes one beside each member")
        found += inside
    if twice := named_twice(found):
        raise InputError(f"{twice} is named twice: its lines would be drawn twice; name it once")
    return found


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records in the order of steps; where a resumed training wrote a step again, the later record counts.

    Raises:
        InputError: a line other than the last, which a killed training may have left half written, is no
            record of a training.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _record(line, f"{path} line {number}")
        except InputError:
            if number == len(lines):
                break
            raise
        while records and records[-1]["step"] >= record["step"]:
            records.pop()
        records.append(record)
    if not records:
        raise InputError(f"{path} holds no record of a training")
    return records


def _record(line: bytes, where: str) -> dict[str, Any]:
    """One line of metrics. InputError when it is none."""
    try:
        record = parse_json(line)
    except ValueError as error:
        raise InputError(f"{where} is no record of a training ({error})") from None
    check_entries(record, dict.fromkeys(NUMBERS, NUMBER), where)
    if not isinstance(record, dict) or any(record.get(name) is None for name in ("step", "loss")):
        raise InputError(f"{where} is no record of a training: it has no step and loss")
    check_drawable([record[name] for name in NUMBERS if record.get(name) is not None], where)
    return record


def named(files: Sequence[Path]) -> dict[str, Path]:
    """Names for people → files: the member's, with the folders before it where members share a name."""
    names = [path.name.removesuffix(ENDING) for path in files]
    for depth in range(1, max(len(path.parts) for path in files)):
        counts = Counter(names)
        for at, path in enumerate(files):
            if counts[names[at]] > 1:
                names[at] = "/".join((*path.parts[-1 - depth : -1], path.name.removesuffix(ENDING)))
    return dict(zip(names, files, strict=True))


def draw_training(paths: Sequence[str], picture: str) -> list[str]:
    """Loss, validation correlations and learning rate against steps, a line for each member; returns lines to
    say."""
    runs = {name: read_metrics(path) for name, path in named(metric_files(paths)).items()}
    figure = new_figure(9.0, 2.8)
    loss, quality, rate = figure.subplots(1, 3)
    for i, (name, records) in enumerate(runs.items()):
        colour, steps = COLOURS[i % len(COLOURS)], [r["step"] for r in records]
        loss.plot(steps, [r["loss"] for r in records], color=colour, linewidth=1, label=plain(name))
        rate.plot(steps, [_value(r, "lr") for r in records], color=colour, linewidth=1)
        judged = [r for r in records if r.get("pearson") is not None]
        for metric, form in (("pearson", "o-"), ("spearman", "s--")):
            label = f"{metric.capitalize()} {plain(name)}" if len(runs) < 4 else None
            quality.plot(
                [r["step"] for r in judged],
                [_value(r, metric) for r in judged],
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


def _value(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    return math.nan if value is None else float(value)
