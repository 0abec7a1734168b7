"""The FP32 reference: one member's rewritten network on OpenVINO, compiled anew from its arrays; where
OpenVINO is not installed, the network as published in PyTorch.

Fidelity is measured against it, and members that share a refitted TensorRT plan are compared with it. It is
never taken from the cache of networks, and before it judges others it is compared with the network as
published, in numpy (`legscore.model.forward`): engines and reference are lowered by the same rewrites, whose
faults would not show between them.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine.base import ThreadedEngine, refusals
from legscore.engine.fidelity import probe
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.forward import Forward
from legscore.model.graph import REWRITE_VERSION

PROVED_WINDOWS = 2
ABSOLUTE, RELATIVE = 1e-3, 2e-5
"""How far it may be from the network in numpy: in score units, and as a share of the score. Rounding makes
1e-5."""


def has_openvino() -> bool:
    """Whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def reference_name() -> str:
    """What fidelity records call the reference here."""
    return "openvino fp32" if has_openvino() else "torch fp32"


def reference_key() -> dict[str, Any]:
    """What the reference's numbers depend on here."""
    if has_openvino():
        import openvino

        return {"openvino": openvino.get_version(), "rewrite": REWRITE_VERSION}
    import torch

    return {"torch": torch.__version__}


@contextlib.contextmanager
def reference_engine(member: Checkpoint, *, is_singleton: bool) -> Iterator[ThreadedEngine]:
    """The reference of one member; closed at the end, when the member's arrays are let go too.

    Args:
        is_singleton: value of the is_singleton channel, where the model has one.

    Raises:
        EngineError: OpenVINO cannot compile the network, or compiles another one.
    """
    engine = _opened(member, is_singleton)
    try:
        _prove(engine, member, is_singleton)
        yield engine
    finally:
        engine.close()
        member.release()


def _opened(member: Checkpoint, is_singleton: bool) -> ThreadedEngine:
    if not has_openvino():
        from legscore.engine.torch_reference import PublishedNetwork

        return PublishedNetwork(member, is_singleton=is_singleton)
    from legscore.engine.openvino_engine import OpenVINOEngine

    with refusals("OpenVINO cannot compile the fp32 reference"):
        return OpenVINOEngine(
            [member], load_recipe("fp32"), both_strands=False, is_singleton=is_singleton, form="rewritten"
        )


def _prove(engine: ThreadedEngine, member: Checkpoint, is_singleton: bool) -> None:
    codes_NL = probe(member.contract, PROVED_WINDOWS, 0).codes_WL
    found_N = engine.score_forward(Batch(codes_NL), 0)
    expected_N = Forward(member, both_strands=False, is_singleton=is_singleton).score(codes_NL)
    if not np.allclose(found_N, expected_N, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        product = "OpenVINO" if has_openvino() else "PyTorch"
        raise EngineError(
            f"{member.name}: its network in {reference_name()} scores {found_N[0]:.5f} where the network as "
            f"published scores {expected_N[0]:.5f}; {product} computes wrongly here, install another version"
        )
