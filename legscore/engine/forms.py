"""Which form of the graph OpenVINO runs fastest on a CPU in FP32: the one measured for the kernels that it
takes there.

`bench/forms.py` compares them. With AVX2 kernels it is `model/phases.py`; everywhere else the rewritten form
of `model/graph.py`, since nothing else has been measured there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from legscore.model.graph import Lowering
from legscore.model.phases import PhasedLowering

FORMS: dict[str, tuple[str, int, type[Lowering]]] = {
    "plain": ("plain", 3, Lowering),
    "rewritten": ("rewritten", 4, Lowering),
    "phases": ("rewritten", 4, PhasedLowering),
}
"""By name: form and rank of the graph, and what writes it."""
SETTINGS: dict[str, Mapping[str, str]] = {
    # Passes over single elements share one program, instead of one for each pass of every member and stream;
    # what a member of this form takes (bench/ensemble.py) stays below 30 MB only so.
    "phases": {"SNIPPETS_MODE": "DISABLE"},
}
"""What OpenVINO is told besides, by form."""


def choose_form(core: Any, precision: str) -> tuple[str, str]:
    """Name of the form for networks on this CPU, and why. `core` is an openvino.Core.

    Raises:
        RuntimeError: OpenVINO compiles nothing here.
    """
    if precision != "fp32":
        return "rewritten", f"the form for {precision}"
    try:
        kernel = convolution(core, SETTINGS["phases"])
    except RuntimeError as error:
        if "Unsupported property" not in str(error):
            raise
        return "rewritten", "this OpenVINO lacks the setting that keeps other forms small"
    return "phases" if "avx2" in kernel else "rewritten", f"convolutions run as {kernel}"


def convolution(core: Any, settings: Mapping[str, str]) -> str:
    """Which kernel OpenVINO takes for a convolution in FP32, as it names it: brgconv_avx2_1x1_f32, say.

    Raises:
        RuntimeError: OpenVINO does not take the settings.
    """
    import openvino
    from openvino import opset8 as ops
    from openvino import properties

    x = ops.parameter([1, 32, 1, 32], np.float32)
    weight = ops.constant(np.ones((32, 32, 1, 1), dtype=np.float32))
    y = ops.result(ops.convolution(x, weight, [1, 1], [0, 0], [0, 0], [1, 1]))
    asked = {properties.hint.inference_precision: openvino.Type.f32, properties.num_streams: 1, **settings}
    compiled = core.compile_model(openvino.Model([y], [x], "kernel"), "CPU", asked)
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = op.get_rt_info()
        if "layerType" in info and info["layerType"].astype(str) == "Convolution":
            return str(info["primitiveType"].astype(str))
    return ""
