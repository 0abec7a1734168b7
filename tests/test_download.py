"""Downloads from a server of this machine: resumed, cut, changed, packed, redirected, and wrong ones."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from web_server import WebServer, serving

from legscore.errors import InputError
from legscore.system import download as module
from legscore.system.download import check_address, download

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    monkeypatch.setattr(module, "BLOCK_BYTES", 10_000)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving({"/w.pth": CONTENT}) as server:
        yield server


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_whole_and_is_counted(server: WebServer, tmp_path: Path) -> None:
    steps: list[float] = []
    began: list[tuple[int | None, int]] = []

    def start(total: int | None, done: int) -> object:
        began.append((total, done))
        return steps.append

    found = download(server.url("/w.pth"), tmp_path / "w", start=start)  # type: ignore[arg-type]
    assert (found.sha256, found.nbytes) == (SHA256, len(CONTENT))
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert left(tmp_path) == {"w"}
    assert began == [(len(CONTENT), 0)]
    assert sum(steps) == len(CONTENT)


@pytest.mark.parametrize("cuts", [[100_000], [0, 50_000, 1, 120_000], [0, 0, 0, 0]])
def test_cut_answers_go_on_where_they_were_cut(server: WebServer, tmp_path: Path, cuts: list[int]) -> None:
    server.cuts = list(cuts)
    said: list[str] = []
    found = download(server.url("/w.pth"), tmp_path / "w", say=said.append)
    assert found.sha256 == SHA256
    positions = np.cumsum(cuts)
    assert [at for _, at in server.asked[1:]] == [f"bytes={at}-" if at else None for at in positions]
    assert any("the connection broke" in line for line in said)
    assert left(tmp_path) == {"w"}


def test_a_second_call_goes_on(server: WebServer, tmp_path: Path) -> None:
    server.cuts = [70_000, *[0] * module.ATTEMPTS]
    with pytest.raises(InputError, match=r"could not be fetched: .*70,000 bytes are kept; the same command"):
        download(server.url("/w.pth"), tmp_path / "w")
    assert left(tmp_path) == {"w.part", "w.part.json"}
    server.cuts.clear()
    server.asked.clear()
    said: list[str] = []
    assert download(server.url("/w.pth"), tmp_path / "w", say=said.append).sha256 == SHA256
    assert server.asked == [("/w.pth", "bytes=70000-")]
    assert said == ["resuming at byte 70,000"]


@pytest.mark.parametrize("how", ["etag", "no ranges", "no version", "other url", "shorter"])
def test_what_may_be_another_file_begins_again(server: WebServer, tmp_path: Path, how: str) -> None:
    if how == "no version":
        server.etag = None
    server.cuts = [70_000, *[0] * module.ATTEMPTS]
    with pytest.raises(InputError, match="could not be fetched"):
        download(server.url("/w.pth"), tmp_path / "w")
    server.cuts.clear()
    new = np.random.default_rng(1).bytes(50_000 if how == "shorter" else 300_000)
    server.files = {"/w.pth": new, "/v.pth": new}
    if how == "etag":
        server.etag = '"two"'
    server.ranges = how != "no ranges"
    found = download(server.url("/v.pth" if how == "other url" else "/w.pth"), tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == new
    assert found.sha256 == hashlib.sha256(new).hexdigest()


def test_without_a_version_a_known_sha256_guards_the_rest(server: WebServer, tmp_path: Path) -> None:
    server.etag = None
    server.cuts = [70_000, *[0] * module.ATTEMPTS]
    with pytest.raises(InputError, match="could not be fetched"):
        download(server.url("/w.pth"), tmp_path / "w", sha256=SHA256)
    server.cuts.clear()
    server.asked.clear()
    assert download(server.url("/w.pth"), tmp_path / "w", sha256=SHA256).nbytes == len(CONTENT)
    assert server.asked == [("/w.pth", "bytes=70000-")]


def test_another_sha256_is_refused_and_nothing_stays(server: WebServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"its SHA-256 is {SHA256}, not {'0' * 64}; the file was removed"):
        download(server.url("/w.pth"), tmp_path / "w", sha256="0" * 64)
    assert left(tmp_path) == set()


def test_a_size_that_is_not_told(server: WebServer, tmp_path: Path) -> None:
    server.hides_size = True
    assert download(server.url("/w.pth"), tmp_path / "w").sha256 == SHA256


def test_too_large_files_are_refused(
    server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 200_000)
    with pytest.raises(InputError, match=r"has 300,000 bytes; files of models have at most 200,000"):
        download(server.url("/w.pth"), tmp_path / "w")
    server.hides_size = True
    with pytest.raises(InputError, match=r"does not end after 200,000 bytes"):
        download(server.url("/w.pth"), tmp_path / "w")


def test_redirects(server: WebServer, tmp_path: Path) -> None:
    server.redirects = {
        "/a": server.url("/w.pth"), "/file": "file:///etc/passwd", "/ftp": "ftp://127.0.0.1/w",
        "/round": server.url("/round"), "/user": "http://me:secret@127.0.0.1/w.pth",
    }  # fmt: skip
    found = download(server.url("/a"), tmp_path / "w")
    assert (found.sha256, found.address) == (SHA256, server.url("/w.pth"))
    for path, message in (
        ("/file", "is not allowed"), ("/ftp", "is no address"), ("/user", "user name or password"),
        ("/round", "302"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            download(server.url(path), tmp_path / "x")
    with pytest.raises(InputError) as caught:
        download(server.url("/user"), tmp_path / "x")
    assert "secret" not in str(caught.value)


def test_redirects_from_https_to_http_are_not_followed() -> None:
    import urllib.request

    request = urllib.request.Request("https://example.org/w.pth")
    with pytest.raises(InputError, match="not encrypted"):
        module._SafeRedirects().redirect_request(request, None, 302, "", {}, "http://example.org/w.pth")


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (403, 1), (503, module.ATTEMPTS)])
def test_statuses(server: WebServer, tmp_path: Path, code: int, requests: int) -> None:
    """What cannot change is said at once; a busy server is asked again."""
    server.codes = {"/w.pth": code}
    with pytest.raises(InputError, match=str(code)):
        download(server.url("/w.pth"), tmp_path / "w")
    assert len(server.asked) == requests
    assert left(tmp_path) == set()


def test_the_next_answer_is_not_this_one(server: WebServer) -> None:
    """The server of these tests: what is said while an answer is on its way is said of the next."""
    server.gate = threading.Event()
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(server.url("/w.pth")) as answer:
        server.cuts = [70_000]
        server.gate.set()
        assert answer.read() == CONTENT
    assert server.cuts == [70_000]


def test_odd_answers_are_refused(server: WebServer, tmp_path: Path) -> None:
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(InputError, match="packs its answer"):
        download(server.url("/w.pth"), tmp_path / "w")
    server.headers, server.cuts, server.shift = {}, [70_000], 10
    with pytest.raises(InputError, match="another range"):
        download(server.url("/w.pth"), tmp_path / "w")


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    with serving({}) as gone:
        address = gone.url("/w.pth")
    with pytest.raises(InputError, match=r"could not be fetched: .*refused.* 0 bytes are kept"):
        download(address, tmp_path / "w")


@pytest.mark.parametrize(
    "address",
    ["ftp://h/w", "file:///etc/passwd", "https://", "https:///w", "/w.pth", "http://h:99999/w", "http://h/a b",
     "http://h/\x1b[2J", "http://h:0/w", "https://me:pw@h/w", "http://[::1/w"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(InputError):
        check_address(address)
