"""PyTorch on the same card: eager, torch.compile and CUDA graphs; the network of legscore.model.legnet
(channels last)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gpu_store import Limits, seconds_each

from legscore.cuda.libcuda import Gpu
from legscore.dna.one_hot import strands
from legscore.engine.fidelity import probe
from legscore.errors import EngineError
from legscore.model.ensemble import open_members

BATCHES = (1024, 4096)


def torch_rates(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        raise EngineError("this PyTorch does not see the GPU; install one with CUDA")
    torch.cuda.set_device(gpu.number)
    return measure(torch.device("cuda", gpu.number), torch.cuda.synchronize, limits, BATCHES)


def measure(
    device: Any, finish: Callable[[], object], limits: Limits, batches: tuple[int, ...]
) -> dict[str, Any]:
    """Rows of strands/s, checked against FP32 on the CPU first; `device` may be a CPU, for tests, without
    CUDA graphs."""
    import torch

    from legscore.engine.torch_reference import reordered

    member = open_members([limits.model] if limits.model else [], False, print)[0]
    flop = 2.0 * member.architecture.multiply_adds(member.contract.length)
    cuda = device.type == "cuda"
    codes = probe(member.contract, 64, 0).codes_WL
    small = torch.from_numpy(strands(codes, member.contract, both=False, is_singleton=False))
    rows: list[dict[str, Any]] = []
    # cuDNN's TF32 is on by default: not FP32, and further from it than the check below allows
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        truth = reordered(member)(small).numpy()
        for kind in (torch.float32, torch.float16) if cuda else (torch.float32,):
            name = "fp32" if kind == torch.float32 else "fp16"
            network = reordered(member).to(device, kind)
            found = network(small.to(device, kind)).float().cpu().numpy()
            error = float(np.abs(found - truth).max())
            if not error <= (1e-3 if name == "fp32" else 0.1 * float(truth.std())):
                raise SystemExit(f"torch {name} differs from the CPU's FP32 by {error}; nothing is timed")
            for batch in batches:
                x = small.to(device, kind).repeat(-(-batch // len(small)), 1, 1)[:batch].contiguous()
                for how, make in (
                    ("eager", lambda n, x: lambda: n(x)),
                    ("compile", _compiled),
                    ("CUDA graph", _graphed),
                ):
                    what = f"torch {name} {how}, batch {batch:,}"
                    if (how == "CUDA graph" and not cuda) or not limits.may(what):
                        continue
                    try:
                        taken = seconds_each(make(network, x), finish)
                    except Exception as problem:
                        # what torch cannot do here is a result too, and the others go on
                        rows.append({"what": f"{what}: failed ({type(problem).__name__})"})
                        continue
                    rows.append(
                        {
                            "what": what,
                            "rate": batch / taken,
                            "unit": "strands/s",
                            "tflops": flop * batch / taken / 1e12,
                        }
                    )
    return {"flop_per_strand": flop, "torch": torch.__version__, "rows": rows}


def _compiled(network: Any, x: Any) -> Callable[[], object]:
    import torch

    # else a second batch is compiled for any batch, which is slower
    made = torch.compile(network, dynamic=False)
    return lambda: made(x)


def _graphed(network: Any, x: Any) -> Callable[[], object]:
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            network(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(x)
    return graph.replay
