"""Is an atlas of a whole genome right, and are its scores found fast? All changes of one base in the
promoters of an annotation, scored once by one member (or another model, --model), with a kill on the way.

Each step leaves its figures in WORK/steps.json; the same command goes on after an interruption. In order:
what --dry-run promises; the build, killed once at a quarter and resumed, with its memory; the number of rows
against the genome read by hand; random rows scored again by the PyTorch twin; a VCF with other contig names,
looked up and scored by a run, compared column by column; lookups a second on one core; ranks of tiles that
the background has not seen (Kolmogorov and Smirnov's distance from uniform, its p on one change a tile, since
changes of a tile are not independent), and of measured variants; the size with 16-bit numbers. Expected:
every comparison equal, memory flat within 5 %, time within 15 % of the promise, ≥ 200,000 alleles/s a core, D
≤ 0.02.

    python bench/atlas.py --genome ../shared/data/genome --work /tmp/atlas [--tiles 300]
        [--model bundled-student] [--save]
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pysam
from machine import OPTIMISED, alternate, arguments, finish

FASTA = "Saccharomyces_cerevisiae.R64-1-1.dna.primary_assembly.fa.gz"
GTF = "Saccharomyces_cerevisiae.R64-1-1.109.gtf.gz"
STRAINS, SITES = "strains_vs_R64.vcf.gz", "saccharomyces_cerevisiae.vcf.gz"
MEASURED, TILES = "native_measured_snvs.vcf.gz", "native_promoter_tiles.bed"
UTR, TILES_A_GENE, SHORT_TILES = 47, 3, 600
EFFECTS_AGREE = 0.995
"""Spearman below which a run does not use a precision, but FP32."""


class Bench:
    """The files and the steps of one bench; `found` holds the figures so far."""

    def __init__(self, options: Any) -> None:
        self.genome, self.work, self.rows = Path(options.genome), Path(options.work), options.rows
        self.work.mkdir(parents=True, exist_ok=True)
        self.fasta, self.model = str(self.genome / FASTA), str(options.model or OPTIMISED)
        self.gtf = str(self._annotation(options.tiles))
        self.tiles = ("--fasta", self.fasta, "--promoters", self.gtf, "--assume-utr", str(UTR))
        self.scorer = ("-m", self.model, "--engine", options.engine)
        self.build = ("atlas", "build", *self.tiles, *self.scorer)
        self.atlas, self._steps = self.work / "atlas", self.work / "steps.json"
        self.found: dict[str, Any] = json.loads(self._steps.read_text()) if self._steps.exists() else {}

    def step(self, name: str, run: Callable[[], dict[str, Any]]) -> None:
        """Run a step unless its figures are there."""
        if name not in self.found:
            begun = time.perf_counter()
            figures = run()
            self.found[name] = {**figures, "seconds_of_step": round(time.perf_counter() - begun, 1)}
            self._steps.write_text(json.dumps(self.found, indent=1))
        print(name, json.dumps(self.found[name]), flush=True)

    def _annotation(self, tiles: int) -> Path:
        """The annotation, or one of every n-th gene, so that there are about so many tiles."""
        whole = self.genome / GTF
        if not tiles:
            return whole
        lines = gzip.decompress(whole.read_bytes()).decode().splitlines(keepends=True)
        gene = [(re.search(r'gene_id "([^"]+)"', line) or [""])[0] for line in lines]
        coding = sorted(
            {g for g, line in zip(gene, lines, strict=True) if g and 'gene_biotype "protein_coding"' in line}
        )
        step = max(1, len(coding) * TILES_A_GENE // tiles)
        some, path = set(coding[::step]), self.work / f"genes{tiles}.gtf"
        path.write_text("".join(line for g, line in zip(gene, lines, strict=True) if not g or g in some))
        return path

    def legscore(self, *words: object, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "legscore", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, **more)
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr[-600:]}")
        return done

    def promise(self) -> dict[str, Any]:
        """What --dry-run says, and that it leaves nothing."""
        said = self.legscore(*self.build, "-o", self.atlas, "--dry-run").stdout
        windows, rate = (
            float(re.search(pattern, said)[1].replace(",", ""))  # type: ignore[index]
            for pattern in (r"windows: ([\d,]+) ", r"\(([\d,.]+) windows/s")
        )
        rows = int(re.search(r"of ([\d,]+) rows", said)[1].replace(",", ""))  # type: ignore[index]
        return {"rows": rows, "windows": windows, "windows_per_s": rate, "seconds": round(windows / rate)}

    def built(self) -> dict[str, Any]:
        """The build: killed once a quarter of the parts is there, and resumed."""
        parts, spent = self.atlas.with_suffix(".parts") / "scores", 0.0
        samples: list[int] = []
        publishing: list[int] = []
        n_parts = -(-self.found["promise"]["rows"] // 8192)
        killed = len(list(parts.glob("part-*"))) if parts.exists() else 0
        for last in (False, True):
            if not last and killed:  # by an earlier go of this bench
                continue
            begun = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "legscore", *self.build, "-o", str(self.atlas), "-q"]
            )
            while process.poll() is None:
                time.sleep(1)
                done = len(list(parts.glob("part-*"))) if parts.exists() else 0
                if last and done > killed + 1:
                    (samples if done < n_parts else publishing).append(_resident(process.pid))
                if not last and done >= max(1, n_parts // 4):
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed = done
            spent += time.perf_counter() - begun
            if last and process.returncode:
                raise SystemExit("the build failed")
        samples = [found for found in samples if found]
        quarter = max(1, len(samples) // 4)
        record = json.loads((self.work / "atlas.run.json").read_text())
        early, late = max(samples[quarter : 2 * quarter] or [0]), max(samples[-quarter:] or [0])
        manifest = json.loads((self.atlas / "manifest.json").read_text())
        return {
            "seconds": round(spent),
            "killed_at_parts": killed,
            "rows_resumed": record["rows_resumed"],
            "windows_per_s": record["windows_per_s"],
            "resident_mib": {
                "second_quarter": early,
                "last_quarter": late,
                "while_files_are_written": max(publishing, default=0),
            },
            "memory_grew_by": round(late / early - 1, 4) if early else None,
            "changes": manifest["rows"],
            "tiles": manifest["tiles"],
            "status": manifest["status"],
            "engine": manifest["engine"],
            "verify": record["verify"],
            "mib": round(manifest["bytes"] / 2**20, 1),
            "mib_per_million": round(manifest["bytes_per_million_rows"] / 2**20, 2),
        }

    def counted(self) -> dict[str, Any]:
        """Rows against the bases of the tiles in the genome, and the order of every file."""
        tiles = pq.read_table(self.atlas / "tiles.parquet").to_pylist()
        with pysam.FastaFile(self.fasta) as genome:
            texts = {name: genome.fetch(name).upper() for name in genome.references}
        inside = [tile for tile in tiles if not tile["edge"]]
        bases = sum(sum(map(texts[t["chrom"]][t["start"] : t["end"]].count, "ACGT")) for t in inside)
        table = changes_of(self.atlas)
        keys = np.stack(
            [pc.rank(table["chrom"].combine_chunks(), tiebreaker="dense").to_numpy(), table["pos"].to_numpy()]
        )
        order = {
            name: i for i, name in enumerate(json.loads((self.atlas / "manifest.json").read_text())["genome"])
        }
        contig = np.array(
            [
                order[name]
                for name in table["chrom"].combine_chunks().dictionary_encode().dictionary.to_pylist()
            ]
        )
        contig = contig[table["chrom"].combine_chunks().dictionary_encode().indices.to_numpy()]
        place = contig * 10**9 + keys[1].astype(np.int64)
        if table.num_rows != 3 * bases or (np.diff(place) < 0).any():
            raise SystemExit(f"{table.num_rows:,} rows for {bases:,} bases, or not in order")
        return {"rows": table.num_rows, "bases": bases, "expected": 3 * bases, "sorted": True}

    def twin(self) -> dict[str, Any]:
        """Random rows scored again in PyTorch, FP32."""
        table = changes_of(self.atlas)
        picked = table.take(
            pa.array(sorted(random.Random(1).sample(range(table.num_rows), min(self.rows, table.num_rows))))
        )
        alleles = picked.select(["chrom", "pos", "ref", "alt"])
        pq.write_table(alleles, self.work / "picked.parquet")
        out = self.work / "twin.parquet"
        self.legscore(
            *("run", self.work / "picked.parquet", *self.tiles, "-m", self.model, "--engine", "torch"),
            *("--precision", "fp32", "-o", out, "--force", "-q"),
        )
        keys = ["chrom", "pos", "ref", "alt", "tile_id"]
        again = (
            pq.read_table(out)
            .select([*keys, "effect", "alt_score"])
            .group_by(keys)
            .aggregate([("effect", "max"), ("alt_score", "max")])
        )
        text = pa.large_string()
        cast = lambda t: t.set_column(2, "ref", t["ref"].cast(text)).set_column(3, "alt", t["alt"].cast(text))
        both = cast(picked.select([*keys, "effect", "alt_score"])).join(cast(again), keys)
        one, other = both["effect"].to_numpy(), both["effect_max"].to_numpy()
        error, scores = (
            np.abs(one - other),
            np.abs(both["alt_score"].to_numpy() - both["alt_score_max"].to_numpy()),
        )
        if len(one) != picked.num_rows or not np.isfinite(error).all():
            raise SystemExit("rows of the twin are missing")
        from scipy.stats import spearmanr

        agreement = float(spearmanr(one, other).statistic)
        if agreement < EFFECTS_AGREE:
            raise SystemExit(f"effects of engine and twin: Spearman {agreement:.5f} is below {EFFECTS_AGREE}")
        return {
            "rows": len(one),
            "effect_max_error": float(error.max()),
            "effect_rms_error": float(np.sqrt((error**2).mean())),
            "score_max_error": float(scores.max()),
            "effect_spearman": agreement,
        }

    def equal(self) -> dict[str, Any]:
        """Insertions, deletions, several ALTs, contigs as `chr`, and rows outside: a lookup and a run."""
        source, renamed = self.genome / STRAINS, self.work / "renamed.vcf.gz"
        with gzip.open(source, "rt") as lines, pysam.BGZFile(str(renamed), "wb") as out:
            for line in lines:
                if line.startswith("##contig=<ID="):
                    line = line.replace("<ID=", "<ID=chr", 1)
                out.write((line if line.startswith("#") else f"chr{line}").encode())
        run, look = self.work / "run.parquet", self.work / "lookup.parquet"
        self.legscore("run", renamed, *self.tiles, *self.scorer, "--keep-outside", "-o", run, "--force", "-q")
        misses = ("--score-misses", "-m", self.model, "-o", look, "--force", "-q")
        self.legscore("lookup", renamed, "--atlas", self.atlas, "--fasta", self.fasta, *misses)
        wanted, found = pq.read_table(run), pq.read_table(look)
        for name in wanted.column_names:
            if not wanted[name].combine_chunks().equals(found[name].combine_chunks()):
                raise SystemExit(f"column {name} of lookup and run differ")
        count = lambda t, name: {
            c["values"]: c["counts"] for c in t[name].combine_chunks().value_counts().to_pylist()
        }
        return {
            "rows": found.num_rows,
            "lookup": count(found, "lookup"),
            "status": count(found, "status"),
            "equal": True,
        }

    def speed(self) -> dict[str, Any]:
        """Alleles looked up a second on one core: the whole command but its start."""
        from legscore.atlas.look_up import look_up
        from legscore.atlas.options import LookupOptions

        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        pa.set_cpu_count(1)
        inside = self.work / "inside.parquet"
        table = changes_of(self.atlas).select(["chrom", "pos", "ref", "alt"])
        pq.write_table(table.slice(0, 1_000_000), inside)
        sources = {"VCF": str(self.genome / SITES), "table of changes in tiles": str(inside)}
        work: dict[str, float] = {}
        out = str(self.work / "speed.parquet")

        def job(source: str) -> Callable[[], object]:
            return lambda: look_up(LookupOptions(source, str(self.atlas), self.fasta, out, force=True))

        for name, source in sources.items():
            record, _ = look_up(LookupOptions(source, str(self.atlas), self.fasta, out, force=True))
            work[name] = float(record["alleles"])
        rates = alternate({name: job(source) for name, source in sources.items()}, work, 3)
        os.sched_setaffinity(0, before)
        return {"alleles": work, "alleles_per_s": {name: round(rate) for name, rate in rates.items()}}

    def ranks(self) -> dict[str, Any]:
        """Held-out genes against a background of the others; measured variants against all."""
        from scipy.stats import kstest, spearmanr

        from legscore.atlas.background_of import background_of
        from legscore.atlas.contents import open_contents

        contents = open_contents(self.atlas)
        tiles, table = pq.read_table(self.atlas / "tiles.parquet"), changes_of(self.atlas)
        genes = sorted(set(tiles["gene"].to_pylist()))
        held = set(random.Random(2).sample(genes, len(genes) // 2))
        is_held = np.array([gene in held for gene in tiles["gene"].to_pylist()])
        half = background_of(contents, ~is_held)
        tile = pc.index_in(table["tile_id"], tiles["tile_id"].combine_chunks().cast(pa.string())).to_numpy()
        gc = pc.fill_null(tiles["gc"], 0.0).to_numpy()
        class_T2 = half.classes(
            np.ma.MaskedArray(pc.fill_null(tiles["distance"], 0).to_numpy(), mask=False), gc
        )
        mine = is_held[tile] & table["effect"].is_valid().to_numpy()
        found = half.ranks(table["effect"].to_numpy()[mine], class_T2[tile[mine]])
        rng = np.random.default_rng(3)
        shuffled = rng.permutation(int(mine.sum()))
        _, first = np.unique(tile[mine][shuffled], return_index=True)
        one_each = shuffled[first]
        figures: dict[str, Any] = {"held_out_tiles": len(first), "changes": int(mine.sum())}
        for name in ("percentile", "signed_percentile"):
            share = found[name] / 100
            alone = kstest(share[one_each], "uniform")
            figures[name] = {
                "D_all_changes": float(kstest(share, "uniform").statistic),
                "D_one_change_a_tile": float(alone.statistic),
                "p_one_change_a_tile": float(alone.pvalue),
            }
        self.legscore(
            "atlas", "background", self.atlas, "-o", self.work / "background.parquet", "--force", "-q"
        )
        out = self.work / "measured.parquet"
        tiles = ("--fasta", self.fasta, "--tiles", self.genome / TILES)
        ranked = ("--background", self.work / "background.parquet", "-o", out, "--force", "-q")
        self.legscore("run", self.genome / MEASURED, *tiles, *self.scorer, *ranked)
        scored = pq.read_table(out)
        with pysam.VariantFile(str(self.genome / MEASURED)) as vcf:
            measured = {(r.chrom, r.pos, r.alts[0]): r.info["DC"] for r in vcf if r.alts and "DC" in r.info}
        pairs = [
            (row["rank"], abs(value if isinstance(value, float) else value[0]))
            for row in scored.to_pylist()
            if row["rank"] is not None
            and (value := measured.get((row["chrom"], row["pos"], row["alt"]))) is not None
        ]
        rank, size = np.array(pairs).T
        edges = [0, 1, 3, 6, 10, 99]
        means = [float(size[(rank >= a) & (rank < b)].mean()) for a, b in itertools.pairwise(edges)]
        figures["measured"] = {
            "variants": len(rank),
            "spearman_of_rank_and_size": float(spearmanr(rank, size).statistic),
            "mean_size_by_rank": dict(zip(["0-1", "1-3", "3-6", "6-10", "10+"], means, strict=True)),
            "monotone": bool((np.diff(means) > 0).all()),
        }
        return figures

    def short(self) -> dict[str, Any]:
        """The same tiles in 16 bits, of some genes: size and largest error."""
        gtf = self._annotation(SHORT_TILES)
        tiles = ("--fasta", self.fasta, "--promoters", gtf, "--assume-utr", UTR)
        small = ("atlas", "build", *tiles, *self.scorer)
        sizes: dict[str, Any] = {}
        for numbers in ("float32", "int16"):
            out = self.work / numbers
            self.legscore(*small, "--numbers", numbers, "-o", out, "-q", "--force")
            manifest = json.loads((out / "manifest.json").read_text())
            sizes[numbers] = round(manifest["bytes_per_million_rows"] / 2**20, 2)
        return {
            "mib_per_million": sizes,
            "largest_error": manifest["numbers"]["largest_error"],
            "changes": manifest["rows"],
        }


def changes_of(atlas: Path) -> pa.Table:
    """All changes of an atlas, in the order of its files."""
    return pa.concat_tables([pq.read_table(path) for path in sorted((atlas / "scores").iterdir())])


def _resident(pid: int) -> int:
    """MiB of a process in memory; 0 where it has ended."""
    try:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    options = arguments(
        __doc__ or "",
        genome="../shared/data/genome",
        work="",
        tiles=0,
        model="",
        rows=10_000,
        engine="auto",
    )
    if not options.work:
        raise SystemExit("give --work, a folder that stays if this is interrupted")
    bench = Bench(options)
    for name in ("promise", "built", "counted", "twin", "equal", "speed", "ranks", "short"):
        bench.step(name, getattr(bench, name))
        result = {"tiles_asked_for": options.tiles or "all", "model": Path(bench.model).name, **bench.found}
        if "built" in result:
            result["time_of_promise"] = round(result["built"]["seconds"] / result["promise"]["seconds"], 3)
        finish("atlas", result, options.save)


if __name__ == "__main__":
    main()
