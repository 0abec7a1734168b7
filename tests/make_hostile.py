"""Makes tests/data/hostile: small files that claim, hide, overflow, mislead or run code. `python
tests/make_hostile.py` writes them anew; libraries of other versions may lay them out differently, the tests
only need that each is as hostile as it says."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent / "data" / "hostile"
Maker = Callable[[], bytes]
FILES: dict[str, Maker] = {}


def hostile(name: str) -> Callable[[Maker], Maker]:
    def register(make: Maker) -> Maker:
        FILES[name] = make
        return make

    return register


def table(rows: int = 40) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {"id": list(range(rows)), "sequence": ["".join(rng.choice(list("ACGT"), 80)) for _ in range(rows)]}
    )


def parquet(rows: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, **{"compression": "zstd", "write_statistics": False, **options})
    return sink.getvalue()


def arrow(rows: pa.Table) -> bytearray:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytearray(sink.getvalue())


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1, "the file is not laid out as expected"
    return data.replace(old, new, 1)


@hostile("cut_in_footer.parquet")
def _() -> bytes:
    return parquet(table())[:-20]


@hostile("cut_in_page.parquet")
def _() -> bytes:
    whole = parquet(table(), use_dictionary=False)
    return whole[:400] + whole[900:]  # the footer is there, and points beyond


@hostile("flipped_page.parquet")
def _() -> bytes:
    """One base changed in a page that has a checksum."""
    whole = bytearray(parquet(table(), use_dictionary=False, compression="none", write_page_checksum=True))
    at = whole.index(table()["sequence"][3].as_py().encode())
    whole[at] = ord("A") if whole[at] != ord("A") else ord("C")
    return bytes(whole)


@hostile("footer_of_2_gb.parquet")
def _() -> bytes:
    return parquet(table())[:-8] + struct.pack("<I", 2**31 - 1) + b"PAR1"


@hostile("optional_made_required.parquet")
def _() -> bytes:
    """The schema's promise changed in one bit, its statistics not: pyarrow 26 ends the process when asked
    about such a column."""
    data = parquet(table(), write_statistics=True)
    return replaced(data, b"\x25\x02\x18\x08sequence", b"\x25\x00\x18\x08sequence")


@hostile("one_value_many_times.parquet")
def _() -> bytes:
    """1 MB, 60 times, in a few kilobytes."""
    value = pa.array(["A" * 1_000_000]).take(pa.array(np.zeros(3, np.int64)))
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        pa.schema([("sequence", pa.string())]),
        compression="zstd",
        dictionary_pagesize_limit=1 << 24,
        write_statistics=False,
    ) as w:
        for _ in range(20):
            w.write_table(pa.table({"sequence": value}))
    return sink.getvalue()


@hostile("prefixes_of_1_mb.parquet")
def _() -> bytes:
    """Each value repeats the one before it: 60 MB of text in a few bytes of differences."""
    rows = pa.table({"sequence": ["A" * 1_000_000] * 60})
    return parquet(rows, use_dictionary=False, column_encoding={"sequence": "DELTA_BYTE_ARRAY"})


@hostile("row_groups_of_one.parquet")
def _() -> bytes:
    return parquet(table(), row_group_size=1)


@hostile("names_that_write_to_the_terminal.parquet")
def _() -> bytes:
    return parquet(table().rename_columns(["\x1b]0;owned\x07\x1b[2J\n\u202eid", "sequence"]))


@hostile("no_name.parquet")
def _() -> bytes:
    return parquet(table().rename_columns(["", "sequence"]))


@hostile("offsets_outside.arrow")
def _() -> bytes:
    """The third text ends 2 GB after the file."""
    whole, offsets = arrow(table(4)), struct.pack("<5i", 0, 80, 160, 240, 320)
    return replaced(bytes(whole), offsets, struct.pack("<5i", 0, 80, 2**31 - 1, 240, 320))


@hostile("offsets_that_fall.arrow")
def _() -> bytes:
    whole, offsets = arrow(table(4)), struct.pack("<5i", 0, 80, 160, 240, 320)
    return replaced(bytes(whole), offsets, struct.pack("<5i", 0, 240, 160, 80, 320))


@hostile("numbers_outside_the_dictionary.arrow")
def _() -> bytes:
    rows = pa.table({"sequence": pa.array(["ACGT", "CCGT", "GCGT", "ACGT"]).dictionary_encode()})
    return replaced(
        bytes(arrow(rows)), struct.pack("<4i", 0, 1, 2, 0), struct.pack("<4i", 0, 1, 70_000_000, -5)
    )


@hostile("cut.arrow")
def _() -> bytes:
    whole = arrow(table())
    return bytes(whole[: len(whole) // 2])


@hostile("cut.csv.gz")
def _() -> bytes:
    return gzip.compress(b"sequence\n" + b"ACGT\n" * 5000, mtime=0)[:-12]


@hostile("flipped.csv.gz")
def _() -> bytes:
    rng = np.random.default_rng(4)
    whole = bytearray(
        gzip.compress(
            b"sequence\n"
            + b"".join(rng.choice(list(b"ACGT"), 80).astype(np.uint8).tobytes() + b"\n" for _ in range(50)),
            mtime=0,
        )
    )
    whole[len(whole) // 2] ^= 16
    return bytes(whole)


@hostile("line_without_end.csv.gz")
def _() -> bytes:
    return gzip.compress(b"sequence\n" + b"A" * 40_000_000, mtime=0)


@hostile("record_without_end.fa.gz")
def _() -> bytes:
    return gzip.compress(b">a\n" + b"A" * (257 << 20), mtime=0)


@hostile("line_without_end.gtf.gz")
def _() -> bytes:
    return gzip.compress(b"1\tt\tgene\t" + b"9" * (100 << 20), mtime=0)


@hostile("zero_bytes.fa")
def _() -> bytes:
    return b">a\nAC\0GT\n>\0\0\nACGT\n"


@hostile("zero_bytes.csv")
def _() -> bytes:
    return b"id,sequence\n\0,AC\0GT\nb,ACGT\n"


@hostile("positions_too_large.vcf")
def _() -> bytes:
    return b"##fileformat=VCFv4.2\n##contig=<ID=1,length=900>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t99999999999999999999\t.\tA\tC\t.\t.\t.\n"


@hostile("not_text.vcf")
def _() -> bytes:
    return b"##fileformat=VCFv4.2\n##contig=<ID=\xae\xff>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n\xae\xff\t3\t.\tA\tC\t.\t.\t.\n"


def checkpoint() -> tuple[dict[str, Any], bytes]:
    """Header and body of a good checkpoint."""
    from conftest import toy_checkpoint

    path = FOLDER / "good.safetensors"
    toy_checkpoint(0, widths=(4, 4), inner_widths=(8,), pools=(1,)).save(path)
    data = path.read_bytes()
    path.unlink()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(header: Any, body: bytes, claimed: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return (len(text) if claimed is None else claimed).to_bytes(8, "little") + text + body


@hostile("header_of_9_eb.safetensors")
def _() -> bytes:
    return packed(*checkpoint(), claimed=2**63 - 1)


@hostile("header_of_99_mb.safetensors")
def _() -> bytes:
    return packed(*checkpoint(), claimed=99_000_000)


@hostile("nested_header.safetensors")
def _() -> bytes:
    return packed(b'{"a":' * 40_000 + b"1" + b"}" * 40_000, b"")


@hostile("nested_manifest.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    header["__metadata__"]["legscore"] = "[" * 100_000
    return packed(header, body)


@hostile("overlapping.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    names = sorted(
        (name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"]
    )
    header[names[1]]["data_offsets"] = [
        header[names[0]]["data_offsets"][0],
        header[names[1]]["data_offsets"][1],
    ]
    return packed(header, body)


@hostile("claims_2_gb.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    last = max(
        (name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"]
    )
    header[last]["shape"] = [2**29]
    header[last]["data_offsets"][1] = header[last]["data_offsets"][0] + 2**31
    return packed(header, body)


@hostile("architecture_of_4_tb.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    manifest = json.loads(header["__metadata__"]["legscore"])
    manifest["architecture"]["widths"] = [65_536, 65_536]
    manifest["architecture"]["inner_widths"] = [65_536]
    header["__metadata__"]["legscore"] = json.dumps(manifest)
    return packed(header, body)


@hostile("nan_weight.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    cells = np.frombuffer(body, np.float32).copy()
    cells[header["stem.conv.weight"]["data_offsets"][0] // 4 + 7] = np.nan
    return packed(header, cells.tobytes())


@hostile("wrong_type.safetensors")
def _() -> bytes:
    header, body = checkpoint()
    header["stem.conv.weight"]["dtype"] = "I32"
    return packed(header, body)


@hostile("note_for_the_terminal.safetensors")
def _() -> bytes:
    """A good model whose note would colour and clear the screen."""
    header, body = checkpoint()
    manifest = json.loads(header["__metadata__"]["legscore"])
    manifest["training"]["note"] = "\x1b[2J\x1b[31mtrust me\r\nlegscore: all is well"
    header["__metadata__"]["legscore"] = json.dumps(manifest)
    return packed(header, body)


class Command:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran-by-a-checkpoint",)


@hostile("runs_code.pkl")
def _() -> bytes:
    return pickle.dumps({"state_dict": Command()})


@hostile("runs_code.pth")
def _() -> bytes:
    """As torch.save lays it out: an archive with a pickle in it."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": Command()}, protocol=2))
        archive.writestr("archive/version", "3\n")
    return sink.getvalue()


@hostile("unpacks_to_100_mb.pth")
def _() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", b"\0" * 100_000_000)
        archive.writestr("archive/version", "3\n")
    return sink.getvalue()


@hostile("one_number_as_a_terabyte.pth")
def _() -> bytes:
    """A tensor of 2^38 elements that all lie at one place, in half precision: widening it would take a
    terabyte."""
    import torch

    sink = io.BytesIO()
    torch.save(
        {
            "state_dict": {
                "model.stem_block.block.0.weight": torch.zeros(1, dtype=torch.float16).expand(1 << 38)
            }
        },
        sink,
    )
    return sink.getvalue()


@hostile("nested.toml")
def _() -> bytes:
    return b"precision = " + b"[" * 50_000


@hostile("thresholds_that_let_everything_pass.toml")
def _() -> bytes:
    from legscore.system.resources import folder

    text = (folder("engines") / "fp32.toml").read_text()
    return "\n".join(
        "score_pearson_min = nan" if line.startswith("score_pearson_min") else line
        for line in text.splitlines()
    ).encode()


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (FOLDER / name).write_bytes(make())


if __name__ == "__main__":
    main()
