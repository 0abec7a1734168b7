"""Which files folders and patterns stand for, the columns that folders' names say, and files that differ in types."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.errors import InputError
from legscore.input.column_types import common_type
from legscore.input.files import find_files
from legscore.input.read import Input, open_input


def put(path: Path, *ids: str, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": list(ids), "sequence": ["ACGT"] * len(ids), **more}), path)
    return path


def ids(opened: Input) -> list[str]:
    return [name for part in opened.parts(["id"], 100) for name in part.table["id"].to_pylist()]


def test_what_other_tools_leave_is_no_input(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    put(folder / "b.parquet", "b")
    put(folder / "sub" / "a.parquet", "a")
    for name in (
        "_temporary/0/task/b.parquet", ".ipynb_checkpoints/b-checkpoint.parquet", "sub/_delta_log/1.checkpoint.parquet",
        "sub/.hidden.parquet", "_metadata",
    ):  # fmt: skip
        put(folder / name, "twice")
    (folder / "_SUCCESS").touch()
    (folder / "README.txt").write_text("what this is")
    opened = open_input([folder])
    assert ids(opened) == ["b", "a"]
    first, delta = opened.notes
    assert ": 7 left out" in first
    assert f"the first is {folder}/.ipynb_checkpoints" in first
    assert "Delta table" in delta
    for name in ("_d", ".d"):  # the folder that is named may be called so
        put(tmp_path / name / "x.parquet", "x")
        assert ids(open_input([tmp_path / name])) == ["x"]
        assert open_input([tmp_path / name]).notes == ()


@pytest.mark.parametrize(
    "name", ["x.PARQUET", "x.parq", "x.PQ", "x.Parquet", "part-00000", "x.snappy", "x.csv"]
)
def test_parquet_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    put(tmp_path / "d" / name, "x")
    (tmp_path / "d" / "notes.csv").write_text("id,sequence\na,ACGT\n")
    opened = open_input([tmp_path / "d"])
    assert ids(opened) == ["x"]
    assert len(opened.notes) == 1
    assert (
        f"1 left out (hidden by _ or ., a link, a copy, or no Parquet); the first is {tmp_path}/d/notes"
        in opened.notes[0]
    )
    assert ids(open_input([tmp_path / "d" / name])) == ["x"]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"text"])
def test_a_broken_file_that_is_called_parquet_is_not_passed_over(tmp_path: Path, content: bytes) -> None:
    put(tmp_path / "d" / "a.parquet", "a")
    (tmp_path / "d" / "b.parq").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.parq (is empty|cannot be read as Parquet)"):
        open_input([tmp_path / "d"])


def test_links_do_not_double_rows(tmp_path: Path) -> None:
    put(tmp_path / "d" / "a.parquet", "a")
    put(tmp_path / "elsewhere.parquet", "e")
    os.symlink("a.parquet", tmp_path / "d" / "latest.parquet")
    os.symlink(tmp_path / "elsewhere.parquet", tmp_path / "d" / "e.parquet")
    os.symlink(tmp_path / "nowhere", tmp_path / "d" / "gone.parquet")
    os.symlink(tmp_path / "d", tmp_path / "d" / "loop")
    os.symlink(tmp_path / "elsewhere.parquet", tmp_path / "d" / "f.parquet")
    put(tmp_path / "d" / ".stored" / "g.parquet", "g")
    os.symlink(".stored/g.parquet", tmp_path / "d" / "g.parquet")  # as caches do
    opened = open_input([tmp_path / "d"])
    assert ids(opened) == ["a", "e", "g"]
    assert ": 5 left out" in opened.notes[0]
    assert ids(open_input([tmp_path / "d" / "*.parquet"])) == ["a", "e", "g"]


def test_patterns(tmp_path: Path) -> None:
    for name in ("a.parquet", "sub/b.parquet", "sub/deep/c.parquet", "_old/d.parquet", "sub/_e.parquet"):
        put(tmp_path / name, name[-9])
    at = str(tmp_path)
    assert ids(open_input([f"{at}/**"])) == ["a", "b", "c"]
    assert ids(open_input([f"{at}/**/*.parquet"])) == ["a", "b", "c"]
    assert ids(open_input([f"{at}/s*"])) == ["b", "c"]
    assert ids(open_input([f"{at}/_old/*"])) == ["d"]
    assert ids(open_input([f"{at}/_o*/*"])) == ["d"]
    assert ids(open_input([f"{at}/*/_e.parquet"])) == ["e"]
    with pytest.raises(InputError, match=r"_e\.parquet|no Parquet file in this pattern"):
        open_input([f"{at}/sub/?e*"])
    with pytest.raises(InputError, match=r"a\.parquet \(it is .*a\.parquet\) is named twice: every row"):
        open_input([f"{at}/*.parquet", tmp_path / "sub" / ".." / "a.parquet"])


def test_keys_in_names_of_folders_are_columns(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    put(folder / "chrom=chr1" / "batch=1" / "a.parquet", "a")
    put(folder / "chrom=chr%20X%2F" / "batch=02" / "b.parquet", "b")
    put(folder / "chrom=__HIVE_DEFAULT_PARTITION__" / "batch=3" / "c.parquet", "c")
    opened = open_input([folder])
    assert opened.schema.names == ["id", "sequence", "chrom", "batch"]
    assert (opened.schema.field("chrom").type, opened.schema.field("batch").type) == (pa.string(), pa.int32())
    found = [part.table.to_pydict() for part in opened.parts(["batch", "id", "chrom"], 2)]
    assert found == [
        {"batch": [3, 2], "id": ["c", "b"], "chrom": [None, "chr X/"]},
        {"batch": [1], "id": ["a"], "chrom": ["chr1"]},
    ]
    assert [p.table.to_pydict() for p in opened.parts(["chrom"], 9)] == [{"chrom": [None, "chr X/", "chr1"]}]
    by_pattern = open_input([f"{folder}/chrom=chr*/*/*.parquet"])
    assert by_pattern.schema.names == ["id", "sequence", "chrom", "batch"]
    # as a shell writes out patterns: folders or files one by one
    one_by_one = [*sorted(folder.glob("chrom=*"))], [*sorted(folder.glob("chrom=*/*/*.parquet"))]
    for named in one_by_one:
        columns = open_input(named).parts(["id", "chrom", "batch"], 9)
        assert [p.table.to_pydict() for p in columns] == [
            {"id": ["c", "b", "a"], "chrom": [None, "chr X/", "chr1"], "batch": [3, 2, 1]}
        ]
    assert open_input([folder / "chrom=chr1" / "batch=1" / "a.parquet"]).schema.names[2:] == [
        "chrom",
        "batch",
    ]
    (folder / "chrom=chr1" / "plain").mkdir()
    (folder / "chrom=chr1" / "batch=1" / "a.parquet").rename(folder / "chrom=chr1" / "plain" / "a.parquet")
    assert open_input([folder / "chrom=chr1" / "plain"]).schema.names == ["id", "sequence"]


@pytest.mark.parametrize("name", ["a.parquet~", "a.parquet.tmp", "#a.parquet#", "lost+found/a.parquet"])
def test_copies_and_unfinished_files_are_no_input(tmp_path: Path, name: str) -> None:
    put(tmp_path / "d" / "a.parquet", "a")
    put(tmp_path / "d" / name, "again")
    opened = open_input([tmp_path / "d"])
    assert ids(opened) == ["a"]
    assert opened.notes[0].endswith(f"the first is {tmp_path}/d/{name}")
    assert ids(open_input([tmp_path / "d" / name])) == ["again"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Delta", "_delta_log/0.json"), ("Hudi", ".hoodie/x"), ("Iceberg", "metadata/v1.metadata.json")],
)
def test_tables_that_keep_earlier_versions_are_named(tmp_path: Path, kind: str, name: str) -> None:
    put(tmp_path / "d" / "a.parquet", "a")
    (tmp_path / "d" / name).parent.mkdir()
    (tmp_path / "d" / name).write_text("{}")
    notes = open_input([tmp_path / "d"]).notes
    assert f"{kind} table, of which files of earlier versions are read too; export it first" in notes[-1]


def test_keys_agree_with_arrows(tmp_path: Path) -> None:
    import pyarrow.dataset as dataset

    for i, value in enumerate(["7", "-3", "__HIVE_DEFAULT_PARTITION__", "12"]):
        put(tmp_path / "ints" / f"k={value}" / "a.parquet", str(i))
        put(tmp_path / "texts" / f"k={value}" / "a.parquet", str(i))
    put(tmp_path / "texts" / "k=2147483648" / "a.parquet", "4")
    for name in ("ints", "texts"):
        theirs = dataset.dataset(tmp_path / name, partitioning="hive").to_table().sort_by("id")
        ours = pa.concat_tables(p.table for p in open_input([tmp_path / name]).parts(["id", "k"], 9)).sort_by(
            "id"
        )
        assert ours["k"].to_pylist() == theirs["k"].to_pylist()
        assert ours["k"].type == theirs["k"].type


def test_keys_that_do_not_go_together(tmp_path: Path) -> None:
    put(tmp_path / "a" / "k=1" / "a.parquet", "a")
    put(tmp_path / "a" / "b.parquet", "b")
    with pytest.raises(InputError, match=r"b\.parquet has no column 'k'"):
        open_input([tmp_path / "a"])
    put(tmp_path / "b" / "k=1" / "k=2" / "a.parquet", "a")
    with pytest.raises(InputError, match="two folders say what 'k' is"):
        open_input([tmp_path / "b"])
    put(tmp_path / "c" / "id=other" / "a.parquet", "a")
    opened = open_input([tmp_path / "c"])
    assert ids(opened) == ["a"]
    assert "column 'id' is taken from the file" in opened.notes[0]


def test_a_runs_own_output_is_no_input(tmp_path: Path) -> None:
    put(tmp_path / "d" / "a.parquet", "a")
    put(tmp_path / "d" / "out.parts" / "files" / "scores-00000000.parquet", "no")
    put(tmp_path / "d" / "out" / "scores-00000000.parquet", "no")
    put(tmp_path / "d" / "out.parts2" / "b.parquet", "b")
    own = [tmp_path / "d" / "out", f"{tmp_path}/d/../d/out.parts"]
    for path in (tmp_path / "d", f"{tmp_path}/d/**"):
        assert ids(open_input([path], own_outputs=own)) == ["a", "b"]
    assert find_files([tmp_path / "d"], own).notes == ()


TEXTS = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.null()]


@pytest.mark.parametrize("one", TEXTS)
@pytest.mark.parametrize("other", [*TEXTS, pa.dictionary(pa.int32(), pa.large_string())])
def test_text_stored_in_other_ways_is_one_input(tmp_path: Path, one: pa.DataType, other: pa.DataType) -> None:
    for name, kind in (("a", one), ("b", other), ("c", pa.string())):
        values = pa.array([None, None] if pa.types.is_null(kind) else [name, None])
        column = values.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else values.cast(kind)
        put(tmp_path / f"{name}.parquet", "1", "2", note=column)
    opened = open_input([tmp_path / f"{name}.parquet" for name in "abc"])
    notes = [row for part in opened.parts(["note"], 4) for row in part.table["note"].to_pylist()]
    nulls = [pa.types.is_null(kind) for kind in (one, other)]
    assert notes == [None if nulls[0] else "a", None, None if nulls[1] else "b", None, "c", None]


def test_types_that_do_not_go_together(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", "a", n=pa.array([1]))
    put(tmp_path / "b.parquet", "b", n=pa.array([None]))
    opened = open_input([tmp_path / "b.parquet", tmp_path / "a.parquet"])
    assert [row for part in opened.parts(["n"], 9) for row in part.table["n"].to_pylist()] == [None, 1]
    for kind, value in ((pa.string(), "1"), (pa.float64(), 1.0), (pa.int32(), 1), (pa.binary(), b"1")):
        put(tmp_path / "c.parquet", "c", n=pa.array([value], kind))
        with pytest.raises(InputError, match=r"c\.parquet: column 'n' is .*, in .*a\.parquet it is int64"):
            open_input([tmp_path / "a.parquet", tmp_path / "c.parquet"])


kinds = st.sampled_from([*TEXTS, pa.int64(), pa.int8(), pa.binary(), pa.large_binary(), pa.float32()])


@settings(max_examples=80)
@given(kinds, kinds, kinds)
def test_a_common_type_does_not_depend_on_the_order(one: Any, other: Any, third: Any) -> None:
    def of(*types: Any) -> Any:
        found = types[0]
        for kind in types[1:]:
            found = None if found is None else common_type(found, kind)
        return found

    def plain(kind: Any) -> Any:
        return "text" if kind is not None and kind in TEXTS and kind != pa.null() else kind

    assert of(one, one) == one
    assert plain(of(one, other)) == plain(of(other, one))
    assert plain(of(one, other, third)) == plain(of(third, one, other))


def not_utf8(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    made = pa.array(values, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(made), made.buffers(), null_count=made.null_count)
    if pa.types.is_dictionary(kind):
        codes = pa.array([None if value is None else i for i, value in enumerate(values)], pa.int32())
        return pa.DictionaryArray.from_arrays(
            codes, not_utf8([value or b"" for value in values], pa.string())
        )
    return (
        text
        if kind == pa.string()
        else pa.Array.from_buffers(
            pa.large_string(), len(made), pa.array(values, pa.large_binary()).buffers()
        )
    )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_text_that_is_not_utf8_is_refused_with_its_row(
    tmp_path: Path, kind: pa.DataType, ending: str
) -> None:
    """Whoever reads such a column (a table of scores, a page, a CSV) would stumble over it later."""
    bad = not_utf8([b"a", None, b"\xff\xfe", b"c"], kind)
    table = pa.table({"id": ["a", "b", "c", "d"], "note": bad})
    if ending == "parquet":
        pq.write_table(table, tmp_path / "t.parquet")
    else:
        with pa.ipc.new_file(str(tmp_path / "t.arrow"), table.schema) as writer:
            writer.write_table(table)
    opened = open_input([tmp_path / f"t.{ending}"])
    expected = "'note' is not UTF-8 text in row 3" if ending == "parquet" else "reading stopped"
    with pytest.raises(InputError, match=expected) as caught:
        list(opened.parts(["id", "note"], 2))
    assert "\n" not in str(caught.value)
    assert [p.table.num_rows for p in opened.parts(["id"], 9)] == [4]


@pytest.mark.parametrize("how", ["cut", "removed", "replaced", "text"])
@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "fa"])
def test_a_file_that_changes_after_it_was_opened(tmp_path: Path, how: str, ending: str) -> None:
    """Before its first row, and between two passes."""
    path = tmp_path / f"t.{ending}"
    table = pa.table({"id": [f"s{i}" for i in range(3000)], "sequence": ["ACGT" * 10] * 3000})

    def write() -> None:
        if ending == "parquet":
            pq.write_table(table, path)
        elif ending == "arrow":
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table)
        elif ending == "csv":
            path.write_text("id,sequence\n" + "".join(f"s{i},{'ACGT' * 10}\n" for i in range(3000)))
        else:
            path.write_text("".join(f">s{i}\n{'ACGT' * 10}\n" for i in range(3000)))

    for passes in (0, 1):
        write()
        opened = open_input([path])
        for _ in range(passes):
            assert sum(part.table.num_rows for part in opened.parts(["id"], 1000)) == 3000
        if how == "cut":
            os.truncate(path, path.stat().st_size // 2)
        elif how == "removed":
            path.unlink()
        elif how == "text":
            path.write_text("x" * 100)
        else:
            write()
            os.utime(path, ns=(1, 1))
        with pytest.raises(InputError, match="changed while it was being read"):
            next(opened.parts(["id"], 10))
        path.unlink(missing_ok=True)


def test_every_command_says_what_it_leaves_out(
    tmp_path: Path, toy_model: Path, contig: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pysam

    monkeypatch.chdir(tmp_path)
    Path("g.fa").write_text(f">chr1\n{contig}\n")
    pysam.faidx("g.fa")
    alleles = {"chrom": ["chr1"] * 3, "pos": [500, 510, 520], "ref": ["A"] * 3, "alt": ["C", "G", "T"]}
    truth = {"truth": [1.0, 2.0, 3.5], "score": [1.0, 2.5, 3.0]}
    put(Path("d/a.parquet"), "a", "b", "c", **alleles, **truth)
    put(Path("d/_temporary/a.parquet"), "a", "b", "c", **alleles, **truth)
    for line in (
        f"run d -m {toy_model} -o o.parquet --engine null --kind sequence --keep id",
        "variants d --fasta g.fa --centered -o w.parquet",
        "evaluate d --truth truth --prediction score",
    ):
        ran = cli(*line.split())
        assert ran.code == 0, ran.err
        assert (
            "d: 1 left out (hidden by _ or ., a link, a copy, or no Parquet); the first is d/_temporary"
            in (ran.out + ran.err)
        ), line
