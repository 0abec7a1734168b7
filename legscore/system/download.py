"""Files from web servers: resumed where they were cut, checked against their SHA-256, published whole.

urllib of the standard library follows redirects and proxies and asks for ranges; what a library for downloads
would add to it (connection pools, mirrors' registries) one file at a time does not need. What has arrived is
kept in a `.part` file beside the target; it is taken up again only where the server's ETag (or Last-Modified)
shows that it is still the same file, or where the SHA-256 is known beforehand and will show it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legscore.errors import InputError, spell_controls
from legscore.system.checksum import BLOCK_BYTES, sha256_of
from legscore.system.log import Say
from legscore.system.publish import writing
from legscore.version import __version__

SCHEMES = ("https", "http")
MOST_BYTES = 4 << 30
ATTEMPTS = 5
"""Connections that may break one after another without a byte between them."""
WAIT_S = 1.0
TIMEOUT_S = 30.0
Advance = Callable[[float], object]
StartBytes = Callable[[int | None, int], Advance]
"""Takes the bytes of a file (None: not told) and those that are there; gives what takes further ones."""


@dataclass(frozen=True)
class Downloaded:
    """A file that arrived whole: its SHA-256, bytes, and the address that redirects led to."""

    sha256: str
    nbytes: int
    address: str


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to web servers only, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        check_address(newurl)
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme == "http":
            raise InputError(f"{req.full_url} leads to {newurl}, which is not encrypted; it was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> None:
    """InputError unless `url` is the address of a file on a web server."""
    try:
        parts = urllib.parse.urlsplit(url)
        is_good = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or spell_controls(url) != url or " " in url:
        raise InputError(f"{url!r} is no address of a file; it begins with https:// (or http://) and a host")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "an address with a user name or password would be written into records; leave it out"
        )


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    start: StartBytes = lambda total, done: lambda n: None,
    say: Say = lambda line: None,
) -> Downloaded:
    """Fetch one file. Two processes must not fetch to one target at once: the caller locks.

    Args:
        url: its address, http or https.
        target: where it goes; `target.part` and `target.part.json` lie beside it until it is whole.
        sha256: what it must be, in lower-case hex; None: not known.
        start: shows progress. say: told of resuming and of broken connections.

    Raises:
        InputError: no such file, a server that cannot be reached or gives up, or another SHA-256.
        OutputError: the disk is full or refuses.
    """
    check_address(url)
    return _Download(url, target, sha256, start, say).run()


class _Download:
    def __init__(self, url: str, target: Path, sha256: str | None, start: StartBytes, say: Say) -> None:
        self.url, self.target, self.sha256, self.start, self.say = url, target, sha256, start, say
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.opener = urllib.request.build_opener(_SafeRedirects)
        self.address = url

    def run(self) -> Downloaded:
        failures = 0
        while True:
            before = self.size()
            try:
                self.fetch(before)
                break
            except InputError:
                raise
            except (OSError, http.client.HTTPException) as error:
                failures = 1 if self.size() > before else failures + 1
                if failures >= ATTEMPTS:
                    raise InputError(
                        f"{self.url} could not be fetched: {_why(error)}. {self.size():,} bytes are kept; "
                        "the same command goes on from there"
                    ) from error
                self.say(f"the connection broke after {self.size():,} bytes ({_why(error)}); trying again")
                time.sleep(WAIT_S * (failures - 1))
        return self.finish()

    def size(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def fetch(self, done: int) -> None:
        """One connection: the rest of the file from byte `done` on, or all of it."""
        note = self.read_note()
        headers = {"User-Agent": f"legscore/{__version__}", "Accept-Encoding": "identity"}
        if done and (note or self.sha256):
            headers["Range"] = f"bytes={done}-"
            if note:
                headers["If-Range"] = note
        try:
            answer = self.opener.open(urllib.request.Request(self.url, headers=headers), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and "Range" in headers:  # longer than the server's file: begin again
                    self.forget()
                    raise ConnectionError("the server's file has changed") from error
                if error.code in (408, 429, 500, 502, 503, 504):
                    raise ConnectionError(f"the server answered {error.code} {error.reason}") from error
                raise InputError(f"{self.url}: the server answered {error.code} {error.reason}") from error
        with answer:
            self.address = answer.url
            self.take(answer, done if answer.status == 206 else 0)

    def take(self, answer: Any, done: int) -> None:
        headers: Mapping[str, str] = answer.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise InputError(f"{self.url}: the server packs its answer; take another address for the file")
        total = _total(headers, done, answer.status == 206)
        if total is not None and total > MOST_BYTES:
            raise InputError(f"{self.url} has {total:,} bytes; files of models have at most {MOST_BYTES:,}")
        if done:
            self.say(f"resuming at byte {done:,}")
        else:
            self.forget()
        etag = headers.get("ETag", "")
        self.write_note(headers.get("Last-Modified", "") if not etag or etag.startswith("W/") else etag)
        advance = self.start(total, done)
        with writing(self.part):
            self.part.touch()
        with open(self.part, "r+b", buffering=0) as stream:
            stream.seek(done)
            while block := answer.read(BLOCK_BYTES):
                done += len(block)
                if done > MOST_BYTES:
                    raise InputError(f"{self.url} does not end after {MOST_BYTES:,} bytes; it is no model")
                with writing(self.part):
                    stream.write(block)
                advance(len(block))
            with writing(self.part):
                os.fsync(stream.fileno())
        if total is not None and done != total:
            raise ConnectionError(f"{done:,} of {total:,} bytes came")

    def finish(self) -> Downloaded:
        found, nbytes = sha256_of(self.part), self.size()
        if self.sha256 is not None and found != self.sha256:
            self.forget()
            raise InputError(
                f"{self.url}: its SHA-256 is {found}, not {self.sha256}; the file was removed. It is "
                "damaged, or not the one that was meant"
            )
        with writing(self.target):
            os.replace(self.part, self.target)
            self.note.unlink(missing_ok=True)
        return Downloaded(found, nbytes, self.address)

    def read_note(self) -> str:
        """What the server said of the version that a part is of; empty where that is not known."""
        try:
            note = json.loads(self.note.read_bytes()[:65536])
        except (OSError, ValueError):
            return ""
        fits = isinstance(note, dict) and note.get("url") == self.url and isinstance(note.get("version"), str)
        return note["version"] if fits else ""

    def write_note(self, version: str) -> None:
        with writing(self.note):
            self.note.write_text(json.dumps({"url": self.url, "version": version}))

    def forget(self) -> None:
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError), writing(path):
                path.unlink(missing_ok=True)


def _total(headers: Mapping[str, str], done: int, is_rest: bool) -> int | None:
    """Bytes of the whole file; None where the server does not say. ConnectionError for another range than the
    one asked for."""
    if not is_rest:
        length = headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdigit() else None
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    stretch, _, total = rest.partition("/")
    if unit != "bytes" or stretch.partition("-")[0] != str(done) or not total.isdigit():
        raise InputError(f"the server answers with another range than was asked for ({rest[:60]!r})")
    return int(total)


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if reason is not None else error) or type(error).__name__
    return spell_controls(" ".join(text.split()))[:200]
