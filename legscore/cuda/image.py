"""kernels/*.cu as compiled images: shipped by `pip install`, else compiled on first use and cached.

A shipped fatbin holds code for every GPU generation that its nvcc knows, and PTX for later ones. Without it,
or when the driver rejects it (a driver older than the toolkit), nvcc on this machine compiles for the GPU at
hand, once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from legscore.errors import EngineError
from legscore.system.caches import locked, private
from legscore.system.log import Say
from legscore.system.publish import publishing, writing
from legscore.system.resources import cache_folder, folder

EVERY_GENERATION = "all-major"
"""nvcc's own name for "every generation and PTX of the newest": holds for each toolkit, unlike a list of
numbers."""
TIMEOUT_S = 300
CHECK_BYTES = 32
"""Of the checksum before a cached image: a driver does not say which damage it met."""
INSTALL = "install the CUDA toolkit (nvcc), or install legscore with nvcc on the PATH"

Images = dict[str, bytes]
"""Kernel file without .cu → fatbin."""


class RejectedError(Exception):
    """The driver cannot load an image."""


def find_nvcc() -> str | None:
    """Path of nvcc: on the PATH, in CUDA_HOME or CUDA_PATH, or in /usr/local/cuda."""
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [None, *(os.path.join(root, "bin") for root in roots if root)]
    return next((found for place in places if (found := shutil.which("nvcc", path=place))), None)


def nvcc_version(nvcc: str) -> str:
    """What `nvcc --version` ends with, such as `Build cuda_13.0.r13.0/compiler.36424714_0`. EngineError when
    it fails."""
    return (_run([nvcc, "--version"]).strip().splitlines() or ["unknown"])[-1]


def compile_kernel(nvcc: str, source: Path, target: Path, architecture: str = EVERY_GENERATION) -> None:
    """Compile one kernel file to a fatbin at `target`. EngineError with nvcc's first complaint when that
    fails."""
    _run([nvcc, "-fatbin", f"-arch={architecture}", "-o", str(target), str(source)])


def load_images(accept: Callable[[Images], None], architecture: str, say: Say = lambda line: None) -> str:
    """Give `accept` images that it takes: the shipped ones, else compiled ones.

    Args:
        accept: loads the images; raises RejectedError when the driver does not take them.
        architecture: of this GPU, such as `sm_90`, for compiling.
        say: receives a line when something is compiled, or the shipped images were rejected.

    Returns:
        Where the images came from: `shipped` or `compiled here`.

    Raises:
        EngineError: nothing shipped fits and nothing can be compiled.
    """
    sources = sorted(folder("kernels").glob("*.cu"))
    why = "no compiled kernels were installed"
    shipped = {source.stem: source.with_suffix(".fatbin") for source in sources}
    if shipped and all(path.is_file() for path in shipped.values()):
        try:
            accept({name: path.read_bytes() for name, path in shipped.items()})
            return "shipped"
        except RejectedError as error:
            why = f"the driver rejects the installed kernels ({error})"
            say(f"kernels: {why}; compiling them for {architecture}")
    nvcc = find_nvcc()
    if nvcc is None:
        raise EngineError(f"CUDA kernels: {why} and nvcc is not here; {INSTALL}")
    try:
        accept({source.stem: _cached(nvcc, source, architecture, say) for source in sources})
    except RejectedError as error:
        raise EngineError(
            f"CUDA kernels: the driver rejects what {nvcc} compiles ({error}); install a toolkit no newer "
            "than the driver"
        ) from None
    return "compiled here"


def _cached(nvcc: str, source: Path, architecture: str, say: Say) -> bytes:
    text = source.read_bytes()
    digest = hashlib.sha256(text + nvcc_version(nvcc).encode() + architecture.encode()).hexdigest()
    path = private(cache_folder("kernels")) / f"{source.stem}-{architecture}-{digest[:24]}.fatbin"
    with locked(path, lambda: say(f"kernels: another process is compiling {source.name}; waiting")):
        if path.is_file():
            kept = path.read_bytes()
            if hashlib.sha256(kept[CHECK_BYTES:]).digest() == kept[:CHECK_BYTES]:
                return kept[CHECK_BYTES:]
            say(f"kernels: {path.name} is damaged; compiling it again")
        say(f"kernels: compiling {source.name} for {architecture}, once")
        with publishing(path) as temporary:
            compile_kernel(nvcc, source, temporary, architecture)
            with writing(path):
                image = temporary.read_bytes()
                temporary.write_bytes(hashlib.sha256(image).digest() + image)
    return image


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{command[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        complaint = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
        raise EngineError(f"{' '.join(command[:3])}: exit code {done.returncode}: {complaint}")
    return done.stdout
