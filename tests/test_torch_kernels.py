"""Triton kernels of engine torch: in Triton's interpreter against PyTorch, and compiled for cards that are not here."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import REPOSITORY

pytest.importorskip("torch", reason="the torch engine needs legscore[train]")

if importlib.util.find_spec("triton") is None:
    if os.environ.get("LEGSCORE_REQUIRE_TRITON"):
        pytest.fail("LEGSCORE_REQUIRE_TRITON is set and Triton is not installed", pytrace=False)
    pytest.skip(
        "Triton is not installed: pip install 'legscore[triton-test]' (Linux)", allow_module_level=True
    )


def run(code: str, tmp_path: Path, **environment: str) -> str:
    """Standard output of a script in a process of its own: Triton decides at import whether it interprets."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests:{os.environ.get('PYTHONPATH', '')}",
             "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


KINDS = {
    "yeast": "toy_checkpoint(1)",
    "one a group, pooled": "toy_checkpoint(1, human_contract(length=40, flank5='A' * 40, insert_max=40, insert_min=40,"
    " adapter5='', adapter3='', flank3=''), pools=(2, 2), se='plain', filters_per_group=1)",
    "added, four a group": "toy_checkpoint(2, residual='add', widths=(16, 16, 16), filters_per_group=4)",
    "fx first, no gate": "toy_checkpoint(2, concat_order='fx,x', se='none', final_activation='none')",
    "widths that fill no tile": "toy_checkpoint(3, widths=(20, 12, 24), inner_widths=(36, 44))",
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_on_interpreted_kernels_equals_the_network_on_pytorch(kind: str, tmp_path: Path) -> None:
    """Both ways of one network in FP32 and FP16, on random windows of random neighbours (nothing crosses)."""
    out = run(
        f"""
        import torch
        from conftest import human_contract, toy_checkpoint
        from legscore.engine.torch_network import TorchForm, TorchNetwork
        member = {KINDS[kind]}
        torch.manual_seed(0)
        x = torch.rand(3, len(member.contract.channels), member.contract.length)
        with torch.inference_mode():
            for precision in ("fp32", "fp16"):
                ours, theirs = (TorchNetwork(member, TorchForm(precision, "shifted", kernels), torch.device("cpu"))
                                for kernels in ("triton", "torch"))
                found, expected = ours(x), theirs(x)
                alone = ours(x[1:2])
                print(precision, float((found - expected).abs().max()), float((alone[0] - found[1]).abs()))
        """,
        tmp_path,
        TRITON_INTERPRET="1",
    )
    found = [line.split() for line in out.splitlines()]
    assert [words[0] for words in found] == ["fp32", "fp16"]
    for (precision, apart, alone), tolerance in zip(found, (2e-5, 5e-3), strict=True):
        assert float(apart) < tolerance, precision
        assert float(alone) < tolerance, "a row's score depends on its neighbours"


COMPILE = """
    import re, triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from legscore.engine import torch_kernels as k

    def arguments(names, half, full, numbers, constants):
        kinds = {name: "*fp16" for name in half} | {name: "*fp32" for name in full}
        kinds |= {name: "i32" for name in numbers} | {name: "constexpr" for name in constants}
        return {name: kinds[name] for name in names}

    def compile(kernel, half, full, numbers, constants, capability):
        signature = arguments(kernel.arg_names, half, full, numbers, constants)
        aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind[0] == "*"}
        made = triton.compile(ASTSource(kernel, signature, constexprs=constants, attrs=aligned),
                              target=GPUTarget("cuda", capability, 32))
        mma = len(re.findall("mma", made.asm["ptx"]))
        print(kernel.__name__, capability, len(made.asm["cubin"]), made.metadata.shared, mma, ".local" in made.asm["ptx"])

    for capability in (80, 90, 120):
        compile(k.expand_group_kernel, ("x", "expand", "expand_bias", "wide", "out"), ("group", "group_bias", "mean"),
                ("length", "inputs", "size"), dict(TAPS=7, G=2, AT=32, GROUPS=64, IN=64), capability)
        for taps, gated, two in ((1, True, False), (7, False, True)):
            compile(k.convolve_kernel, ("first", "second", "gate", "weight", "bias", "out"), (),
                    ("rows", "length", "first_inputs", "second_inputs", "outputs"),
                    dict(TAPS=taps, GATED=gated, TWO=two, ROWS=64, OUT=128, IN=64), capability)
    """


def test_kernels_compile_for_cards_that_are_not_here(tmp_path: Path) -> None:
    """To machine code, with tensor cores, within the shared memory that every card has, nothing in local memory."""
    lines = re.findall(r"^(\w+_kernel) (\d+) (\d+) (\d+) (\d+) (\w+)$", run(COMPILE, tmp_path), re.M)
    assert len(lines) == 9
    for kernel, capability, size, shared, mma, local in lines:
        assert int(size) > 0
        assert int(mma) > 0, f"{kernel} uses no tensor core on {capability}"
        assert int(shared) <= 99 * 1024, f"{kernel} takes {shared} bytes of shared memory on {capability}"
        assert local == "False", f"{kernel} uses local memory on {capability}"
