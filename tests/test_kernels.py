"""kernels/*.cu, run on the host, against their numpy twins: bit for bit. With nvcc here, they also
compile."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import EXTRAS, REPOSITORY, human_contract, yeast_contract
from host_kernels import KERNEL, HostKernels, compiler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legscore.cuda import launches
from legscore.cuda.image import compile_kernel
from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine
from legscore.system.resources import folder

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    if compiler() is None:
        pytest.skip("no C++ compiler here to run the kernels on the CPU")
    return HostKernels(tmp_path_factory.mktemp("kernels"))


def run(host: HostKernels, launch: launches.Launch) -> None:
    host.launch(launch.kernel, launch.grid, launches.BLOCK, launch.arguments)


def any_contract(length: int, extras: tuple[str, ...], n_value: float) -> Contract:
    base = yeast_contract() if length <= 150 else human_contract()
    values = {
        **base.to_json(),
        "channels": (*"AGCT", *extras),
        "n_value": n_value,
        "length": length,
        "output": base.output,
    }
    values |= {
        "flank5": "A" * length,
        "flank3": "",
        "adapter5": "",
        "adapter3": "",
        "insert_min": 1,
        "insert_max": length,
    }
    return Contract(**values)


@MANY
@given(
    windows=st.integers(0, 5),
    length=st.integers(1, 40) | st.sampled_from([150, 230]),
    tail=st.integers(0, 3),
    both=st.booleans(),
    singleton=st.booleans(),
    extras=st.sampled_from([(), EXTRAS, EXTRAS[::-1], EXTRAS[:1], EXTRAS[1:]]),
    n_value=st.sampled_from([0.0, 0.25]),
    form=st.sampled_from(
        [("ncl", "fp16"), ("nc1l", "fp16"), ("hwc8", "fp16"), ("ncl", "fp32"), ("nc1l", "fp32")]
    ),
    seed=st.integers(0, 9999),
)
def test_one_hot_equals_strands(
    host: HostKernels,
    windows: int,
    length: int,
    tail: int,
    both: bool,
    singleton: bool,
    extras: tuple[str, ...],
    n_value: float,
    form: tuple[str, str],
    seed: int,
) -> None:
    layout, precision = form
    contract = any_contract(length, extras, n_value)
    codes = np.random.default_rng(seed).integers(0, 5, (windows, length), dtype=np.uint8)
    rows = windows * (2 if both else 1) + tail
    kind = np.float32 if precision == "fp32" else np.float16
    expected = strands(codes, contract, both=both, is_singleton=singleton, rows=rows).astype(kind)
    if layout == "hwc8":
        padded = np.zeros((rows, 8, length), dtype=kind)
        padded[:, : len(contract.channels)] = expected
        expected = padded.transpose(0, 2, 1)
    nbytes = launches.input_bytes(rows, contract, layout, precision)
    assert nbytes == expected.nbytes
    x = np.full(nbytes + 64, 0xAB, dtype=np.uint8)
    begin = -x.ctypes.data % 16
    run(
        host,
        launches.one_hot(
            codes.ctypes.data,
            x.ctypes.data + begin,
            windows,
            rows,
            contract,
            both=both,
            is_singleton=singleton,
            layout=layout,
            precision=precision,
        ),
    )
    written = x[begin : begin + nbytes].view(kind)
    assert (written.view(np.uint8) == np.ascontiguousarray(expected).ravel().view(np.uint8)).all()
    assert (x[:begin] == 0xAB).all(), "wrote before its array"
    assert (x[begin + nbytes :] == 0xAB).all(), "wrote beyond its array"


@MANY
@given(
    plain=st.integers(1, 6),
    edits=st.integers(0, 12),
    start=st.integers(0, 20),
    size=st.integers(0, 20),
    length=st.integers(1, 40),
    seed=st.integers(0, 9999),
)
def test_mutate_equals_expand(
    host: HostKernels, plain: int, edits: int, start: int, size: int, length: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batch = Batch(
        rng.integers(0, 5, (plain, length), dtype=np.uint8),
        rng.integers(0, plain, edits).astype(np.int32),
        rng.integers(0, length, edits).astype(np.int16),
        rng.integers(0, 4, edits).astype(np.uint8),
    )
    start = min(start, batch.n_windows)
    count = min(size, batch.n_windows - start)
    out = np.full((count + 1, length), 0xAB, dtype=np.uint8)
    edits_at = (batch.window_E.ctypes.data, batch.offset_E.ctypes.data, batch.base_E.ctypes.data)
    run(
        host,
        launches.mutate(
            batch.codes_WL.ctypes.data,
            edits_at,
            out.ctypes.data,
            plain=plain,
            length=length,
            start=start,
            count=count,
        ),
    )
    assert (out[:count] == batch.expand(start, start + count)).all()
    assert (out[count] == 0xAB).all()


@MANY
@given(
    members=st.integers(1, 50),
    windows=st.integers(0, 9),
    tail=st.integers(0, 5),
    both=st.booleans(),
    before=st.integers(0, 4),
    after=st.integers(0, 4),
    seed=st.integers(0, 9999),
)
def test_average_equals_its_twin(
    host: HostKernels, members: int, windows: int, tail: int, both: bool, before: int, after: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batch, columns = windows * (2 if both else 1) + tail, before + windows + after
    rows = rng.normal(0, 10.0 ** rng.integers(-30, 30), (members, batch)).astype(np.float32)
    if rows.size:
        rows.flat[rng.integers(rows.size)] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e-45])
    scores = np.full((members, columns), 7.0, dtype=np.float32)
    expected = scores.copy()
    with np.errstate(all="ignore"):
        expected[:, before : before + windows] = ThreadedEngine.average(rows, windows, both)
    run(
        host,
        launches.average_strands(
            rows.ctypes.data,
            scores.ctypes.data,
            members=members,
            batch=batch,
            windows=windows,
            both=both,
            columns=columns,
            start=before,
        ),
    )
    same = (scores.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(scores) & np.isnan(expected))
    assert same.all()


def test_launches_that_cannot_be_are_errors() -> None:
    contract = yeast_contract()
    common = {"both": True, "is_singleton": False}
    with pytest.raises(ValueError, match="FP16 only"):
        launches.one_hot(0, 0, 1, 2, contract, **common, layout="hwc8", precision="fp32")
    with pytest.raises(ValueError, match="unknown layout"):
        launches.one_hot(0, 0, 1, 2, contract, **common, layout="nlc", precision="fp16")
    with pytest.raises(ValueError, match="2 windows do not fit 3 rows"):
        launches.one_hot(0, 0, 2, 3, contract, **common, layout="ncl", precision="fp16")
    with pytest.raises(ValueError, match="smaller batch"):
        launches.one_hot(0, 0, 1, 2**22, contract, **common, layout="ncl", precision="fp16")


SOURCES = sorted(folder("kernels").glob("*.cu"))
OF_CPUS = sorted(p for p in (folder("kernels") / "cpu").iterdir() if p.suffix in (".h", ".cpp"))


def named_twins(text: str) -> bool:
    """Whether a card names its twin, and every file of the repository that it names is there."""
    (twin,) = re.findall(r"^// twin +(.+)$", text, re.M)
    root, beside = REPOSITORY, REPOSITORY / "kernels/cpu"
    for name in re.findall(r"[\w/]+\.(?:py|h|cpp)\b", twin):
        assert (
            (root / name).is_file() or (beside / name).is_file() or (root / "tests/data" / name).is_file()
        ), name
    return True


@pytest.mark.parametrize("source", OF_CPUS, ids=[s.name for s in OF_CPUS])
def test_files_for_cpus_open_with_a_card(source: Path) -> None:
    card = re.match(r"(//.*\n|\n)+", source.read_text())
    assert card
    assert card[0].startswith(f"// {source.name}: ")
    for word in ("shapes", "layout", "bytes", "bound", "twin"):
        assert re.search(rf"^//( |.*, ){word}\b", card[0], re.M), f"{source.name}'s card lacks {word}"
    assert named_twins(card[0])


@pytest.mark.parametrize("source", SOURCES, ids=[s.stem for s in SOURCES])
def test_kernels_keep_to_what_a_host_can_run(source: Path) -> None:
    text = source.read_text()
    card = text[: text.index("\n\n")]
    for word in ("shapes", "layout", "launch", "bytes", "bound"):
        assert f"// {word} " in card, f"{source.name}'s card lacks {word}"
    assert named_twins(text)
    assert sorted(KERNEL.findall(text)) == sorted(
        name for name, stem in launches.SOURCE.items() if stem == source.stem
    )
    code = "\n".join(line.split("//")[0] for line in text.splitlines())
    for banned in ("__syncthreads", "__shfl", "__shared__", "cuda_fp16", "atomic", "#include"):
        assert banned not in code, f"{source.name} uses {banned}"


def compiled(source: Path, image: Path, *codes: str) -> bytes:
    """The image for each code (sm_N: machine code, compute_N: PTX), uncompressed. Any warning is an error: also
    that a kernel uses a stack, or spills registers."""
    targets = [f"arch=compute_{code.split('_')[1]},code={code}" for code in codes]
    subprocess.run(
        [
            "nvcc",
            "-fatbin",
            "--no-compress",
            "-Werror",
            "all-warnings",
            "-Xptxas",
            "-warn-spills,-warn-lmem-usage",
        ]
        + [word for target in targets for word in ("-gencode", target)]
        + ["-o", str(image), str(source)],
        check=True,
    )
    return image.read_bytes()


@pytest.mark.parametrize(
    "source",
    [pytest.param(s, marks=() if s.stem == "one_hot" else pytest.mark.long) for s in SOURCES],
    ids=[s.stem for s in SOURCES],
)
def test_nvcc_compiles_the_kernels_for_every_architecture(source: Path, tmp_path: Path) -> None:
    """Every architecture that nvcc knows, and PTX of the newest for those to come; as shipped, too."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here")
    listed = subprocess.run(["nvcc", "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    codes = listed.split()
    assert {"sm_80", "sm_90"} <= set(codes)
    newest = codes[-1].replace("sm", "compute")
    image = compiled(source, tmp_path / "all.fatbin", *codes, newest)
    assert image.count(b"\x7fELF") == len(codes)
    assert f".target {newest.replace('compute', 'sm')}".encode() in image
    names = KERNEL.findall(source.read_text())
    assert all(name.encode() in image for name in names)
    compile_kernel("nvcc", source, tmp_path / "shipped.fatbin")
    assert all(name.encode() in (tmp_path / "shipped.fatbin").read_bytes() for name in names)


def test_a_stack_frame_is_an_error(tmp_path: Path) -> None:
    """What the test above relies on: nvcc fails for a kernel that indexes an array of its own at run time."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc here")
    (tmp_path / "stack.cu").write_text(
        'extern "C" __global__ void f(int* x, int n) {\n'
        "    int held[64];\n"
        "    for (int i = 0; i < 64; ++i) held[i] = x[i] * n;\n"
        "    for (int i = 0; i < n; ++i) held[(held[i & 63] + i) & 63] += i;\n"
        "    x[0] = held[n & 63];\n"
        "}\n"
    )
    with pytest.raises(subprocess.CalledProcessError):
        compiled(tmp_path / "stack.cu", tmp_path / "stack.fatbin", "sm_90")


@MANY
@given(
    designs=st.integers(1, 6),
    length=st.integers(1, 90),
    mutations=st.integers(1, 200),
    step=st.integers(1, 100_000),
    first=st.integers(0, 5),
    tail=st.integers(0, 3),
    draw=st.booleans(),
    seed=st.integers(0, 9999),
)
def test_denoise_equals_the_loop_in_numpy(
    host: HostKernels,
    designs: int,
    length: int,
    mutations: int,
    step: int,
    first: int,
    tail: int,
    draw: bool,
    seed: int,
) -> None:
    """mark_sites and mutate_bases against `draws.shuffles`, keep_bases against `draws.drawn`, for a part of
    the designs."""
    from legscore.generate.draws import PERMUTATIONS, drawn, shuffles

    rng = np.random.default_rng(seed)
    first = min(first, designs - 1)
    count = int(rng.integers(1, designs - first + 1))
    rows, told = count + tail, int(rng.integers(1, 200))
    seeds = rng.integers(0, 1 << 62, designs)
    bases = rng.dirichlet(np.ones(4), (designs, length)).transpose(0, 2, 1).astype(np.float32).copy()
    targets = rng.uniform(0, 17, designs).astype(np.float32)
    hits = rng.integers(0, step, (designs, length)).astype(np.uint32)  # of earlier steps
    run(
        host,
        launches.mark_sites(
            seeds.ctypes.data,
            hits.ctypes.data,
            designs=designs,
            length=length,
            mutations=mutations,
            step=step,
        ),
    )
    x = np.full((rows + 1, 6, length), 7.0, dtype=np.float32)
    at = (bases.ctypes.data, seeds.ctypes.data, hits.ctypes.data, targets.ctypes.data, x.ctypes.data)
    run(
        host,
        launches.mutate_bases(*at, first=first, count=count, rows=rows, length=length, step=step, told=told),
    )
    chosen = slice(first, first + count)
    source = PERMUTATIONS[shuffles(seeds, step, mutations, length)].transpose(0, 2, 1)
    expected = np.take_along_axis(bases, source, axis=1)[chosen]
    assert (x[:count, :4] == expected).all()
    assert (x[:count, 4] == targets[chosen, None]).all()
    assert (x[:count, 5] == told).all()
    assert (x[count:rows] == 0).all()
    assert (x[rows] == 7).all(), "wrote beyond its array"
    out = rng.dirichlet(np.ones(4), (rows, length)).transpose(0, 2, 1).astype(np.float32).copy()
    before = bases.copy()
    shape = {"first": first, "count": count, "length": length, "step": step, "draw": draw}
    run(host, launches.keep_bases(out.ctypes.data, seeds.ctypes.data, bases.ctypes.data, **shape))
    assert (bases[chosen] == (drawn(seeds[chosen], step, out[:count]) if draw else out[:count])).all()
    before[chosen] = bases[chosen]
    assert (bases == before).all(), "wrote designs of another pass"
