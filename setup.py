"""Packaging. Metadata is here rather than in pyproject.toml because kernels/, engines/ and the bundled model
lie outside the Python package and are mapped into it: text only, so a wheel, an editable install and a bare
checkout all find them. kernels/cpu is C++: a library is built from it where a compiler is found, and a
wheel that holds one is for its platform, for any Python."""

import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    try:
        from wheel.bdist_wheel import bdist_wheel
    except ImportError:  # no wheel can be built here, everything else can
        bdist_wheel = Command

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # a build does not put it there

from legscore.cuda.image import compile_kernel, find_nvcc  # noqa: E402
from legscore.errors import EngineError  # noqa: E402
from legscore.version import __version__  # noqa: E402

# Lower bounds are the lowest releases that pass on Python 3.10 (.ci/full installs them). Where no reason is
# given, older releases have no wheels for that Python, or were not looked at.
# polars 1.35 panics on the genes of a GTF
POLARS = ["polars>=1.36"]
# pysam before 0.23 ends at a damaged record as if the file ended there
GENOME = [*POLARS, "pysam>=0.23"]
TRAIN = ["torch>=2.6,<2.14", "tensorly>=0.8", "lion-pytorch>=0.2", "matplotlib>=3.7"]
GPU = ["tensorrt>=10.1,<12", "pycuda>=2025.1.2"]  # the newest: CUDA 13, which PyCUDA knows since 2025.1.2
GPU_CU12 = ["tensorrt-cu12>=10.1,<12", "pycuda>=2024.1"]
GPU_CU13 = ["tensorrt-cu13>=10.13.2,<12", "pycuda>=2025.1.2"]
GPU_RTX = [  # wheels of PyPI alone: nothing comes from NVIDIA's index
    "tensorrt-rtx-cu13-bindings>=1.7,<2",
    "tensorrt-rtx-cu13-libs>=1.7,<2",
    "pycuda>=2025.1.2",
]
# legends outside the axes came with matplotlib 3.7
REPORT = [*POLARS, "matplotlib>=3.7", "plotly>=5"]
BIGWIG = ["pyBigWig>=0.3.18"]
ALL = [*GENOME, *REPORT, *BIGWIG]  # every command, without PyTorch, GPUs and Ray: those are large
RAY = ["ray[default]>=2.30"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26", "ruff>=0.6"]
TRT_TEST = [  # builds for GPUs that are not here: Linux, x86-64
    "tensorrt-rtx-cu13-bindings==1.7.1.116; platform_machine == 'x86_64' and sys_platform == 'linux'",
    "tensorrt-rtx-cu13-libs==1.7.1.116; platform_machine == 'x86_64' and sys_platform == 'linux'",
]
TRITON_TEST = [  # kernels in its interpreter, and compiled for GPUs that are not here; 1 GB unpacked
    "triton>=3.3; platform_machine == 'x86_64' and sys_platform == 'linux'"
]
NOTEBOOK = [*ALL, "ipykernel>=6.29", "ipywidgets>=8", "nbclient>=0.10"]  # examples/notebooks, executed
BENCH = ["onnxruntime>=1.17", "psutil>=5.9"]
TEST = [
    *NOTEBOOK,
    *TRAIN,
    *BENCH,
    "onnx>=1.16",
    "moto[server]>=5",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "scipy>=1.11",
    "selenium>=4.20",
    "pandas>=2.2",  # tables in and out
    "duckdb>=1.1",
]


FLAGS = [
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-ffp-contract=off",
    "-w",
]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
AMX = [*AVX512, "-mavx512bf16", "-mavx512fp16", "-mamx-tile", "-mamx-bf16"]
FORMS = {
    "portable": (["-O2"], "int main() { return 0; }"),
    "avx512": (
        ["-O3", *AVX512],
        "#include <immintrin.h>\nint main() { return _mm512_roundscale_ps(_mm512_set1_ps(1.f), 9)[0] < 1; }",
    ),
    "amx": (
        ["-O3", *AMX],
        "#include <immintrin.h>\nint main() { _tile_dpbf16ps(0, 1, 2); "
        "return (float)_mm512_reduce_add_ph(_mm512_cvtepu16_ph(_mm512_set1_epi16(1))) < 1; }",
    ),
}
"""Forms of the network in kernels/cpu: the flags of its object, and what a compiler must take for it."""
LIBRARY = "liblegnet.so"


@functools.cache
def find_compiler() -> list[str] | None:
    """The C++ compiler ($CXX, else c++, g++ or clang++) as a command; None where there is none that works."""
    asked = os.environ.get("CXX")
    for command in [shlex.split(asked)] if asked else [["c++"], ["g++"], ["clang++"]]:
        if command and shutil.which(command[0]) and compiles(command, "portable"):
            return command
    return None


def compiles(compiler: list[str], form: str) -> bool:
    """Whether a compiler takes a form's probe."""
    flags, probe = FORMS[form]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.cpp"
        source.write_text(probe)
        command = [*compiler, *FLAGS, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        return subprocess.run(command, capture_output=True).returncode == 0


def build_library(sources: Path, library: Path, extra: tuple[str, ...] = (), emulate: bool = False) -> str:
    """Build kernels/cpu with each form that the compiler takes.

    Args:
        sources: the folder of its text.
        library: the file to write.
        extra: flags for every object and for linking.
        emulate: build the amx form on emulated tiles and FP16, for tests on CPUs without them.

    Returns:
        What was not built and why, or an empty string.
    """
    library.unlink(missing_ok=True)  # of an earlier build, perhaps of other text
    compiler = find_compiler()
    if compiler is None:
        return "no C++ compiler was found: the native engine was not built; OpenVINO scores on CPUs"
    forms = [form for form in FORMS if compiles(compiler, form)]
    flags_of = {form: flags for form, (flags, _) in FORMS.items()}
    if emulate:
        forms = list(FORMS)
        level = "-O1" if extra else "-O2"  # at -O2 the sanitizers' checks take minutes to compile
        flags_of["amx"] = [level, *AVX512, "-include", str(HERE / "tests" / "data" / "emulated_amx.h")]
        extra = (*extra, "-DLEGNET_EMULATED")
    built = [f"-DLEGNET_WITH_{form.upper()}" for form in forms if form != "portable"]
    parts = {form: flags_of[form] for form in forms} | {"pack": ["-O2"], "api": ["-O2", *built]}
    with tempfile.TemporaryDirectory() as folder:
        objects = {name: str(Path(folder) / f"{name}.o") for name in parts}
        commands = [
            [*compiler, *FLAGS, *flags, *extra, "-c", str(sources / f"{name}.cpp"), "-o", objects[name]]
            for name, flags in parts.items()
        ]
        link = [*compiler, "-shared", *extra, "-Wl,--as-needed", *objects.values(), "-o", str(library)]
        if sys.platform == "darwin":
            link.remove("-Wl,--as-needed")
        library.parent.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor() as pool:
            done = list(
                pool.map(lambda command: subprocess.run(command, capture_output=True, text=True), commands)
            )
        done.append(subprocess.run(link, capture_output=True, text=True))
    for ended in done:
        if ended.returncode:
            library.unlink(missing_ok=True)
            wrong = next(
                (line for line in ended.stderr.splitlines() if "error" in line), "it did not say why"
            )
            return f"{compiler[0]} does not build the native engine ({wrong}); OpenVINO scores on CPUs"
    missing = [form for form in FORMS if form not in forms]
    return f"{compiler[0]} has no instructions for: {', '.join(missing)}" if missing else ""


class BuildCPU(Command):
    """`python setup.py build_cpu`: the library of kernels/cpu in place, for a bare checkout."""

    description = "build kernels/cpu in place"
    user_options = [  # noqa: RUF012
        ("sanitize", None, "with the address and undefined-behaviour sanitizers"),
        ("emulate", None, "with the amx form on emulated tiles, for tests on CPUs without them"),
        ("output=", None, "the file to write, instead of the one in place"),
    ]

    def initialize_options(self) -> None:
        self.sanitize, self.emulate, self.output = False, False, None

    def finalize_options(self) -> None:
        pass

    def run(self) -> None:
        checks = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all") if self.sanitize else ()
        library = Path(self.output) if self.output else HERE / "kernels" / "cpu" / LIBRARY
        if complaint := build_library(HERE / "kernels" / "cpu", library, checks, bool(self.emulate)):
            self.warn(complaint)
        if not library.is_file():
            raise SystemExit(1)


class BuildWithKernels(build_py):
    """Copies the package, then builds kernels/cpu and compiles kernels/*.cu beside their copies where a C++
    compiler and nvcc are here; what is missing is a warning. An editable install builds kernels/cpu in
    place."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            if complaint := build_library(HERE / "kernels" / "cpu", HERE / "kernels" / "cpu" / LIBRARY):
                self.warn(complaint)
            return
        nvcc, built = find_nvcc(), Path(self.build_lib) / "legscore" / "kernels"
        if complaint := build_library(HERE / "kernels" / "cpu", built / "cpu" / LIBRARY):
            self.warn(complaint)
        for old in built.glob("*.fatbin"):  # of an earlier build in the same folder, perhaps of other text
            old.unlink()
        if nvcc is None:
            return
        for source in sorted(built.glob("*.cu")):
            try:
                compile_kernel(nvcc, source, source.with_suffix(".fatbin"))
            except EngineError as error:
                self.warn(f"{source.name} was not compiled ({error}); the first use on a GPU will try again")
                source.with_suffix(".fatbin").unlink(missing_ok=True)


class WithLibrary(Distribution):
    """A package that goes where binaries do, where a library can be built."""

    def has_ext_modules(self) -> bool:
        return super().has_ext_modules() or find_compiler() is not None


class WheelOfPlatform(bdist_wheel):
    """A wheel for its platform and any Python where it holds a library, else for any platform."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        folders = [Path(self.bdist_dir or ""), Path(self.get_finalized_command("build_py").build_lib)]
        built = any((folder / "legscore" / "kernels" / "cpu" / LIBRARY).is_file() for folder in folders)
        return "py3", "none", platform if built else "any"


setup(
    distclass=WithLibrary,
    name="legscore",
    version=__version__,
    description="Score DNA variants with LegNet ensembles: exact, fast, in bounded memory",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["legscore", "legscore.*"]),
        "legscore.kernels",
        "legscore.engines",
        "legscore.bundled",
        "legscore.bundled_1",
        "legscore.student",
    ],
    package_dir={
        "legscore.kernels": "kernels",
        "legscore.engines": "engines",
        "legscore.bundled": "examples/models",
        "legscore.bundled_1": "examples/models_1",
        "legscore.student": "examples/student",
    },
    package_data={
        "legscore": ["py.typed"],
        "legscore.evaluate.report": ["*.js", "*.css"],
        "legscore.kernels": ["*.cu", "*.cuh", "*.fatbin", "*.md", "cpu/*.cpp", "cpu/*.h"],
        "legscore.engines": ["*.toml", "*.md"],
        "legscore.bundled": ["*.safetensors", "*.md"],
        "legscore.bundled_1": ["*.safetensors", "*.md"],
        "legscore.student": ["*.safetensors", "*.md"],
    },
    install_requires=[
        "numpy>=1.21.3",
        "pyarrow>=18",  # casts the string views of polars
        "click>=8.0",  # ParameterSource
        "openvino>=2025.4",  # imports a network from memory without copying it
        "safetensors>=0.3",
        "threadpoolctl>=3",  # ThreadpoolController
        "platformdirs>=2",
        "tqdm>=4.50",
        "mmh3>=3",
        "tomli>=1.1; python_version < '3.11'",
    ],
    extras_require={
        "genome": GENOME,
        "evaluate": POLARS,
        "all": ALL,
        "train": TRAIN,
        "gpu": GPU,
        "gpu-cu12": GPU_CU12,
        "gpu-cu13": GPU_CU13,
        "gpu-rtx": GPU_RTX,
        "report": REPORT,
        "bigwig": BIGWIG,
        "ray": RAY,
        "bench": BENCH,
        "notebook": NOTEBOOK,
        "docs": DOCS,
        "trt-test": TRT_TEST,
        "triton-test": TRITON_TEST,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.6", "mypy>=1.11"],
    },
    cmdclass={
        "build_py": BuildWithKernels,
        "build_cpu": BuildCPU,
        **({} if bdist_wheel is Command else {"bdist_wheel": WheelOfPlatform}),
    },
    entry_points={"console_scripts": ["legscore = legscore.cli:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Typing :: Typed",
    ],
)
