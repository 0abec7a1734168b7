"""Packaging. Metadata is here rather than in pyproject.toml because kernels/, engines/ and the bundled model
lie outside the Python package and are mapped into it: text only, so a wheel, an editable install and a bare
checkout all find them."""

import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # a build does not put it there

from legscore.cuda.image import compile_kernel, find_nvcc  # noqa: E402
from legscore.errors import EngineError  # noqa: E402
from legscore.version import __version__  # noqa: E402

TRAIN = ["torch>=2.6,<2.14", "tensorly>=0.8", "lion-pytorch>=0.2", "matplotlib>=3.8"]
GPU = ["tensorrt>=8.6", "pycuda>=2024.1"]
REPORT = ["matplotlib>=3.8", "plotly>=5.24"]
BIGWIG = ["pyBigWig>=0.3.18"]
RAY = ["ray[default]>=2.30"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]
TRT_TEST = [  # builds for GPUs that are not here: Linux, x86-64
    "tensorrt-rtx-cu13-bindings==1.7.1.116; platform_machine == 'x86_64' and sys_platform == 'linux'",
    "onnxruntime-ep-nv-tensorrt-rtx-cu13==0.5.0; platform_machine == 'x86_64' and sys_platform == 'linux'",
]
BENCH = ["onnxruntime>=1.17", "psutil>=5.9"]
TEST = [
    *TRAIN,
    *REPORT,
    *BENCH,
    *BIGWIG,
    "mmh3>=4",
    "moto[server]>=5",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "scipy>=1.11",
    "selenium>=4.20",
]


class BuildWithKernels(build_py):
    """Copies the package, then compiles kernels/*.cu beside their copies where nvcc is here. A failing nvcc
    is a warning: the first use on a GPU compiles then."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # nothing is written into the source tree
            return
        nvcc, built = find_nvcc(), Path(self.build_lib) / "legscore" / "kernels"
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


setup(
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
    ],
    package_dir={
        "legscore.kernels": "kernels",
        "legscore.engines": "engines",
        "legscore.bundled": "examples/models",
    },
    package_data={
        "legscore": ["py.typed"],
        "legscore.evaluate.report": ["*.js", "*.css"],
        "legscore.kernels": ["*.cu", "*.cuh", "*.fatbin", "*.md"],
        "legscore.engines": ["*.toml", "*.md"],
        "legscore.bundled": ["*.safetensors", "*.md"],
    },
    install_requires=[  # the suite passes on these lowest versions, on Python 3.10
        "numpy>=1.26",
        "pyarrow>=21",
        "polars>=1.36",
        "click>=8.1.7",
        "onnx>=1.16",
        "openvino>=2025.4",
        "safetensors>=0.4.5",
        "threadpoolctl>=3.1",
        "pysam>=0.23",
        "platformdirs>=4",
        "tqdm>=4.66",
        "tomli>=2; python_version < '3.11'",
    ],
    extras_require={
        "train": TRAIN,
        "gpu": GPU,
        "report": REPORT,
        "bigwig": BIGWIG,
        "ray": RAY,
        "bench": BENCH,
        "docs": DOCS,
        "trt-test": TRT_TEST,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.6", "mypy>=1.11"],
    },
    cmdclass={"build_py": BuildWithKernels},
    entry_points={"console_scripts": ["legscore = legscore.cli:main"]},
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Bio-Informatics",
        "Typing :: Typed",
    ],
)
