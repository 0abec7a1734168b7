"""A bundle of TensorRT and a Python for a machine without a network, which travels in pieces.

A call brings a piece or none; it is moved out of the checkout and checked by its SHA256. The call that
brings the last piece puts them together. A bundle is a zstd-packed tar of a folder `legscore-gpu` with
`python` (a prefix of Python 3.10), `site` (packages, among them tensorrt and pycuda) and `stubs`
(libraries that are named and never called); beside the pieces lies `SHA256SUMS`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import IO, Any

NAME, SUMS = "legscore-gpu", "SHA256SUMS"


def sums(folder: Path) -> dict[str, str]:
    """{piece: sha256} of a folder's list; empty where there is none."""
    path = folder / SUMS
    if not path.exists():
        return {}
    return {name: digest for digest, name in (line.split() for line in path.read_text().splitlines() if line)}


def take_pieces(carried: Path, store: Path) -> list[str]:
    """Move the pieces that a call brought into the store; what is damaged is a SystemExit.

    Returns:
        Names of the pieces that are still missing.
    """
    store.mkdir(parents=True, exist_ok=True)
    if (carried / SUMS).exists():
        shutil.copyfile(carried / SUMS, store / SUMS)
    wanted = sums(store)
    for name, digest in wanted.items():
        if (carried / name).exists():
            shutil.move(carried / name, store / name)
        if (store / name).exists() and _sha256(store / name) != digest:
            raise SystemExit(f"{name} is damaged: its SHA256 is not that of {SUMS}")
    return [name for name in wanted if not (store / name).exists()]


def unpack(store: Path) -> Path:
    """Put the pieces together; returns the folder. SystemExit while one is missing."""
    target, wanted = store / NAME, sums(store)
    missing = [name for name in wanted if not (store / name).exists()]
    if not wanted or missing:
        raise SystemExit(f"the bundle lacks {', '.join(missing) or SUMS}")
    if not target.exists():
        aside = store / f"{NAME}.new"
        shutil.rmtree(aside, ignore_errors=True)
        packed = _unpacked([store / name for name in sorted(wanted)], store)
        with packed as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            archive.extractall(aside, filter="tar")
        (aside / NAME).rename(target)
        aside.rmdir()
    return target


def environment(folder: Path) -> dict[str, str]:
    """Variables under which the bundle's Python runs."""
    site, python = folder / "site", folder / "python"
    libraries = [folder / "stubs", site / "tensorrt", python / "lib"]
    return {
        **os.environ,
        "PATH": f"{python / 'bin'}:{os.environ.get('PATH', '')}",
        "PYTHONHOME": str(python),
        "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}",
        "LD_LIBRARY_PATH": ":".join([*map(str, libraries), os.environ.get("LD_LIBRARY_PATH", "")]),
        "CUDA_MODULE_LOADING": "LAZY",
    }


def _unpacked(pieces: list[Path], store: Path) -> IO[Any]:
    """The tar of packed pieces, by zstd where it is installed, else by pyarrow."""
    if shutil.which("zstd") is None:
        import pyarrow as pa

        whole = store / "whole.zst"
        with open(whole, "wb") as out:
            for piece in pieces:
                with open(piece, "rb") as part:
                    shutil.copyfileobj(part, out)
        return pa.CompressedInputStream(pa.OSFile(str(whole)), "zstd")  # type: ignore[no-any-return]
    reading = subprocess.Popen(["cat", *map(str, pieces)], stdout=subprocess.PIPE)
    unpacking = subprocess.Popen(["zstd", "-dqc"], stdin=reading.stdout, stdout=subprocess.PIPE)
    assert unpacking.stdout is not None
    return unpacking.stdout


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
