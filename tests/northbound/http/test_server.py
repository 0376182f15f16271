from __future__ import annotations

import gc
import http.client
import json
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.rest.server import running
from webob import Request

from flowlane import hub
from flowlane.northbound.feed import Feed
from flowlane.northbound.http import server
from flowlane.northbound.http.server import MAX_DISCARD

Connect = Callable[[str], HTTPConnection]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as served:
        yield served.url


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connections that end with the test."""
    with ExitStack() as stack:

        def make(url: str) -> HTTPConnection:
            parts = urlsplit(url)
            assert parts.hostname is not None
            return stack.enter_context(
                closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=5))
            )

        yield make


def raw(url: str, data: bytes) -> bytes:
    """What comes back for these bytes, until the server closes or is quiet."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=2) as link:
        link.sendall(data)
        chunks = []
        try:
            while chunk := link.recv(65536):
                chunks.append(chunk)
                if b"Content-Length: 0" in chunk or chunk.endswith(b"}\n"):
                    break
        except TimeoutError:
            pass
        return b"".join(chunks)


def test_one_connection_serves_many_requests(url: str, connect: Connect) -> None:
    link = connect(url)
    for path, status in (("/v1/status", 200), ("/nothing", 404), ("/v1/flows?limit=1", 200), ("/", 200)):
        link.request("GET", path)
        answer = link.getresponse()
        body = answer.read()
        assert answer.status == status
        assert len(body) == int(answer.getheader("Content-Length", ""))
    first = link.sock.getsockname()
    link.request("HEAD", "/v1/status")
    assert link.getresponse().read() == b""
    assert link.sock.getsockname() == first


def test_a_path_keeps_its_encoded_slash(url: str, connect: Connect) -> None:
    link = connect(url)
    link.request("GET", "/v1/vms/ns%2Fdb")
    assert json.loads(link.getresponse().read())["name"] == "db"


def test_events_arrive_as_they_happen(url: str, connect: Connect) -> None:
    stream, writer = connect(url), connect(url)
    stream.request("GET", "/v1/events?kind=hint")
    answer = stream.getresponse()
    assert answer.getheader("Content-Type") == "text/event-stream"
    began = time.monotonic()
    body = json.dumps({"hints": [{"class": "heavy"}]})
    writer.request("PUT", "/v1/vms/uuid-web/hints", body, {"Content-Type": "application/json"})
    assert writer.getresponse().read()
    lines: list[bytes] = []
    while not lines or not lines[-1].startswith(b"data: "):
        lines.append(answer.readline())
    answer.close()
    assert json.loads(lines[-1].removeprefix(b"data: "))["data"]["class"] == "heavy"
    assert time.monotonic() - began < 2


GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
POLICY = b"POST /v1/policy/check HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n"
CHUNKED = POLICY + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GET % (b"/" + b"a" * 9000, b""), b"414"),
        (GET % (b"/", b"X: " + b"a" * 9000 + b"\r\n"), b"431"),
        (GET % (b"/", (b"X: " + b"a" * 8000 + b"\r\n") * 9), b"431"),
        (GET % (b"/", b"X: a\r\n" * 101), b"431"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"GET / HTTP/3.0\r\n\r\n", b"505"),
        (b"GET / a b\r\n\r\n", b"400"),
        (GET % (b"/", b"Host: other\r\n"), b"400"),
        (GET % (b"/", b"X : a\r\n"), b"400"),
        (GET % (b"/", b"X: a\r\n b\r\n"), b"400"),
        (GET % (b"/", b"X\r\n"), b"400"),
        (POLICY + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nbad", b"400"),
        (POLICY + b"Content-Length: +3\r\n\r\nbad", b"400"),
        (POLICY + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nbad", b"400"),
        (POLICY + b"Transfer-Encoding: xchunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n", b"501"),
        (POLICY + b"Transfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
        (POLICY + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", b"501"),
        (POLICY + b"Transfer-Encoding: Chunked\r\n\r\n3\r\nbad\r\n0\r\n\r\n", b"422"),
        (CHUNKED + b"-3\r\nbad\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"0x3\r\nbad\r\n0\r\n\r\n", b"400"),
        (CHUNKED + b"3\r\nbad and more\r\n0\r\n\r\n", b"400"),
        (GET % (b"/v1/vms/%ff", b""), b"400"),
        (GET % (b"/v1/\xc3\xa9", b""), b"404"),
        (POLICY + b"Content-Length: no\r\n\r\n", b"400"),
        (CHUNKED + b"zz\r\n", b"400"),
        (CHUNKED + b"9\r\nclasses: \r\n3\r\na b\r\n0\r\n\r\n", b"200"),
        (CHUNKED + b"3\r\nbad\r\n0\r\n\r\n", b"422"),
        (CHUNKED + b"3\r\nbad\r\n7FFFFFFF\r\nmore", b"413"),
        (CHUNKED + b"3\r\nbad\r\n" + b"0" * 2000, b"413"),
    ],
    ids=range(30),
)
def test_odd_requests_are_answered(url: str, data: bytes, status: bytes) -> None:
    answer = raw(url, data)
    assert answer.split(b" ", 2)[1] == status, answer
    assert b"Traceback" not in answer
    if status != b"200":
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == int(status)


def test_headers_that_end_early_are_not_served(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=2) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        link.shutdown(socket.SHUT_WR)
        assert link.recv(100) == b""


def test_nothing_behind_a_wrong_chunk_is_taken_for_a_request(url: str) -> None:
    answer = raw(url, CHUNKED + b"-3\r\n" + GET % (b"/healthz", b""))
    assert answer.count(b"HTTP/1.1") == 1


def test_tls_on_the_plain_port_is_turned_away(url: str) -> None:
    assert b"Bad request syntax" in raw(url, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")


def test_a_huge_body_is_refused_unread(url: str) -> None:
    size = 100 << 20
    head = f"PUT /v1/policy HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\nContent-Length: {size}\r\n\r\n"
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as link:
        link.sendall(head.encode())
        assert link.recv(65536).startswith(b"HTTP/1.1 413")
        sent = 0
        with pytest.raises(OSError, match=r"reset|[Bb]roken"):
            while sent < size:
                sent += link.send(b"x" * 65536)
        assert sent < MAX_DISCARD + (16 << 20)


def test_it_goes_on_after_all_that(url: str, connect: Connect) -> None:
    link = connect(url)
    link.request("GET", "/healthz")
    assert link.getresponse().status == 200


def test_it_stops_cleanly_with_readers_connected(connect: Connect) -> None:
    with running() as served:
        stream, idle = connect(served.url), connect(served.url)
        stream.request("GET", "/v1/events")
        answer = stream.getresponse()
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        last = served.stop()
        assert float(last.split()[2]) < 1.0
        assert answer.read().startswith(b": flowlane")
        assert served.process.returncode == 0
        with pytest.raises(OSError, match="refused"):
            connect(served.url).connect()


def test_ipv6(connect: Connect) -> None:
    with running("::1") as served:
        link = connect(served.url)
        link.request("GET", "/healthz")
        assert link.getresponse().status == 200


def test_a_port_that_is_taken_is_refused(url: str) -> None:
    with pytest.raises(OSError, match="in use"):
        server.start(lambda environ, start_response: [], Feed(), "127.0.0.1", urlsplit(url).port or 0)


def test_a_request_leaves_nothing_to_the_garbage_collector() -> None:
    """What goes on while a collection comes grows old by it, and what is old is collected seldom or never."""
    kept: list[weakref.ref[object]] = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        kept.append(weakref.ref(environ["wsgi.input"]))
        kept.append(weakref.ref(Request(environ).GET))
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    served = server.start(app, Feed(), port=0)
    gc.disable()
    try:
        with socket.create_connection(served.address) as link:
            link.sendall(b"GET /?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            for _ in range(100):
                hub.sleep(0.01)
                if kept and not any(item() for item in kept):
                    break
        assert [item() for item in kept] == [None, None]
    finally:
        gc.enable()
        server.stop(served)
