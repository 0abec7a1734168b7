"""TensorRT's real parser and builder take legscore's graphs, in a process of their own; no GPU is needed.

The builder is TensorRT-RTX's (`pip install 'legscore[trt-test]'`), driven by legscore/engine/trt/rtx.py. Where it
is not installed these tests skip; with LEGSCORE_REQUIRE_TRT=1 that is a failure.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from conftest import REPOSITORY

from legscore.cuda.libcuda import find_gpus

BENCH = REPOSITORY / "bench"
FOUND = json.loads((BENCH / "results/trt_build.json").read_text())


@pytest.fixture(scope="module")
def bench() -> Any:
    sys.path.insert(0, str(BENCH))
    spec = importlib.util.spec_from_file_location("trt_build", BENCH / "trt_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trt_build"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def builder(bench: Any) -> Any:
    """Runs Python text after `use_rtx()`; skips where the builder is not installed."""
    if lacking := bench.missing():
        if os.environ.get("LEGSCORE_REQUIRE_TRT") == "1":
            pytest.fail(lacking)
        pytest.skip(lacking)

    def run(text: str) -> subprocess.CompletedProcess[str]:
        code = f"import sys; sys.path.insert(0, {str(BENCH)!r})\nimport trt_build as b\nb.use_rtx()\n{text}"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)

    return run


def test_graphs_are_those_that_were_built(bench: Any) -> None:
    """A changed graph must be built again: python bench/trt_build.py --save."""
    assert bench.graph_hashes() == FOUND["graphs"]


def test_every_form_was_built(bench: Any) -> None:
    named = (bench.recipe_form("fp16"), bench.recipe_form("fp32"))
    for case in bench.cases():
        built = FOUND["builds"][case.name]
        assert len(built) == (2 if case.form in named else 1), case.name
        assert all(one["bytes"] > 0 and one["layers_checked"] > 10 for one in built.values())
        if case.form == named[0]:  # a mean adds up in FP32, and reads no FP32 copy of a wide tensor
            assert all(one["fp32_share"] < bench.MOST_FP32 for one in built.values()), case.name


def test_four_forms_build(builder: Any) -> None:
    names = [
        "F1 fp16 repack8 ncl sigmoid",
        "F2 seed1 fp32 depthwise ncl sigmoid",
        "F3 fp16 repack8 ncl sigmoid",
        "generator fp16 repack8 ncl sigmoid",
    ]
    done = builder(
        f"names = {names!r}\n"
        "members = b.networks()\n"
        "chosen = [case for case in b.cases() if case.name in names]\n"
        "for case in chosen: print(case.name, b.build(case, members, '8.0')['bytes'])"
    )
    assert done.returncode == 0, done.stderr
    assert {line.rsplit(" ", 1)[0] for line in done.stdout.splitlines()} == set(names)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("swap('Sigmoid', kind='Nonesuch')", "cannot read the graph"),
        ("swap('Cast', attributes={'to': 10})", "EngineError|AssertionError"),
        (
            "skip(next(n for n in nodes if n.kind == 'Cast' and n.attributes['to'] == 1))",
            "EngineError|Assert",
        ),
    ],
    ids=["unsupported operation", "cast to the wrong type", "cast left out"],
)
def test_a_faulty_graph_does_not_build(builder: Any, fault: str, message: str) -> None:
    done = builder(
        "members = b.networks()\n"
        "case = next(case for case in b.cases() if case.name == 'F2 seed1 fp16 repack8 ncl sigmoid')\n"
        "model = b.graph(case, members)\n"
        "from dataclasses import replace\n"
        "nodes = model.nodes\n"
        "def swap(which, **changes):\n"
        "    i = next(i for i, node in enumerate(nodes) if node.kind == which)\n"
        "    nodes[i] = replace(nodes[i], **changes)\n"
        "def skip(cast):\n"
        "    source = {cast.outputs[0]: cast.inputs[0]}\n"
        "    for i, node in enumerate(nodes):\n"
        "        nodes[i] = replace(node, inputs=tuple(source.get(name, name) for name in node.inputs))\n"
        "    nodes.remove(cast)\n"
        f"{fault}\n"
        "print(b.build(case, members, '8.0', model))"
    )
    assert done.returncode == 1, done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert any(word in last for word in message.split("|")), last


def test_the_real_library_tells_a_missing_driver_from_a_card_that_it_is_not_for(builder: Any) -> None:
    """Its builder is made without a driver, so only loading a plan shows that there is none."""
    if find_gpus()[0]:
        pytest.skip("there is a GPU here")
    done = builder(
        "from legscore.engine.trt import common\n"
        "from legscore.errors import EngineError\n"
        "for compute in ('8.9', '9.0', '7.5'):\n"
        "    try: common.try_card(compute); print('works')\n"
        "    except EngineError as error: print(error)"
    )
    assert done.returncode == 0, done.stderr
    driver, *cards = done.stdout.splitlines()
    assert re.match(r"TensorRT-RTX 1\.7\.\S+ cannot use this GPU and driver: .*CUDA driver version", driver)
    assert all(
        "builds such networks for compute capability 8.0, 8.6, 8.9, 12.0, 12.1" in card for card in cards
    )
    assert len(cards) == 2
