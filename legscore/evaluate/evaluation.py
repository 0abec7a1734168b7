"""Compute everything that `legscore evaluate` shows, from its options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from legscore.errors import InputError, shorten
from legscore.evaluate.bootstrap import Resampling
from legscore.evaluate.changes import substitutions
from legscore.evaluate.classes import ClassScore, class_scores, read_weights
from legscore.evaluate.compare import Group, Pair, compare
from legscore.evaluate.ensemble_curve import Point, ensemble_curve
from legscore.evaluate.figures.scatter import Panel
from legscore.evaluate.noise import Noise, noise_asked_for, not_their_mean
from legscore.evaluate.options import EvaluationOptions
from legscore.evaluate.tables import Selection, Tables
from legscore.evaluate.values import lists, numbers
from legscore.rows.schema import ALIASES
from legscore.system.log import Say

WHOLE = "all"
SUBSTITUTIONS = "substitutions"
OPPOSITE = -0.3
"""A Pearson below this suggests that one side is ref − alt."""
LONG = 1_000_000_000
"""Drawn rows from which a bootstrap takes minutes."""


@dataclass
class Evaluation:
    """All results of an evaluation."""

    pairs: list[Pair]
    selection: Selection
    resampling: str
    groups: list[Group] = field(default_factory=list)
    noise: dict[str, Noise] = field(default_factory=dict)
    curve: list[Point] = field(default_factory=list)
    classes: list[ClassScore] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def panels(options: EvaluationOptions) -> tuple[list[Panel], str]:
    """A scatter panel for each pair, on rows that have its values, and what to say of the rows."""
    pairs = pairs_of(options.truths, options.predictions)
    tables = Tables(options.paths, options.keys)
    names = {pair.truth: "--truth" for pair in pairs} | {pair.prediction: "--prediction" for pair in pairs}
    selection = tables.select(names, options.where)
    columns = {name: numbers(selection.frame[name], option, name) for name, option in names.items()}
    found = []
    for pair in pairs:
        x, y = columns[pair.truth], columns[pair.prediction]
        both = np.isfinite(x) & np.isfinite(y)
        if not both.any():
            raise InputError(f"no row has both {pair.truth} and {pair.prediction}")
        found.append(Panel(pair.prediction, pair.truth, pair.prediction, x[both], y[both]))
    return found, f"{selection.summary()}; with both values: " + ", ".join(
        f"{p.title} {len(p.x_N):,}" for p in found
    )


def pairs_of(truths: Sequence[str], predictions: Sequence[str]) -> list[Pair]:
    """Truths and predictions in order; one truth serves all."""
    if not truths or not predictions:
        raise InputError("give --truth and --prediction, each with the name of a column")
    if len(truths) not in (1, len(predictions)):
        raise InputError(
            f"{len(truths)} --truth for {len(predictions)} --prediction: give one for all, or one for each "
            "in order"
        )
    each = list(truths) if len(truths) > 1 else list(truths) * len(predictions)
    pairs = [Pair(*names) for names in zip(each, predictions, strict=True)]
    if twice := [pair for pair in pairs if pairs.count(pair) > 1]:
        raise InputError(f"--prediction {twice[0].prediction} was given twice")
    if same := [pair for pair in pairs if pair.truth == pair.prediction]:
        raise InputError(f"--prediction {same[0].prediction} is the truth itself")
    return pairs


def evaluate(options: EvaluationOptions, say: Say = lambda line: None) -> Evaluation:
    """Read, select, compute. InputError for anything wrong with files, columns or values; `say` hears of long
    work."""
    pairs = pairs_of(options.truths, options.predictions)
    tables = Tables(options.paths, options.keys)
    names = {pair.truth: "--truth" for pair in pairs} | {pair.prediction: "--prediction" for pair in pairs}
    names |= dict.fromkeys(options.by, "--by")
    names |= dict.fromkeys(options.replicates, "--replicate")
    if options.cluster:
        names[options.cluster] = "--cluster"
    if options.class_column:
        names[options.class_column] = "--class"
    members = _member_columns(pairs, tables) if options.curve else {}
    names |= dict.fromkeys(members.values(), "--ensemble-curve")
    counted = _substitution_columns(options, tables)
    names |= dict.fromkeys(counted, "--substitutions")
    selection = tables.select(names, options.where, list(members.values()))
    columns = {
        name: numbers(selection.frame[name], names[name], name)
        for name in dict.fromkeys(
            [*(p.truth for p in pairs), *(p.prediction for p in pairs), *options.replicates]
        )
    }
    frame = selection.frame.with_columns(
        pl.Series(f"#value {name}", values) for name, values in columns.items()
    )
    by = list(options.by)
    if counted:
        frame = frame.with_columns(_counted(frame, counted))
        by.append(SUBSTITUTIONS)
    selection.frame = frame
    noise = noise_asked_for(options, pairs, columns)
    what = f"clusters ({options.cluster})" if options.cluster else "rows"
    drawn = (
        f"{options.bootstrap:,} resamples of {what}, seed {options.seed}"
        if options.bootstrap
        else "no bootstrap"
    )
    result = Evaluation(pairs, selection, drawn, noise=noise)
    result.notes += not_their_mean(options, pairs[0].truth, columns, noise)
    _drop_truthless(selection, pairs, options.cluster)
    parts = _split(selection, by) if by else []
    # one group of all rows says it all
    if not by or (counted and len(parts[0][1] if parts else ()) != len(selection.frame)):
        parts.insert(0, (WHOLE, selection.frame))
    for name, part in parts:
        if len(part) * options.bootstrap > LONG:
            say(
                f"{name}: {options.bootstrap:,} resamples of {len(part):,} rows take minutes; --bootstrap "
                "1000 may be enough"
            )
        if group := _group(name, part, pairs, options, noise, members, result):
            result.groups.append(group)
    if not result.groups:
        raise InputError(f"no rows are left to evaluate: {'; '.join(result.notes) or selection.summary()}")
    if options.class_weights:
        result.classes = _classes(options, pairs, selection)
    return result


def _member_columns(pairs: list[Pair], tables: Tables) -> dict[str, str]:
    """Prediction → column of its members' values, for predictions that have one."""
    found = {
        p.prediction: f"{p.prediction}_per_model" for p in pairs if tables.has(f"{p.prediction}_per_model")
    }
    if not found:
        wanted = shorten([f"{p.prediction}_per_model" for p in pairs])
        raise InputError(f"--ensemble-curve: no file has {wanted}; legscore run --per-model writes it")
    return found


def _substitution_columns(options: EvaluationOptions, tables: Tables) -> list[str]:
    """The column that counts substitutions, or the two sequences to count them in; none outside variant
    mode."""
    if not options.variant:
        return []
    if options.substitutions:
        return [options.substitutions]
    for name in ("n_mut", SUBSTITUTIONS):
        if tables.has(name):
            return [name]
    both = [
        next((a for a in ALIASES[role] if tables.has(a)), None) for role in ("ref_sequence", "alt_sequence")
    ]
    return [name for name in both if name] if all(both) else []


def _counted(frame: pl.DataFrame, columns: list[str]) -> pl.Series:
    if len(columns) == 1:
        values = numbers(frame[columns[0]], "--substitutions", columns[0])
    else:
        values = substitutions(*(frame[c].cast(pl.String).to_list() for c in columns))
    return pl.Series(SUBSTITUTIONS, values, nan_to_null=True)


def _drop_truthless(selection: Selection, pairs: list[Pair], cluster: str | None) -> None:
    for name in dict.fromkeys(pair.truth for pair in pairs):
        values = selection.frame[f"#value {name}"]
        selection.drop(~values.is_nan(), f"{name} missing")
        selection.drop(selection.frame[f"#value {name}"].is_finite(), f"{name} infinite")
    if cluster:
        selection.drop(selection.frame[cluster].is_not_null(), f"{cluster} missing")
    selection.require_rows()


def _split(selection: Selection, by: list[str]) -> list[tuple[str, pl.DataFrame]]:
    """Rows by the values of columns, ordered; rows without a value are counted out."""
    known = selection.frame.select(pl.all_horizontal(pl.col(by).is_not_null())).to_series()
    frame = selection.frame
    if not known.all() and by != [SUBSTITUTIONS]:
        selection.drop(known, f"{' or '.join(by)} missing")
        frame = selection.frame
    parts = []
    for values, part in sorted(
        frame.filter(pl.all_horizontal(pl.col(by).is_not_null())).group_by(by, maintain_order=True)
    ):
        parts.append((", ".join(f"{c}={_plain(v)}" for c, v in zip(by, values, strict=True)), part))
    if len(parts) > 1000:
        raise InputError(
            f"--by {', '.join(by)} makes {len(parts):,} groups; 1,000 are the most. Is it a column of "
            "classes?"
        )
    return parts


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _group(
    name: str,
    part: pl.DataFrame,
    pairs: list[Pair],
    options: EvaluationOptions,
    noise: dict[str, Noise],
    members: dict[str, str],
    result: Evaluation,
) -> Group | None:
    """Results of one group; None when no prediction has a row in it."""
    here: list[Pair] = []
    absent: list[Pair] = []
    for pair in pairs:
        finite = part[f"#value {pair.prediction}"].is_finite().any()
        (here if finite else absent).append(pair)
    notes = [f"{shorten([p.prediction for p in absent])}: no value in any row, left out"] if absent else []
    if not here:
        result.notes.append(f"{name}: no prediction has a value")
        return None
    local = Selection(part, len(part))
    for pair in here:  # the same rows for all, so that comparisons are paired
        values = local.frame[f"#value {pair.prediction}"]
        local.drop(~values.is_nan(), f"{pair.prediction} missing")
        local.drop(local.frame[f"#value {pair.prediction}"].is_finite(), f"{pair.prediction} infinite")
    if not len(local.frame):
        result.notes.append(f"{name}: no row has a value of all of {shorten([p.prediction for p in here])}")
        return None
    group = Group(name, len(local.frame), dropped=dict(local.dropped), notes=notes)
    columns = {
        column: local.frame[f"#value {column}"].to_numpy()
        for pair in here
        for column in (pair.truth, pair.prediction)
    }
    how = None
    if options.bootstrap:
        clusters = None
        if options.cluster:
            clusters = local.frame[options.cluster].rank("dense").to_numpy().astype(np.intp) - 1
            group.n_clusters = int(clusters.max()) + 1
            if group.n_clusters < 10:
                group.notes.append(
                    f"{group.n_clusters} clusters are few: their bootstrap intervals are too narrow"
                )
        how = Resampling(options.bootstrap, options.seed, clusters)
    threshold = None
    if options.variant:
        threshold = next((n.threshold for n in noise.values()), math.nan)
    compare(group, columns, here, how, options.confidence, threshold)
    if options.variant:
        group.notes += [
            f"{m.prediction}: Pearson is {m.value:.2f}; is one side alt − ref and the other ref − alt?"
            for m in group.metrics
            if m.metric == "pearson" and m.value < OPPOSITE
        ]
    for pair in here:
        if column := members.get(pair.prediction):
            each = lists(local.frame[column], column)
            whole: np.ndarray = np.isfinite(each).all(axis=1)
            if not whole.all():
                group.notes.append(f"ensemble curve: {int((~whole).sum()):,} rows lack a member's value")
            truth = columns[pair.truth][whole]
            if len(truth):
                result.curve += ensemble_curve(
                    name, pair.truth, pair.prediction, truth, each[whole], seed=options.seed
                )
    return group


def _classes(options: EvaluationOptions, pairs: list[Pair], selection: Selection) -> list[ClassScore]:
    if len({pair.truth for pair in pairs}) > 1:
        raise InputError("--class-weights is about one truth; evaluate truths in separate calls")
    assert options.class_weights is not None
    frame = selection.frame.filter(
        pl.all_horizontal(pl.col([f"#value {p.prediction}" for p in pairs]).is_finite())
    )
    labels = frame[options.class_column].cast(pl.String).to_list() if options.class_column else None
    return class_scores(
        read_weights(options.class_weights),
        frame["#row"].to_numpy(),
        labels,
        frame[f"#value {pairs[0].truth}"].to_numpy(),
        {p.prediction: frame[f"#value {p.prediction}"].to_numpy() for p in pairs},
    )
