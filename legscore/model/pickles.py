"""Reading PyTorch files as data: plain tensors and records only, and nothing in them that keeps the reader
busy.

`torch.load(weights_only=True)` runs no code. When it refuses a name it searches its own message, with a
pattern whose time grows with the square of the name's length: minutes for a damaged file. So the names of a
file are looked at first.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, Any

LONGEST_NAME = 500
"""Characters of a module and a name in it; torch's own have 20 to 60."""
LARGEST_PICKLE_BYTES = 16 << 20
"""Without the tensors, which lie beside it; that of a LegNet's training takes 0.1 MB."""
ZIP = b"PK\x03\x04"


class OddPickleError(Exception):
    """What no saved network holds."""


def load_plain(path: Path, device: Any = "cpu") -> Any:
    """What `torch.load(weights_only=True)` finds in a file.

    Raises:
        OddPickleError: a pickle in it is larger than 16 MB or names something with more than 500 characters.
        Exception: whatever zipfile and torch raise for files that are damaged or hold more than data (many
            kinds).
    """
    import torch

    for stream in _pickles(path):
        # torch meets the same damage
        with suppress(ValueError, IndexError, KeyError, EOFError, OverflowError, struct.error):
            for code, argument, at in pickletools.genops(stream):
                if code.name == "GLOBAL" and len(name := str(argument)) > LONGEST_NAME:
                    raise OddPickleError(f"it names something with {len(name):,} characters")
                if (at or 0) > LARGEST_PICKLE_BYTES:
                    raise OddPickleError(f"it holds a pickle of more than {LARGEST_PICKLE_BYTES:,} bytes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damage that ends in an error all the same
        return torch.load(path, map_location=device, weights_only=True)


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """Those of an archive, or the file itself once for each pickle that the older format begins with. torch
    goes by the first bytes too."""
    with open(path, "rb") as stream:
        if stream.read(len(ZIP)) != ZIP:
            stream.seek(0)
            for _ in ("magic number", "version", "system", "object", "keys of its storages"):
                yield stream
            return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".pkl"):
                if entry.file_size > LARGEST_PICKLE_BYTES:
                    raise OddPickleError(f"it holds a pickle of {entry.file_size:,} bytes")
                yield BytesIO(archive.read(entry))
