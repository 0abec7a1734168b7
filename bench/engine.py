"""How fast is the engine? Random yeast windows, one run, engines in turn.

Checks that all engines agree, then times torch FP32 and bf16, eager and compiled (`published.py`), ONNX
Runtime FP32 and OpenVINO on the plain graph (as torch would export it) against legscore's engines: OpenVINO
at FP32 and bf16 with one member and five, of the original network and of the optimised one, and native; and
the machine's limits: matrix products through OpenVINO, bare products by a benchmark of the project's own
(`machine.bare_tiles`). Expected (2 cores with AVX512-BF16): ours bf16 ≥ 3.3 × eager and ≥ 0.82 of the bf16
GEMM rate in all four; ours FP32 ≥ 1.8 × eager. A CPU without bf16 has a result of its own (`engine_fp32`).
Shares of the GEMM rate count the network's multiplications, of which phases (`phases.py`) need some 12 %
fewer.

    python bench/engine.py [--windows 256] [--rounds 7] [--save]
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
from machine import OPTIMISED, ORIGINAL, alternate, arguments, bare_tiles, family, finish, gemm_jobs
from published import PublishedLegNet

from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine
from legscore.engine.fidelity import probe
from legscore.engine.native_engine import NativeEngine
from legscore.engine.native_library import library_path
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import load_checkpoint
from legscore.model.graph import build_graph
from legscore.system.cores import usable_cores


def main() -> None:
    options = arguments(__doc__ or "", windows=256, rounds=7)
    checkpoint = load_checkpoint(ORIGINAL)
    contract, batch = checkpoint.contract, probe(checkpoint.contract, options.windows // 2, 0)
    rows = batch.n_windows
    x = strands(batch.expand(), contract, both=False, is_singleton=False)
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    torch.set_num_threads(usable_cores())
    network = PublishedLegNet(checkpoint.architecture).eval()
    network.load_state_dict(
        {name: torch.from_numpy(array.copy()) for name, array in checkpoint.arrays.items()}, strict=False
    )
    if contract.alphabet != "AGCT":
        raise SystemExit("this benchmark feeds torch directly and needs a checkpoint with alphabet AGCT")
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(
        build_graph(checkpoint, "plain").to_bytes(), session_options, ["CPUExecutionProvider"]
    )
    engines: dict[str, ThreadedEngine] = {}
    for precision in ("fp32", "bf16") if has_bf16 else ("fp32",):
        recipe = load_recipe(precision)
        engines[f"openvino {precision}, plain graph"] = OpenVINOEngine(
            [checkpoint], recipe, both_strands=False, form="plain"
        )
        engines[f"legscore {precision}"] = OpenVINOEngine([checkpoint], recipe, both_strands=False)
    if has_bf16 and library_path().is_file():
        engines["native bf16"] = NativeEngine([checkpoint], load_recipe("bf16"), both_strands=False)

    def eager() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate(
                [network.score(torch.from_numpy(x[i : i + 64])).numpy() for i in range(0, rows, 64)]
            )

    def bf16_eager() -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return np.concatenate(
                [network.score(torch.from_numpy(x[i : i + 64])).float().numpy() for i in range(0, rows, 64)]
            )

    compiled = torch.compile(network.score)

    def compiled_fp32() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate(
                [compiled(torch.from_numpy(x[i : i + 64])).numpy() for i in range(0, rows, 64)]
            )

    def onnx_runtime() -> np.ndarray:
        return np.concatenate([session.run(None, {"x": x[i : i + 64]})[0] for i in range(0, rows, 64)])

    jobs: dict[str, Callable[[], np.ndarray]] = {
        "torch eager fp32": eager,
        "torch compiled fp32": compiled_fp32,
        "onnxruntime fp32": onnx_runtime,
    }
    if has_bf16:
        jobs["torch eager bf16"] = bf16_eager
    for name, engine in engines.items():
        jobs[name] = lambda engine=engine: engine.score_forward(batch, 0)  # type: ignore[misc]

    truth = eager()
    print(f"agreement with torch eager fp32 over {rows} windows (score SD {truth.std():.2f}):")
    for name, job in jobs.items():
        error = float(np.abs(job() - truth).max())
        print(f"  {name:32s} max error {error:.2e}")
        limit = 1e-4 if "bf16" not in name else 0.05 * float(truth.std())
        if not error <= limit:
            raise SystemExit(f"{name} disagrees by {error}; no timing of wrong numbers")

    all_jobs: dict[str, Callable[[], object]] = dict(jobs)
    work = dict.fromkeys(jobs, float(rows))
    flop = dict.fromkeys(jobs, 2.0 * checkpoint.architecture.multiply_adds(contract.length))
    with tempfile.TemporaryDirectory() as folder:
        for label, path, members in (
            ("original x5", ORIGINAL, 5),
            ("optimised", OPTIMISED, 1),
            ("optimised x5", OPTIMISED, 5),
        ):
            ensemble = family(path, members, Path(folder) / label)
            for precision in ("fp32", "bf16") if has_bf16 else ("fp32",):
                engine = OpenVINOEngine(ensemble, load_recipe(precision), both_strands=False)
                name = f"legscore {precision}, {label}"
                engines[name], all_jobs[name] = engine, lambda engine=engine: engine.score(batch)  # type: ignore[misc]
                work[name] = float(rows * members)
                flop[name] = 2.0 * ensemble[0].architecture.multiply_adds(contract.length)
    for precision in ("bf16", "fp32") if has_bf16 else ("fp32",):
        gemms, flops = gemm_jobs(precision)
        all_jobs |= gemms
        work |= flops
    bare: list[tuple[str, float]] = []
    if library_path().is_file():
        all_jobs["bare"] = lambda: bare.append(bare_tiles())
        work["bare"] = 1.0
    rates = alternate(all_jobs, work, options.rounds)
    bare_of = bare[0][0] if bare else None
    bare_rate = float(np.median([rate for _, rate in bare[1:]])) if bare else None

    peak = {
        p: max(r for name, r in rates.items() if name.startswith(f"gemm {p}"))
        for p in ("bf16", "fp32")
        if has_bf16 or p == "fp32"
    }
    print(f"\n{'engine':34s} windows × members/s  × eager  of GEMM rate  of bare products")
    table = {}
    for name in flop:
        precision = "bf16" if "bf16" in name else "fp32"
        fraction = rates[name] * flop[name] / peak[precision]
        table[name] = {
            "windows_per_s": rates[name],
            "x_eager": rates[name] / rates["torch eager fp32"],
            "of_gemm": fraction,
            "of_bare": rates[name] * flop[name] / bare_rate if bare_rate and precision == "bf16" else None,
        }
        line = f"{name:34s} {rates[name]:9.0f} {table[name]['x_eager']:8.2f} {fraction:8.2f} ({precision})"
        print(line + (f" {table[name]['of_bare']:8.2f}" if table[name]["of_bare"] else ""))
    if bare_rate:
        print(f"bare products ({bare_of}): {bare_rate / 1e9:.0f} GFLOP/s")
    print("measured GEMM rates: " + ", ".join(f"{p} {r / 1e9:.0f} GFLOP/s" for p, r in peak.items()))
    for engine in engines.values():
        engine.close()
    result = {
        "model": checkpoint.name,
        "flop_per_window": flop,
        "rates": table,
        "gemm_flop_per_s": peak,
        "bare_flop_per_s": bare_rate,
        "bare_is_of": bare_of,
        "rounds": options.rounds,
    }
    finish("engine" if has_bf16 else "engine_fp32", result, options.save)


if __name__ == "__main__":
    main()
