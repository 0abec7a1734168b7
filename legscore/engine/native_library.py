"""The library built from kernels/cpu: found, loaded with ctypes, and which of its forms run here.

`pip install` builds it where a C++ compiler is found (setup.py); nothing is built at run time. The forms
give the same bits, so that the fastest that runs is taken.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
from pathlib import Path

from legscore.errors import EngineError
from legscore.system.resources import folder

ABI = 2
"""Of legnet.h; a library of another is refused."""
FORMS = ("portable", "avx512", "amx")
WHY_NOT = {
    1: "was not built: the compiler lacks its instructions",
    2: "needs instructions that this CPU lacks",
    3: "needs AMX tiles, which the system does not allow this process",
}
"""What `legnet_runs` says besides 0."""
BUILD = (
    "install legscore again where a C++ compiler is found (GCC 12 or Clang 14, or later), or run "
    "setup.py build_cpu"
)

Pointer, Int, Long = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "legnet_abi": (Int, []),
    "legnet_runs": (Int, [Int]),
    "legnet_pack": (Pointer, [Pointer, Int, Pointer, Pointer, Int, Pointer]),
    "legnet_free": (None, [Pointer]),
    "legnet_bytes": (Long, [Pointer]),
    "legnet_work": (Pointer, [Pointer]),
    "legnet_work_free": (None, [Pointer]),
    "legnet_score": (
        Int,
        [Int, Pointer, Int, Pointer, *[Pointer] * 4, Long, Long, Int, Int, Int, Pointer, Pointer],
    ),
    "legnet_bases": (Int, [Int, Pointer, Pointer, Pointer, Int, Pointer, Pointer]),
    "legnet_activations": (Int, [Int, Pointer, Pointer, Pointer, Int, Int, Int, Pointer]),
    "legnet_stages": (None, [Pointer, Pointer]),
    "legnet_rate": (ctypes.c_double, [Int, ctypes.c_double]),
}


def library_path() -> Path:
    """Where the library is, if it was built."""
    return folder("kernels") / "cpu" / "liblegnet.so"


@functools.cache
def load_library(path: Path | None = None) -> ctypes.CDLL:
    """The library, its functions with their types.

    Raises:
        EngineError: it is not there, does not load, or is of another version.
    """
    path = path or library_path()
    if not path.is_file():
        raise EngineError(f"engine native: its library was not built ({path} is not there); {BUILD}")
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise EngineError(f"engine native: {path} does not load ({error}); {BUILD}") from None
    if library.legnet_abi() != ABI:
        raise EngineError(f"engine native: {path} is of another version of legscore; {BUILD}")
    return library


def missing_form(form: str) -> str:
    """Why a form cannot run here, or an empty string. EngineError without a library."""
    if form not in FORMS:
        raise EngineError(f"engine native: form {form!r} is not known; known are {', '.join(FORMS)}")
    code = load_library().legnet_runs(FORMS.index(form))
    return f"form {form} {WHY_NOT[code]}" if code else ""


def fastest_form() -> str:
    """The fastest form that runs here. EngineError without a library."""
    return next(form for form in reversed(FORMS) if not missing_form(form))


def usable_form(asked: str | None) -> str:
    """The form asked for, or the fastest that runs here. EngineError where it does not run here."""
    if asked is not None and (why := missing_form(asked)):
        raise EngineError(f"engine native: {why}")
    return asked or fastest_form()


def library_state() -> str:
    """One line for `legscore doctor`."""
    try:
        forms = [form for form in FORMS if not missing_form(form)]
        lacking = [why for form in FORMS if (why := missing_form(form))]
    except EngineError as error:
        return str(error).removeprefix("engine native: ")
    return f"{', '.join(forms)} run here" + (f"; {'; '.join(lacking)}" if lacking else "")


@functools.cache
def library_digest() -> str:
    """The first 16 digits of the library's SHA-256."""
    return hashlib.sha256(library_path().read_bytes()).hexdigest()[:16]
