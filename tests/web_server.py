"""A web server of this machine whose answers can be cut, packed, redirected or another file's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class WebServer:
    """What it serves by path, and how. `asked`: (path, Range) of every request.

    Attributes:
        cuts: bytes of the body after which the next answers end, one for each request; none left: whole ones.
        ranges: whether it answers ranges. etag: of all files. redirects: path → address.
        codes: path → status of an empty answer. hides_size: no Content-Length. gate: waited for before bodies.

    What an answer will be is settled before its first byte: a test that has read the head may say what the next
    ones are while the rest of this one is still being sent.
    """

    files: dict[str, bytes]
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    etag: str | None = '"one"'
    redirects: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hides_size: bool = False
    shift: int = 0
    gate: threading.Event | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    base: str = ""

    def url(self, path: str) -> str:
        return self.base + path


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[WebServer]:
    """The server, on a free port of the loopback address, until the block ends."""
    server = WebServer(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *rest: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            wanted = self.headers.get("Range")
            server.asked.append((self.path, wanted))
            if self.path in server.redirects:
                self.send_response(302)
                self.send_header("Location", server.redirects[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            code = server.codes.get(self.path, 200 if self.path in server.files else 404)
            if code != 200:
                self.send_error(code)
                return
            content, begin = server.files[self.path], 0
            if wanted and server.ranges and self.headers.get("If-Range") in (None, server.etag):
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                if begin >= len(content):
                    self.send_error(416)
                    return
            cut, gate = (server.cuts.pop(0) if server.cuts else None), server.gate
            self.send_response(206 if begin else 200)
            if begin:
                at = begin + server.shift
                self.send_header("Content-Range", f"bytes {at}-{len(content) - 1}/{len(content)}")
            if server.etag:
                self.send_header("ETag", server.etag)
            if not server.hides_size:
                self.send_header("Content-Length", str(len(content) - begin))
            for name, value in server.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if gate:
                gate.wait(20)
            self.wfile.write(content[begin:][:cut])

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    server.base = f"http://127.0.0.1:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
