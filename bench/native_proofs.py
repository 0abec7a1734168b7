"""Is the native engine right? What any CPU can prove of it, AMX or not.

1. Bits: `--strands` strands of every family that it covers (tests/native_families.py) and of generators score
   alike to the bit in every form that runs here, in any order and on any number of threads; also the amx form
   on emulated tiles (tests/data/emulated_amx.h) where it does not run itself. The portable form judges.
2. Accuracy: every single-base change of yeast promoters (examples/promoter_variants.parquet, 240 for each of
   23), both strands, against the network in numpy FP32 (`legscore.model.forward`), for trained networks:
   score RMSE ≤ 0.01, effect Spearman ≥ 0.9999. OpenVINO bf16 beside it.
3. Published vectors (../shared/reference, where it is): no further from the published scores, in RMSE and at
   most, than OpenVINO bf16 is on them.
4. 50 members: opened within 5 s (on a machine that does nothing else), 10 MB a member at most.

The result is kept in bench/results/native_proofs.json as it grows; the exit code is 1 when a line falls
short.

    python bench/native_proofs.py [--strands 2048] [--promoters 23] [--only bits,accuracy,published,opening]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from machine import OPTIMISED, ORIGINAL, RESULTS, arguments, describe, family

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text
from legscore.dna.contract import BASES, Contract
from legscore.engine import native_library
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import fastest_form, library_digest, load_library, missing_form
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.measure.hardware import has_bf16
from legscore.model.checkpoint import Checkpoint, load_checkpoint, load_members
from legscore.model.forward import Forward
from legscore.system.cores import usable_cores
from legscore.system.rank_order import correlation, ranks

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
REFERENCE = ROOT.parent / "shared" / "reference"
NETWORKS = {"original": ORIGINAL, "optimised": OPTIMISED}
RMSE, SPEARMAN, OPEN_S, MEMBER_BYTES = 0.01, 0.9999, 5.0, 10e6
STRANDS, PROMOTERS = 2048, 23
PARTS = ("bits", "accuracy", "published", "opening")


def scored(member: Checkpoint, batch: Batch, **options: Any) -> np.ndarray:
    engine = NativeEngine([member], load_recipe("bf16"), both_strands=True, **options)
    try:
        return engine.score(batch)[0]
    finally:
        engine.close()


def denoised(generator: Checkpoint, x_N6L: np.ndarray, **options: Any) -> np.ndarray:
    from legscore.generate.native_denoiser import NativeDenoiser

    denoiser = NativeDenoiser(generator, load_recipe("bf16"), **options)
    try:
        return denoiser.probabilities(x_N6L)
    finally:
        denoiser.close()


def emulating(folder: Path) -> None:
    """From here on the library is one whose amx form runs on emulated tiles."""
    path = folder / "liblegnet.so"
    command = [sys.executable, "setup.py", "-q", "build_cpu", "--emulate", f"--output={path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    native_library.library_path = lambda: path
    load_library.cache_clear()
    library_digest.cache_clear()


Scored = Callable[..., np.ndarray]


def prove_bits(strands: int, keep: Callable[[dict[str, Any]], None]) -> None:
    """Part 1. One record for each family and form."""
    from conftest import random_batch
    from native_families import FAMILIES
    from test_generator import toy_generator
    from test_native_generator import KINDS, inputs

    works: dict[str, tuple[Scored, Any, Callable[[np.ndarray], Any]]] = {}
    for name, member in FAMILIES.items():
        n = strands // 4
        batch = random_batch(n, strands // 2 - n, member.contract.length, seed=5)
        codes = batch.expand()
        works[name] = (
            lambda given, member=member, **options: scored(member, given, **options),
            batch,
            lambda order, codes=codes: Batch(codes[order]),
        )
    for name, changes in KINDS.items():
        x_N6L, generator = inputs(strands), toy_generator(1, **changes)
        works[f"generator, {name}"] = (
            lambda given, generator=generator, **options: denoised(generator, given, **options),
            x_N6L,
            lambda order, x=x_N6L: x[order],
        )
    truth: dict[str, np.ndarray] = {}

    def compare(name: str, form: str, label: str) -> None:
        run, given, in_order = works[name]
        started = time.perf_counter()
        order = np.random.default_rng(1).permutation(len(truth[name]))
        equal = run(given, form=form, threads=1).tobytes() == truth[name].tobytes()
        equal &= run(in_order(order), form=form, threads=3).tobytes() == truth[name][order].tobytes()
        taken = time.perf_counter() - started
        keep({"family": name, "form": label, "strands": strands, "holds": equal, "seconds": round(taken, 1)})
        print(f"{name}: {strands:,} strands, {label}: {'the same bits' if equal else 'DIFFER'}", flush=True)

    for name, (run, given, _) in works.items():
        truth[name] = run(given, form="portable", threads=usable_cores())
        for form in native_library.FORMS[1:]:
            if not missing_form(form):
                compare(name, form, form)
    if missing_form("amx") and not missing_form("avx512"):
        with tempfile.TemporaryDirectory() as folder:
            emulating(Path(folder))
            for name in works:
                compare(name, "amx", "amx, emulated")


def promoter_changes(contract: Contract, promoters: int) -> Batch:
    """Windows of promoters and every single-base change of each."""
    table = pq.read_table(ROOT / "examples/promoter_variants.parquet")
    rows = table.slice(0, promoters * 240).to_pylist()
    texts = list(dict.fromkeys(row["sequence"] for row in rows))
    codes_WL = np.stack([encode_text(contract.window(text)) for text in texts])
    shift = contract.length - len(contract.flank3) - len(texts[0])
    return Batch(
        codes_WL,
        np.array([texts.index(row["sequence"]) for row in rows], np.int32),
        np.array([row["offset"] + shift for row in rows], np.int16),
        np.array([BASES.index(row["alt_base"]) for row in rows], np.uint8),
    )


def prove_accuracy(promoters: int, keep: Callable[[dict[str, Any]], None]) -> None:
    """Part 2."""
    for name, path in NETWORKS.items():
        member = load_checkpoint(path)
        batch = promoter_changes(member.contract, promoters)
        n = len(batch.codes_WL)
        forward = Forward(member, both_strands=True, is_singleton=False)
        truth = forward.score(batch.expand(), threads=usable_cores()).astype(np.float64)
        found = {"native": scored(member, batch)}
        few = Batch(batch.expand()[:: len(truth) // 64])
        judged = scored(member, few, form="portable").tobytes() == scored(member, few).tobytes()
        if has_bf16():
            openvino = OpenVINOEngine([member], load_recipe("bf16"), both_strands=True)
            found["openvino bf16"] = openvino.score(batch)[0]
            openvino.close()
        for engine, scores in found.items():
            error = scores - truth
            effects = [(s[n:] - s[batch.window_E]).astype(np.float64) for s in (scores, truth)]
            record = {
                "network": name,
                "engine": engine,
                "changes": len(effects[0]),
                "rmse": float(np.sqrt((error**2).mean())),
                "max_error": float(np.abs(error).max()),
                "effect_spearman": correlation(ranks(effects[0]), ranks(effects[1])),
            }
            if engine == "native":
                holds = record["rmse"] <= RMSE and record["effect_spearman"] >= SPEARMAN and judged
                record |= {"portable_bits_equal_on": len(few.codes_WL) if judged else 0, "holds": holds}
            keep(record)
            print(
                f"{name}, {engine}: {record['changes']:,} changes, score RMSE {record['rmse']:.4f}, effect "
                f"Spearman {record['effect_spearman']:.5f} against numpy FP32",
                flush=True,
            )


def prove_published(keep: Callable[[dict[str, Any]], None]) -> None:
    """Part 3."""
    from conftest import PUBLISHED

    from legscore.model.importers import import_checkpoint

    for file, options in PUBLISHED.items():
        vectors = np.load(REFERENCE / f"{file.split('.')[0]}_io.npz")
        member = import_checkpoint(REFERENCE / file, **options)
        batch = Batch(np.stack([encode_text(str(sequence)) for sequence in vectors["sequence"]]))
        openvino = OpenVINOEngine([member], load_recipe("bf16"), both_strands=True)
        errors = [
            s.astype(np.float64) - vectors["score_rc_averaged"]
            for s in (scored(member, batch), openvino.score(batch)[0])
        ]
        openvino.close()
        (rmse, most), (rmse_allowed, most_allowed) = (
            (float(np.sqrt((e**2).mean())), float(np.abs(e).max())) for e in errors
        )
        keep(
            {
                "file": file,
                "vectors": batch.n_windows,
                "rmse": rmse,
                "max_error": most,
                "openvino_bf16_rmse": rmse_allowed,
                "openvino_bf16_max_error": most_allowed,
                "holds": rmse <= rmse_allowed and most <= most_allowed,
            }
        )
        print(
            f"{file}: RMSE {rmse:.4f}, max {most:.4f}; OpenVINO bf16 {rmse_allowed:.4f}, {most_allowed:.4f}",
            flush=True,
        )


def prove_opening(keep: Callable[[dict[str, Any]], None]) -> None:
    """Part 4. The best of three, since other programs only add to it; core seconds beside the clock."""
    with tempfile.TemporaryDirectory() as folder:
        family(ORIGINAL, 50, Path(folder))
        taken, cores = [], []
        for _ in range(3):
            members = load_members([folder])
            started, cpu = time.perf_counter(), time.process_time()
            engine = NativeEngine(members, load_recipe("bf16"), both_strands=True)
            taken.append(time.perf_counter() - started)
            cores.append(time.process_time() - cpu)
            size = engine.bytes_per_member
            engine.close()
    holds = min(taken) <= OPEN_S and size <= MEMBER_BYTES
    keep(
        {
            "members": 50,
            "open_s": taken,
            "open_core_s": cores,
            "bytes_per_member": size,
            "holds": holds,
        }
    )
    print(
        f"50 members: opened in {min(taken):.1f} s ({min(cores):.1f} core seconds), "
        f"{size / 1e6:.1f} MB a member",
        flush=True,
    )


def prove(parts: list[str], strands: int, promoters: int) -> bool:
    """Prove the parts named and keep what is found; whether all hold."""
    path = RESULTS / "native_proofs.json"
    result = json.loads(path.read_text()) if path.is_file() else {"bench": "native_proofs"}
    result |= {"form": fastest_form()}
    good = True
    for part in parts:
        result[part] = []

        def keep(record: dict[str, Any], part: str = part) -> None:
            nonlocal good
            good &= record.get("holds", True)
            result[part].append(record)
            path.write_text(json.dumps({**result, "machine": describe()}, indent=1) + "\n")

        if part == "bits":
            prove_bits(strands, keep)
        elif part == "accuracy":
            prove_accuracy(promoters, keep)
        elif part == "published" and REFERENCE.is_dir() and has_bf16():
            prove_published(keep)
        elif part == "opening":
            prove_opening(keep)
    return good


def main() -> None:
    options = arguments(__doc__ or "", strands=STRANDS, promoters=PROMOTERS, only=",".join(PARTS))
    parts = [part.strip() for part in options.only.split(",")]
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"--only {', '.join(sorted(unknown))}: known are {', '.join(PARTS)}")
    parts.sort(key=lambda part: (part == "bits", PARTS.index(part)))  # bits last: they may change the library
    good = prove(parts, options.strands, options.promoters)
    print("all hold" if good else "a line falls short")
    sys.exit(int(not good))


if __name__ == "__main__":
    main()
