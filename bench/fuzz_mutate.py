"""Damage for `fuzz.py`: a good file and a random generator → a bad one. Each function takes and returns
bytes."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Mutate = Callable[[bytes, np.random.Generator], bytes]
NUMBERS = (
    0,
    1,
    -1,
    2**7,
    2**8 - 1,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    -(2**31),
    -(2**63),
)
TOKENS = (
    b"\0", b"\t", b"\n", b"\r\n", b'"', b"'", b",", b"\x1b[2J", b"\xff\xfe", b"\xef\xbb\xbf", b"\x07", b"=cmd|' /C calc'!A0",
    "Ａ".encode(), "\u202e".encode(), b"NaN", b"-inf", b"1e999", b"99999999999999999999", b"-1", b"0", b"chr1", b"<DEL>", b"*", b".",
    b"N" * 5000, b"A" * 70000, b">", b"#", b"@", b"../../etc/passwd", b"%s%n", b"true", b"null", b"[" * 3000, b"{" * 3000, b"1979-05-27",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 5, 65_536, 65_537, 2**31, 2**63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "A", "AGCT",
    "x" * 100_000, "\0", "\x1b[31m", "\ud800", [], {}, [[]], [1, 2], ["A"], {"a": 1}, [None] * 70, [10**9] * 3,
)  # fmt: skip


def anywhere(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes of any kind, anywhere."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = len(out)
        kind = int(rng.integers(0, 9))
        at = int(rng.integers(0, size + 1))
        if rng.random() < 0.3:  # footers and headers decide most
            at = int(
                rng.integers(max(0, size - 400), size + 1)
                if rng.random() < 0.6
                else rng.integers(0, min(size, 64) + 1)
            )
        if kind == 0 and size:
            for place in rng.integers(0, size, int(rng.integers(1, 9))):
                out[place] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + int(rng.integers(1, 64))]
        elif kind == 3:
            out[at:at] = out[at : at + int(rng.integers(1, 512))]
        elif kind == 4:
            out[at:at] = rng.bytes(int(rng.integers(1, 32)))
        elif kind == 5:
            form = "<bhiq"[int(rng.integers(1, 5))]
            width = struct.calcsize(form)
            number = NUMBERS[int(rng.integers(0, len(NUMBERS)))] % (1 << (8 * width))
            out[at : at + width] = number.to_bytes(width, "little" if rng.random() < 0.8 else "big")
        elif kind == 6:
            out[at:at] = TOKENS[int(rng.integers(0, len(TOKENS)))]
        elif kind == 7:
            other = int(rng.integers(0, size + 1))
            n = int(rng.integers(1, 256))
            out[at : at + n] = out[other : other + n]
        else:
            out[at : at + 1] = bytes([int(rng.integers(0, 256))])
    return bytes(out)


def text(data: bytes, rng: np.random.Generator) -> bytes:
    """Fields and lines changed, moved, repeated or left out; numbers and separators replaced."""
    lines = data.split(b"\n")
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(lines)))
        kind = int(rng.integers(0, 6))
        token = TOKENS[int(rng.integers(0, len(TOKENS)))]
        if kind == 0:
            parts = re.split(rb"([\t,; =|:])", lines[at])
            parts[int(rng.integers(0, len(parts)))] = token
            lines[at] = b"".join(parts)
        elif kind == 1:
            lines.insert(at, lines[int(rng.integers(0, len(lines)))])
        elif kind == 2 and len(lines) > 1:
            del lines[at]
        elif kind == 3:
            lines[at] += token
        elif kind == 4:
            lines[at] = re.sub(
                rb"\d+",
                lambda found: str(NUMBERS[int(rng.integers(0, len(NUMBERS)))]).encode(),
                lines[at],
                count=1,
            )
        else:
            lines[at] = token + lines[at]
    return b"\n".join(lines) if rng.random() < 0.8 else anywhere(b"\n".join(lines), rng)


def inside_gzip(
    change: Mutate, pack: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1)
) -> Mutate:
    """Change what is packed half of the time, the packed bytes otherwise."""

    def mutate(data: bytes, rng: np.random.Generator) -> bytes:
        if rng.random() < 0.5:
            return anywhere(data, rng)
        return pack(change(gzip.decompress(data), rng))

    return mutate


def bgzip(data: bytes) -> bytes:
    """As bgzip packs: gzip members of at most 64 kB that tell their size, and an empty one at the end."""
    out = b""
    for start in (*range(0, len(data), 60_000), len(data)):
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        block = data[start : start + 60_000]
        packed = packer.compress(block) + packer.flush()
        out += b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(packed) + 25) + packed
        out += struct.pack("<II", zlib.crc32(block), len(block))
    return out


def inside_json(value: Any, rng: np.random.Generator) -> Any:
    """The same value with one entry replaced, left out, repeated or renamed, somewhere."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        out = dict(value)
        key = list(out)[int(rng.integers(0, len(out)))]
        chance = rng.random()
        if chance < 0.1:
            del out[key]
        elif chance < 0.2:
            out[f"{key}x"] = out[key]
        else:
            out[key] = inside_json(out[key], rng)
        return out
    if isinstance(value, list) and value and rng.random() < 0.7:
        entries = list(value)
        at = int(rng.integers(0, len(entries)))
        chance = rng.random()
        if chance < 0.15:
            del entries[at]
        elif chance < 0.3:
            entries.append(entries[at])
        else:
            entries[at] = inside_json(entries[at], rng)
        return entries
    return VALUES[int(rng.integers(0, len(VALUES)))]


def json_file(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.2:
        return anywhere(data, rng)
    return json.dumps(inside_json(json.loads(data), rng)).encode("utf-8", "surrogatepass")


def safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The header's JSON changed, or the manifest inside it, or the header's length, or any bytes."""
    chance = rng.random()
    if chance < 0.25:
        return anywhere(data, rng)
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    if chance < 0.6:
        manifest = inside_json(json.loads(header["__metadata__"]["legscore"]), rng)
        header["__metadata__"]["legscore"] = json.dumps(manifest)
    elif chance < 0.95:
        header = inside_json(header, rng)
    if chance > 0.9 and body:
        cells = np.frombuffer(body[: len(body) // 4 * 4], np.float32).copy()
        cells[int(rng.integers(0, len(cells)))] = rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 0.0])
        body = cells.tobytes()
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    claimed = len(text) if rng.random() < 0.95 else NUMBERS[int(rng.integers(0, len(NUMBERS)))] % 2**64
    return claimed.to_bytes(8, "little") + text + body


def torch_file(data: bytes, rng: np.random.Generator) -> bytes:
    """An entry of the archive changed (its checksum fits again), stored or packed; or any bytes."""
    if rng.random() < 0.3 or not data.startswith(b"PK"):
        return anywhere(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        names = old.namelist()
        chosen = next((n for n in names if n.endswith("data.pkl")), names[0])
        if rng.random() < 0.3:
            chosen = names[int(rng.integers(0, len(names)))]
        kind = zipfile.ZIP_STORED if rng.random() < 0.8 else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(out, "w", kind) as new:
            for name in names:
                content = old.read(name)
                new.writestr(name, anywhere(content, rng) if name == chosen else content)
    return out.getvalue()
