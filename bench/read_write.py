"""How fast are files read and written? Each format on its own: rows/s of reading into parts, of writing
results, and bytes a row.

Reading goes through `legscore.input.read` (80-bp inserts with a key), writing through `legscore.output.write`
with a table of results like a run's; row groups of Parquet inputs come in three sizes. What was written is
read back and compared first. Expected: Parquet ≥ 3 M rows/s read and ≥ 1 M written, text ≥ 0.5 M: far above
what an engine scores.

    python bench/read_write.py [--rows 500000] [--rounds 3] [--save]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from machine import ORIGINAL, alternate, arguments, finish

from legscore.input.read import open_input
from legscore.measure.whole_run import random_table
from legscore.model.checkpoint import load_checkpoint
from legscore.output.result_columns import result_schema
from legscore.output.write import open_writer, output_format

PART = 16_384
OUTPUTS = ("out.parquet", "out.arrow", "out.csv", "out.tsv", "out.csv.gz")
ROW_GROUPS = (1_000, 65_536, 500_000)


def sources(table: pa.Table, folder: Path) -> dict[str, Path]:
    """The table in every input format, by label."""
    found = {}
    for size in ROW_GROUPS:
        path = folder / f"groups{size}.parquet"
        pq.write_table(table, path, row_group_size=size)
        found[f"read parquet, row groups of {size:,}"] = path
    with pa.ipc.new_file(folder / "in.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    found["read arrow"] = folder / "in.arrow"
    pacsv.write_csv(table, folder / "in.csv")
    found["read csv"] = folder / "in.csv"
    with pa.CompressedOutputStream(str(folder / "in.csv.gz"), "gzip") as stream:
        pacsv.write_csv(table, stream)
    found["read csv.gz"] = folder / "in.csv.gz"
    with open(folder / "in.fa", "w") as fasta:
        fasta.writelines(f">{i}\n{text}\n" for i, text in enumerate(table["sequence"].to_pylist()))
    found["read fasta"] = folder / "in.fa"
    return found


def main() -> None:
    options = arguments(__doc__ or "", rows=500_000, rounds=3)
    table = random_table(load_checkpoint(ORIGINAL).contract, options.rows)
    rng = np.random.default_rng(0)
    schema = result_schema([table.schema.field("id")], ["score", "score_sd"], [], 1)
    status = pa.DictionaryArray.from_arrays(pa.array(np.zeros(options.rows, np.int8)), pa.array(["ok"]))
    scores = [pa.array(rng.normal(10, 3, options.rows).astype(np.float32)) for _ in range(2)]
    results = pa.table(
        [table["id"], *scores, status, pa.array(np.zeros(options.rows, np.int32))], schema=schema
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def read(path: Path) -> int:
            opened = open_input([str(path)])
            return sum(part.table.num_rows for part in opened.parts(("sequence",), PART))

        def write(target: Path) -> None:
            with open_writer(str(target), output_format(str(target), None), schema, {}) as writer:
                for start in range(0, options.rows, PART):
                    writer.write(results.slice(start, PART))

        jobs: dict[str, Any] = {}
        inputs = sources(table, folder)
        for label, path in inputs.items():
            opened = open_input([str(path)])
            texts = pa.concat_tables(
                part.table.select(["sequence"]) for part in opened.parts(("sequence",), PART)
            )
            if texts["sequence"].cast(pa.string()).to_pylist() != table["sequence"].to_pylist():
                raise SystemExit(f"{path.name} does not read back as it was written; no timing of wrong rows")
            jobs[label] = lambda path=path: read(path)
        for output in OUTPUTS:
            target = folder / output
            write(target)
            back = pa.concat_tables(part.table for part in open_input([str(target)]).parts(("score",), PART))
            if not np.allclose(
                np.asarray(back["score"].cast(pa.float64())), np.asarray(scores[0]), rtol=1e-6
            ):
                raise SystemExit(f"{output} does not read back as it was written; no timing of wrong rows")
            jobs[f"write {output.removeprefix('out.')}"] = lambda target=target: write(target)
        rates = alternate(jobs, dict.fromkeys(jobs, float(options.rows)), options.rounds)
        sizes = {label: path.stat().st_size / options.rows for label, path in inputs.items()}
        sizes |= {
            f"write {output.removeprefix('out.')}": (folder / output).stat().st_size / options.rows
            for output in OUTPUTS
        }
    for label, rate in rates.items():
        print(f"{label:36s} {rate / 1e6:6.2f} M rows/s {sizes[label]:7.1f} bytes a row")
    finish("read_write", {"rows": options.rows, "rows_per_s": rates, "bytes_per_row": sizes}, options.save)


if __name__ == "__main__":
    main()
