"""Where does the engine's time go? OpenVINO's counters per kind of node, at rank 3 and rank 4 and in FP32 in
phases too, and the rates of all.

Scores are compared first; the forms then alternate. Expected: convolutions above 90 % of the time, no layout
reorders at rank 4; with AVX2 kernels phases take a fifth from the time of convolutions, and what they add
(borders, sums, laying phases side by side) stays below 5 %.

    python bench/nodes.py [--precision bf16] [--rounds 15] [--save]
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino
from machine import ORIGINAL, alternate, arguments, finish
from openvino import properties

from legscore.dna.one_hot import strands
from legscore.engine.fidelity import probe
from legscore.engine.forms import SETTINGS
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import load_checkpoint
from legscore.model.graph import Lowering, build_graph
from legscore.model.phases import PhasedLowering
from legscore.system.cores import usable_cores


def main() -> None:
    options = arguments(__doc__ or "", precision="bf16", rounds=15, windows=512)
    checkpoint = load_checkpoint(ORIGINAL)
    batch = int(load_recipe(options.precision).get("openvino", "batch"))
    x = strands(
        probe(checkpoint.contract, options.windows // 2, 0).expand(),
        checkpoint.contract,
        both=False,
        is_singleton=False,
    )
    core, jobs, scores, shares = openvino.Core(), {}, {}, {}
    kind = openvino.Type.bf16 if options.precision == "bf16" else openvino.Type.f32
    forms: dict[str, tuple[int, type[Lowering]]] = {"rank 3": (3, Lowering), "rank 4": (4, Lowering)}
    if options.precision == "fp32":
        forms["phases"] = (4, PhasedLowering)
    for name, (rank, lowering) in forms.items():
        model = core.read_model(build_graph(checkpoint, rank=rank, lowering=lowering).to_bytes())
        model.reshape({"x": [batch, *x.shape[1:]]})
        threads = usable_cores()
        settings = {
            **SETTINGS.get(name, {}),
            properties.hint.inference_precision: kind,
            properties.num_streams: threads,
            properties.inference_num_threads: threads,
        }
        counted: Counter[str] = Counter()

        def count(request: Any, _: Any, counted: Counter[str] = counted) -> None:
            for node in request.profiling_info:
                counted[node.node_type] += node.real_time.total_seconds()

        profiled = openvino.AsyncInferQueue(
            core.compile_model(model, "CPU", {**settings, properties.enable_profiling: True}), threads
        )
        profiled.set_callback(count)
        queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", settings), threads + 1)
        out = np.empty(len(x), dtype=np.float32)
        queue.set_callback(
            lambda request, at, out=out: out.__setitem__(at, request.get_output_tensor(0).data)
        )

        def run(queue: Any = queue) -> None:
            for start in range(0, len(x), batch):
                queue.start_async({0: x[start : start + batch]}, slice(start, start + batch))
            queue.wait_all()

        run(profiled)
        run()
        jobs[name], scores[name] = run, out.copy()
        total = sum(counted.values())
        shares[name] = {
            node: seconds / total for node, seconds in counted.most_common() if seconds / total >= 0.0005
        }
    error = max(float(np.abs(found - scores["rank 4"]).max()) for found in scores.values())
    if not error <= (0.1 if options.precision == "bf16" else 1e-4):
        raise SystemExit(f"the forms differ by {error}; no timing of wrong numbers")
    rates = alternate(jobs, dict.fromkeys(jobs, float(len(x))), options.rounds)
    for name, kinds in shares.items():
        print(
            f"{name}: {rates[name]:.0f} windows/s; "
            + ", ".join(f"{node} {100 * share:.1f} %" for node, share in kinds.items())
        )
    finish(
        "nodes" if options.precision == "bf16" else f"nodes_{options.precision}",
        {"precision": options.precision, "windows_per_s": rates, "share_of_time": shares},
        options.save,
    )


if __name__ == "__main__":
    main()
