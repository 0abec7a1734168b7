"""Size and CRC-32 of a file: it is still what was written. SHA-256: it is the one that was meant."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.system.storage import Remote, Stamp, check_same, open_binary, stamp

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Checksum:
    """Bytes of a file and their CRC-32, which every flipped bit changes."""

    size: int
    crc32: int

    def to_json(self) -> dict[str, Any]:
        return {"bytes": self.size, "crc32": f"{self.crc32:08x}"}

    @classmethod
    def from_json(cls, record: object) -> Checksum | None:
        """What `to_json` wrote, whatever else the record holds; None where it holds no such thing."""
        if not isinstance(record, dict):
            return None
        size, crc32 = record.get("bytes"), record.get("crc32")
        if type(size) is not int or not isinstance(crc32, str) or len(crc32) != 8:
            return None
        try:
            return cls(size, int(crc32, 16))
        except ValueError:
            return None


def checksum_of(path: Path | Remote) -> Checksum:
    """The checksum of a file, read from beginning to end. OSError when it cannot be read."""
    size = crc32 = 0
    with open_binary(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            size, crc32 = size + len(block), zlib.crc32(block, crc32)
    return Checksum(size, crc32)


def sha256_of(path: Path | Remote) -> str:
    """SHA-256 of a file in hex, read from beginning to end. OSError when it cannot be read."""
    digest = hashlib.sha256()
    with open_binary(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Seen:
    """What tells that a file which is read twice holds what it held, also where it was written over in place
    and given its old time."""

    path: Path
    stamp: Stamp
    checksum: Checksum

    @classmethod
    def of(cls, path: Path) -> Seen:
        """OSError when it cannot be read."""
        return cls(path, stamp(path), checksum_of(path))

    def check(self) -> None:
        """InputError unless the file is the same, unchanged."""
        check_same(self.path, self.stamp)
        try:
            same = checksum_of(self.path) == self.checksum
        except OSError:
            same = False
        if not same:
            raise InputError(
                f"{self.path} changed while it was in use; let it be whole and still, then run again"
            )
