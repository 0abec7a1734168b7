"""Packages that some commands need and a plain installation lacks, and which extra of pip brings each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

from legscore.errors import LegscoreError

EXTRAS = {
    "polars": "genome", "pysam": "genome", "torch": "train", "tensorly": "train", "lion_pytorch": "train",
    "matplotlib": "report", "pyBigWig": "bigwig", "ray": "ray", "tensorrt": "gpu", "pycuda": "gpu",
    "onnxruntime": "bench", "psutil": "bench",
}  # fmt: skip
"""Package → the extra that brings it."""
POLARS_FOR = {
    "cli.report": "report",
    "cli.plot": "report",
    "attribute": "evaluate",
    "evaluate.report": "report",
    "evaluate": "evaluate",
}
"""Modules that need polars for something other than genomes, and the extra that brings all they need."""


class MissingPackageError(LegscoreError, ImportError):
    """A package that an extra brings is not installed."""


@contextlib.contextmanager
def naming_extras() -> Iterator[None]:
    """Turn the failed import of a package of EXTRAS into a MissingPackageError that has the pip command; also
    a decorator. Other failed imports pass."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package] if package != "polars" else _extra_with_polars(error.__traceback__)
        raise MissingPackageError(
            f"{package} is not installed; pip install 'legscore[{extra}]' brings it", name=package
        ) from error


def _extra_with_polars(trace: TracebackType | None) -> str:
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "").removeprefix("legscore.")
        for place, extra in POLARS_FOR.items():
            if module == place or module.startswith(f"{place}."):
                return extra
        trace = trace.tb_next
    return EXTRAS["polars"]
