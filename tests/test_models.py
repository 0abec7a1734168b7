"""legscore models, from a server of this machine: names, addresses, mirrors, archives, hashes, two at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, one_line, toy_checkpoint
from web_server import WebServer, serving

from legscore.model import published
from legscore.model.checkpoint import load_checkpoint
from legscore.model.model_library import models_folder
from legscore.system import download


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder."""
    monkeypatch.setenv("LEGSCORE_MODELS", str(tmp_path / "library"))
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "library"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("stored") / "m.safetensors"
    toy_checkpoint(0).save(path)
    return path.read_bytes()


@pytest.fixture
def server(stored: bytes) -> Iterator[WebServer]:
    with serving({"/m.safetensors": stored, "/other/toy.safetensors": stored}) as server:
        yield server


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_checkpoint_is_pulled_used_and_listed(
    library: Path, server: WebServer, stored: bytes, cli: Any, tmp_path: Path
) -> None:
    ran = cli("models", "pull", server.url("/m.safetensors"), "--as", "toy")
    assert ran.code == 0, ran.err
    assert (
        f"{len(stored):,} bytes, SHA-256 {sha256(stored)}, which was not known before and is now recorded"
        in ran.out
    )
    assert "contract: " in ran.out
    assert (library / "toy" / "toy.safetensors").read_bytes() == stored
    assert visible(library) == {"toy"}
    assert not list((library / ".downloads").glob("*.safetensors"))
    record = json.loads((library / "toy" / "pulled.json").read_text())
    assert (record["url"], record["sha256"], record["bytes"]) == (
        server.url("/m.safetensors"), sha256(stored), len(stored),
    )  # fmt: skip
    (tmp_path / "s.csv").write_text("sequence\n" + "ACGT" * 20 + "\n")
    assert (
        cli("run", tmp_path / "s.csv", "-m", "toy", "--engine", "null", "-o", tmp_path / "o.parquet").code
        == 0
    )
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 1
    facts = [json.loads(line) for line in cli("models", "list", "--json").out.splitlines()]
    assert [fact["name"] for fact in facts] == [*published.PUBLISHED, "toy"]
    assert facts[-1]["is_here"]
    assert facts[-1]["sha256"] == sha256(stored)
    assert not any(fact["is_here"] for fact in facts[:-1])
    text = cli("models", "list").out
    assert "toy                here" in text
    assert "SHA-256 unknown until the first pull" in text


def test_what_is_there_already(library: Path, server: WebServer, stored: bytes, cli: Any) -> None:
    """The same again: said, nothing fetched. Another file: refused without --force. Damage: refused too."""
    address = server.url("/m.safetensors")
    assert cli("models", "pull", address, "--as", "toy", "-q").code == 0
    server.asked.clear()
    ran = cli("models", "pull", address, "--as", "toy")
    assert (ran.code, server.asked) == (0, [])
    assert ran.out.startswith(f"toy is there already, SHA-256 {sha256(stored)}")
    other = server.url("/other/toy.safetensors")
    one_line(cli("models", "pull", other), "toy is there already, from", address, "--force")
    assert cli("models", "pull", other, "--force", "-q").code == 0
    assert json.loads((library / "toy" / "pulled.json").read_text())["url"] == other
    assert visible(library) == {"toy"}
    file = library / "toy" / "toy.safetensors"
    toy_checkpoint(1).save(file)
    one_line(cli("models", "pull", other), "no longer what was pulled", "--force")
    assert cli("models", "pull", other, "--force", "-q").code == 0
    assert file.read_bytes() == stored
    (library / "mine").mkdir()
    one_line(cli("models", "pull", other, "--as", "mine", "--force"), "was not pulled; move it away")


def test_a_file_that_changed_since_the_first_pull_is_refused(
    library: Path, server: WebServer, stored: bytes, cli: Any, tmp_path: Path
) -> None:
    address = server.url("/m.safetensors")
    assert cli("models", "pull", address, "--as", "toy", "-q").code == 0
    toy_checkpoint(1).save(tmp_path / "new.safetensors")
    new = (tmp_path / "new.safetensors").read_bytes()
    server.files["/m.safetensors"] = new
    one_line(cli("models", "pull", address, "--as", "toy", "--force"), sha256(new), f"not {sha256(stored)}")
    assert (library / "toy" / "toy.safetensors").read_bytes() == stored
    ran = cli("models", "pull", address, "--as", "toy", "--force", "--sha256", sha256(new).upper())
    assert ran.code == 0, ran.err
    assert "as expected" in ran.out
    assert (library / "toy" / "toy.safetensors").read_bytes() == new


def test_wrong_hashes_and_cut_answers_leave_nothing(library: Path, server: WebServer, cli: Any) -> None:
    address = server.url("/m.safetensors")
    one_line(cli("models", "pull", address, "--sha256", "0" * 64), "its SHA-256 is", "the file was removed")
    server.cuts = [1000, *[0] * download.ATTEMPTS]
    one_line(cli("models", "pull", address), "1,000 bytes are kept", "the same command goes on")
    assert visible(library) == set()
    server.cuts.clear()
    server.asked.clear()
    ran = cli("models", "pull", address)
    assert ran.code == 0, ran.err
    assert "resuming at byte 1,000" in ran.err
    assert server.asked[-1] == ("/m.safetensors", "bytes=1000-")
    assert visible(library) == {"m"}


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("/..%2f..%2fevil.safetensors", (), ("the server answered 404",)),
        ("/.hidden.safetensors", (), ("no name for a model", "--as")),
        ("/a%20b.safetensors", (), ("no name for a model", "--as")),
        ("/%1b%5b2J.safetensors", (), ("no name for a model", "--as")),
        ("/", (), ("no name for a model", "--as")),
        ("/m.safetensors", ("--as", "../up"), ("no name for a model",)),
        ("/m.safetensors", ("--as", "a/b"), ("no name for a model",)),
        ("/m.safetensors", ("--as", ""), ("an empty name was given",)),
        ("/m.safetensors", ("--as", "x" * 65), ("no name for a model",)),
        ("/m.safetensors", ("--as", "m.safetensors"), ("no name for a model",)),
        ("/m.safetensors", ("--as", "bundled"), ("legscore knows", "--as")),
        ("/m.safetensors", ("--as", "legnet-complex"), ("legscore knows", "--as")),
        ("/m.safetensors", ("--floor", "4"), ("floor", "says everything about itself")),
        ("/none.safetensors", (), ("the server answered 404",)),
        ("/m.safetensors", ("--from", "http://[::1/m.safetensors"), ("is no address",)),
        ("/m.safetensors", ("--from", "/no/such/file"), ("no such file",)),
        ("/m.safetensors", ("--sha256", "abc"), ("is no SHA-256",)),
    ],
)
def test_hostile_names_and_wrong_options(
    library: Path, server: WebServer, cli: Any, path: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ran = cli("models", "pull", server.url(path), *options)
    one_line(ran, *words)
    assert "\x1b" not in ran.err
    assert not library.exists() or visible(library) == set()


def test_other_files_are_no_models(
    library: Path, server: WebServer, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files["/page.safetensors"] = b"<html>Log in</html>"
    one_line(cli("models", "pull", server.url("/page.safetensors")), "page")
    assert visible(library) == set()
    assert not list((library / ".downloads").glob("*.safetensors"))
    one_line(cli("models", "pull", "nonesuch"), "no published model of that name", "legnet-complex")
    one_line(cli("models", "pull", "ftp://127.0.0.1/m.pth"), "no published model of that name")
    Path("s.csv").write_text("sequence\nACGTACGTAC\n")
    one_line(
        cli("run", "s.csv", "-m", "human-k562", "-o", "o.csv"), "legscore models pull human-k562 brings it"
    )
    one_line(cli("run", "s.csv", "-m", "legnet-complx", "-o", "o.csv"), 'did you mean "legnet-complex"')


def test_two_pulls_at_once(library: Path, server: WebServer) -> None:
    """The second waits, and finds the model there: one download, one model."""
    server.gate = threading.Event()
    command = [
        sys.executable,
        "-m",
        "legscore",
        "models",
        "pull",
        server.url("/m.safetensors"),
        "--as",
        "toy",
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "no_proxy": "127.0.0.1"}
    both = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    waiting = threading.Timer(3.0, server.gate.set)
    waiting.start()
    ends = [process.communicate(timeout=60) for process in both]
    waiting.cancel()
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(server.asked) == 1
    assert sorted(out.split(",")[0].split(":")[0] for out, _ in ends) == ["toy", "toy is there already"]
    assert any("another process pulls toy; waiting for it" in err for _, err in ends)
    assert visible(library) == {"toy"}


def test_what_a_killed_pull_left_is_tidied(library: Path, server: WebServer, stored: bytes, cli: Any) -> None:
    """Half-written folders go; a model that was being replaced comes back."""
    assert cli("models", "pull", server.url("/m.safetensors"), "--as", "toy", "-q").code == 0
    (library / ".toy.123.0123abcd").mkdir()
    (library / "toy").rename(library / ".toy.123.0123abcd.old")
    (library / ".toy.mine").mkdir()
    ran = cli("models", "pull", server.url("/m.safetensors"), "--as", "toy")
    assert ran.out.startswith("toy is there already"), ran.err
    assert {path.name for path in library.iterdir() if path.is_dir()} == {"toy", ".toy.mine", ".downloads"}


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut", b"no archive", b""])
def test_damaged_archives_are_one_line(library: Path, cli: Any, tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("torch", reason="importing needs legscore[train]")
    (tmp_path / "a.zip").write_bytes(content)
    one_line(cli("models", "pull", "human-k562", "--from", tmp_path / "a.zip"), "no ZIP archive")
    assert visible(library) == set()
    assert (tmp_path / "a.zip").read_bytes() == content


def human_archive(packing: int, content: bytes) -> bytearray:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", packing) as out:
        out.writestr("LentiMPRA_K562/config.json", json.dumps(HUMAN_CONFIG))
        out.writestr("LentiMPRA_K562/example/weights.ckpt", content)
    return bytearray(archive.getvalue())


@pytest.mark.parametrize("damage", ["deflate", "bzip2", "lzma", "unknown packing", "encrypted"])
def test_archives_that_cannot_be_unpacked(library: Path, cli: Any, tmp_path: Path, damage: str) -> None:
    """Whatever zipfile raises (each packing has its own), the archive is named, and not the disk."""
    pytest.importorskip("torch", reason="importing needs legscore[train]")
    packings = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
    noise = hashlib.shake_128(b"weights").digest(100_000)
    archive = human_archive(packings.get(damage, zipfile.ZIP_STORED), noise)
    last = archive.rindex(b"PK\x01\x02")  # of the weights, in the directory
    if damage in packings:
        at = archive.index(b"weights.ckpt") + len(b"weights.ckpt")
        archive[at : at + 400] = bytes(400)
    elif damage == "encrypted":
        archive[last + 8] |= 1
    else:
        archive[last + 10] = 97
    (tmp_path / "a.zip").write_bytes(archive)
    one_line(
        cli("models", "pull", "human-k562", "--from", tmp_path / "a.zip"),
        "a.zip: no ZIP archive that can be read",
    )
    assert visible(library) == set()


def test_a_path_goes_before_a_pulled_name(
    library: Path, server: WebServer, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("models", "pull", server.url("/m.safetensors"), "--as", "toy", "-q").code == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy").mkdir()
    toy_checkpoint(5).save(tmp_path / "toy" / "mine.safetensors")
    (tmp_path / "s.csv").write_text("sequence\n" + "ACGT" * 20 + "\n")
    ran = cli("run", "s.csv", "-m", "toy", "--engine", "null", "-o", "o.csv")
    assert ran.code == 0
    assert f"toy is the path {tmp_path}/toy, not the models of that name" in ran.err
    ran = cli("show", "toy")
    assert "mine" in ran.out


HUMAN_CONFIG = {
    "stem_ch": 16, "stem_ks": 7, "ef_ks": 5, "ef_block_sizes": [8, 8], "pool_sizes": [2, 2],
    "reverse_augment": True, "use_reverse_channel": False,
}  # fmt: skip


@pytest.fixture
def torch_files() -> dict[str, bytes]:
    """Files as published: an original network, and an archive of a human one with its config."""
    torch = pytest.importorskip("torch", reason="importing needs legscore[train]")
    from test_importers import toy, upstream_state

    def packed(state: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("chorus_small_legnet/LentiMPRA_K562/config.json", json.dumps(HUMAN_CONFIG))
        out.writestr(
            "chorus_small_legnet/LentiMPRA_K562/example/weights.ckpt",
            packed({"state_dict": upstream_state("F3", toy("F3"))}),
        )
        out.writestr("../../evil.txt", "never unpacked")
    return {
        "/model_300.pth": packed(upstream_state("F1", toy("F1"))),
        "/chorus_small_legnet.zip": archive.getvalue(),
    }


def test_published_names_from_mirrors(
    library: Path, torch_files: dict[str, bytes], cli: Any, tmp_path: Path
) -> None:
    """A mirror, a folder and a file: the facts of the table go into the contract."""
    with serving(torch_files) as mirror:
        ran = cli("models", "pull", "legnet-complex", "--from", mirror.url("/"))
        assert ran.code == 0, ran.err
        assert [path for path, _ in mirror.asked] == ["/model_300.pth"]
    checkpoint = load_checkpoint(library / "legnet-complex" / "legnet-complex.safetensors")
    assert checkpoint.contract.output.floor == 4.0
    assert checkpoint.contract.medium == "complex medium (YPD)"
    assert checkpoint.source["pulled"] == {
        "url": published.PUBLISHED["legnet-complex"].url,
        "sha256": sha256(torch_files["/model_300.pth"]),
        "doi": "10.1093/bioinformatics/btad457",
        "licence": "MIT",
    }
    (tmp_path / "offline").mkdir()
    (tmp_path / "offline" / "chorus_small_legnet.zip").write_bytes(torch_files["/chorus_small_legnet.zip"])
    ran = cli("models", "pull", "human-k562", "--from", tmp_path / "offline")
    assert ran.code == 0, ran.err
    human = load_checkpoint(library / "human-k562" / "human-k562.safetensors")
    assert (human.family, human.contract.medium, human.contract.n_value) == ("F3", "K562", 0.0)
    assert human.contract.alphabet == "AGCT"
    assert not list(tmp_path.rglob("evil.txt"))
    ran = cli("models", "pull", "human-hepg2", "--from", tmp_path / "offline" / "chorus_small_legnet.zip")
    one_line(ran, "holds 0 files LentiMPRA_HepG2/example/weights.ckpt")
    assert visible(library) == {"legnet-complex", "human-k562"}


def test_answers_that_are_missing_need_no_second_download(
    library: Path, torch_files: dict[str, bytes], cli: Any
) -> None:
    with serving({"/w.ckpt": zipfile.ZipFile(io.BytesIO(torch_files["/chorus_small_legnet.zip"])).read(
        "chorus_small_legnet/LentiMPRA_K562/example/weights.ckpt"
    )}) as server:  # fmt: skip
        one_line(cli("models", "pull", server.url("/w.ckpt"), "--as", "ours"), "--alphabet AGCT", "--n-value")
        (library / "c.json").write_text(json.dumps(HUMAN_CONFIG))
        ran = cli(
            *("models", "pull", server.url("/w.ckpt"), "--as", "ours", "--config", library / "c.json"),
            *("--alphabet", "ACGT", "--n-value", "0.25", "--medium", "HEK293"),
        )
        assert ran.code == 0, ran.err
        assert "the file was downloaded before" in ran.err
        assert len(server.asked) == 1
    contract = load_checkpoint(library / "ours" / "ours.safetensors").contract
    assert (contract.alphabet, contract.medium) == ("ACGT", "HEK293")


def test_without_torch_nothing_is_downloaded(library: Path, tmp_path: Path) -> None:
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None")
    with serving({"/w.pth": b"PK"}) as server:
        env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'hide'}:{REPOSITORY}", "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-m", "legscore", "models", "pull", server.url("/w.pth")],
            env=env, capture_output=True, text=True,
        )  # fmt: skip
        assert server.asked == []
    assert done.returncode == 2
    assert done.stderr == (
        "legscore: torch is not installed, which reads PyTorch files; pip install 'legscore[train]' brings it\n"
    )


def test_the_table_says_only_what_is_known() -> None:
    """Addresses are pinned; nothing stands for a hash or a size that was not seen."""
    for name, model in published.PUBLISHED.items():
        download.check_address(model.url)
        assert "/raw/main/" not in model.url
        assert model.doi.startswith("10."), name
        assert model.sha256 is None or len(model.sha256) == 64
        assert model.contract
        assert model.about
    assert models_folder().name


def test_the_models_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LEGSCORE_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert models_folder() == tmp_path / "legscore" / "models"
