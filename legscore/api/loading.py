"""Ensembles and tables in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from legscore.api.calls import Models, Paths, listed_models, options_of
from legscore.engine.choose import Request
from legscore.errors import InputError
from legscore.input.arrow_stream import as_table
from legscore.input.columnar import made_by
from legscore.rows.schema import checked_columns
from legscore.run.in_memory import Ensemble, open_ensemble
from legscore.run.options import DEFAULT_SHARE, Options
from legscore.run.python_words import speaks_python, told_in_python
from legscore.run.table_stream import score_stream
from legscore.system.log import RunLog, Say


@speaks_python
def load_ensemble(
    models: Paths | None = None,
    *,
    engine: str = "auto",
    precision: str = "auto",
    recipe: str | None = None,
    rc: str | None = None,
    singleton: int = 0,
    allow_duplicates: bool = False,
    device: str | None = None,
    rows_at_once: int | None = None,
    say: Say | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Load 1 to 256 checkpoints and build their engine.

    The first time on a machine an engine is compiled and its fidelity to FP32 is measured, which may take a
    minute; both are remembered.

    Args:
        models: checkpoint, directory of them, or several; the bundled demonstration ensemble when None.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        recipe: engine recipe by name or path, instead of the precision's own.
        rc: strands to score: `construct`, `insert` or `none`; as the models were trained when None.
        singleton: value of the is_singleton channel, 0 or 1.
        allow_duplicates: accept the same model twice; it then weighs twice.
        device: NVIDIA GPUs by number: `0`, `0,1` or `all`; the first when None.
        rows_at_once: sequences windowed and scored at once, which bounds memory; by members and engine when
            None.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.
        progress: whether to show a bar (`tqdm.auto`) while it scores; in notebooks only when None.

    Returns:
        The ensemble; close it, or use it in a `with` statement.

    Raises:
        ModelError: a checkpoint is missing or damaged, or they do not belong together.
        EngineError: what was asked for cannot be served here.

    Example:
        ```python
        with legscore.load_ensemble("models/") as ensemble:
            print(ensemble.contract.describe())
            scores = ensemble.score(["ACGTTTGACAGCTAGCTCAGTCCTAGGTATAATGCTAGC"])
        ```
    """
    if singleton not in (0, 1):
        raise InputError(f"singleton is {singleton}; known are 0, 1")
    if rows_at_once is not None and rows_at_once < 1:
        raise InputError(f"rows_at_once is {rows_at_once}; it must be 1 or more")
    request = Request(engine, precision, recipe, is_singleton=bool(singleton), device=device)
    return open_ensemble(
        listed_models(models),
        request,
        rc,
        allow_duplicates=allow_duplicates,
        rows_at_once=rows_at_once,
        bar=progress,
        say=told_in_python(say),
    )


@speaks_python
def score_table(
    data: Any,
    *,
    models: Models | None = None,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    sequence_is: str = "auto",
    rc: str | None = None,
    singleton: int = 0,
    max_n: int | None = None,
    keep: str = "auto",
    per_model: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    recipe: str | None = None,
    device: str | None = None,
    null_rate: float = 0.0,
    allow_duplicates: bool = False,
    out_of_fold: str | None = None,
    until_se: float | None = None,
    shifts: str | None = None,
    memory: str | int | None = None,
    verify: float = DEFAULT_SHARE,
    calibration: str | os.PathLike[str] | None = None,
    part_rows: int | None = None,
    say: Say | None = None,
    progress: bool | None = None,
) -> pa.RecordBatchReader:
    """Score a table in memory, or a stream: `score_file` without the files.

    The rows are scored while the result is read, a part at a time, so that a stream of any length takes the
    same memory. One row comes out for each that goes in, in order, with the columns that `score_file` writes.

    Args:
        data: a table of sequences, of pairs, or of edits, as `score_file` reads them: polars or pandas
            DataFrame, pyarrow Table, RecordBatchReader or Dataset, DuckDB relation, or anything with
            `__arrow_c_stream__`.
        models: checkpoint, directory of them, or several; the bundled demonstration ensemble when None. (A
            loaded one has `Ensemble.score_table`; {name: directory} are several.)
        kind: what a row is, where columns fit two kinds: `pair`, `edit` or `sequence`.
        columns: column of a role, where the table calls it otherwise: `{"sequence": "dna"}`.
        sequence_is: `insert`, `oligo` (insert with both adapters), the model's whole `window`, or `auto`:
            decided once, from the first rows.
        rc: strands to score: `construct`, `insert` or `none`; as the models were trained when None.
        singleton: value of the is_singleton channel, 0 or 1.
        max_n: rows with more N's than this get invalid_base; when None, those mostly of N's get mostly_n.
        keep: columns to carry over: names with commas, `all`, `none`; `auto`: all but sequences.
        per_model: also every member's values, as fixed-size lists.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        recipe: engine recipe by name or path, instead of the precision's own.
        device: NVIDIA GPUs by number: `0`, `0,1` or `all`; the first when None.
        null_rate: windows × members a second that engine null pretends; 0 for no limit.
        allow_duplicates: accept the same model twice; it then weighs twice.
        out_of_fold: score rows with members that did not train on their fold: column of folds, or `mmh3`.
        until_se: add members to a row until the standard error of its effect (or score) is below this.
        shifts: average over windows moved along the DNA by so many bases: `0,7,14`, or `FROM:TO:STEP`.
        memory: most memory for parts under way, such as `8G`, or bytes; half of the machine's when None.
        verify: share of the windows that is scored again in FP32, 0 to 1; a drift ends the stream.
        calibration: file of `calibrate_effects`, or the student: adds effect_low and effect_high.
        part_rows: rows scored at once; by members and engine when None.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.
        progress: whether to show a bar (`tqdm.auto`); in notebooks only when None.

    Returns:
        Reader of record batches: the columns kept, `score` and `score_sd` (float32; of pairs and edits
        `ref_score`, `alt_score`, `effect`, `effect_sd`), `status`, `n_count`. polars, pandas and DuckDB take
        it without copying; `read_all()` makes a pyarrow.Table. What defines the scores is in its schema's
        metadata.

    Raises:
        LegscoreError: table, models and options do not go together; while it is read, that rows cannot be
            read or scores are wrong.

    Example:
        ```python
        scored = polars.DataFrame(legscore.score_table(frame, models="models/"))
        ```
    """
    from legscore.variants.organism import check_table, contigs_in, places_in

    given = {**locals(), "columns": checked_columns(columns), "inputs": (), "output": "-", "format": "arrow"}
    options, told = options_of(Options, given), told_in_python(say)
    table = as_table(data)
    if table is not None:
        contigs = contigs_in(made_by(table.schema))
        places = places_in(table) if isinstance(table, pa.Table) else {}  # a reader's rows come only once
        check_table("the table", contigs, places, options, RunLog(say=told))
        data = table
    return score_stream(data, options, bar=progress, say=told)
