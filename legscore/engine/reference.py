"""The FP32 reference: one member's rewritten network on OpenVINO, compiled anew from its arrays.

Fidelity is measured against it, and members that share a refitted TensorRT plan are compared with it. It is
never taken from the cache of networks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from legscore.engine.base import ThreadedEngine, refusals
from legscore.engine.recipe import load_recipe
from legscore.model.checkpoint import Checkpoint

REFERENCE = "openvino fp32"
"""What fidelity records call it."""


@contextlib.contextmanager
def reference_engine(member: Checkpoint, *, is_singleton: bool) -> Iterator[ThreadedEngine]:
    """The reference of one member; closed at the end, when the member's arrays are let go too.

    Args:
        is_singleton: value of the is_singleton channel, where the model has one.

    Raises:
        EngineError: OpenVINO cannot compile the network.
    """
    from legscore.engine.openvino_engine import OpenVINOEngine

    with refusals("OpenVINO cannot compile the fp32 reference"):
        engine = OpenVINOEngine(
            [member], load_recipe("fp32"), both_strands=False, is_singleton=is_singleton, form="rewritten"
        )
    try:
        yield engine
    finally:
        engine.close()
        member.release()
