"""Limits of requests in size, depth, time and number: what is beyond costs its sender, and others are served."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from support.rest.server import running

from flowlane.errors import PolicyError
from flowlane.northbound.http.routing import MAX_BODY
from flowlane.policy import loader

HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"POST /v1/policy/check HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n"
HINTS = "/v1/vms/uuid-web/hints"


@pytest.fixture(scope="module")
def hasty() -> Iterator[str]:
    """A server whose limits of time are 0.5 s each, for 20 connections."""
    with running("hasty") as served:
        yield served.url


@pytest.fixture(scope="module")
def patient() -> Iterator[str]:
    """A server with its usual limits of time, for 20 connections."""
    with running("patient") as served:
        yield served.url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as served:
        yield served.url


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=15)


def send(url: str, method: str, path: str, body: str | bytes, kind: str) -> tuple[int, str]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=15)) as link:
        link.request(method, path, body, {"Content-Type": kind})
        answer = link.getresponse()
        return answer.status, answer.read().decode()


def is_served(url: str) -> bool:
    with connect(url) as link:
        link.sendall(HEAD + b"Connection: close\r\n\r\n")
        return link.recv(100).startswith(b"HTTP/1.1 200")


def drip(link: socket.socket, first: bytes, drop: bytes) -> bytes:
    """Send the beginning, then a little every 0.1 s until the server has had enough; what it answered."""
    answer = b""
    link.sendall(first)
    link.settimeout(0.1)
    began = time.monotonic()
    while time.monotonic() - began < 12:
        try:
            received = link.recv(65536)
        except TimeoutError:
            pass
        except OSError:
            return answer
        else:
            if not received:
                return answer
            answer += received
        try:
            link.sendall(drop)
        except OSError:
            return answer
    raise AssertionError("the server reads for ever")


@pytest.mark.parametrize(
    ("first", "drop", "answer"),
    [
        (b"G", b"E", b""),
        (HEAD + b"X-More: ", b"a", b""),
        (PUT + b"Content-Length: 100000\r\n\r\n", b"#", b"HTTP/1.1 408"),
        (PUT + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n#\r\n", b"HTTP/1.1 408"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"#", b"HTTP/1.1 200"),
    ],
    ids=["request line", "headers", "body", "chunks", "body that nobody reads"],
)
def test_a_slow_request_is_ended(hasty: str, first: bytes, drop: bytes, answer: bytes) -> None:
    with connect(hasty) as link:
        assert drip(link, first, drop).startswith(answer)
    assert is_served(hasty)


@pytest.mark.parametrize(
    "beginning",
    [b"", b"G", HEAD, PUT + b"Content-Length: 9\r\n\r\n", PUT + b"Transfer-Encoding: chunked\r\n\r\n5\r\n#"],
    ids=["nothing", "request line", "headers", "body", "chunks"],
)
def test_slow_connections_in_any_number_do_not_keep_others_out(patient: str, beginning: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(connect(patient)).sendall(beginning)
        began = time.monotonic()
        assert is_served(patient)
        assert time.monotonic() - began < 5


def test_who_has_sent_a_whole_request_is_not_closed_to_make_room(patient: str) -> None:
    with ExitStack() as stack:
        stream = stack.enter_context(connect(patient))
        stream.sendall(HEAD.replace(b"/healthz", b"/v1/events") + b"\r\n")
        assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        for _ in range(100):
            stack.enter_context(connect(patient)).sendall(HEAD)
        assert is_served(patient)
        stream.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while stream.recv(4096):
                pass


ALIASES = "a: &a [x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ALIASES, "anchors and aliases are refused"),
        ("a: !!python/object/apply:os.system [id]\n", "tag"),
        ("[" * 100_000, "nested more than 16 deep"),
        ("- " * 100_000, "nested more than 16 deep"),
        ("{a: " * 50_000, "nested more than 16 deep"),
        ("'" + "a" * 1_000_000, "not YAML"),
    ],
    ids=["aliases", "tag", "lists", "dashes", "mappings", "a text without end"],
)
def test_hostile_yaml_is_refused_at_once(body: str, reason: str) -> None:
    began = time.thread_time()
    with pytest.raises(PolicyError, match=reason) as refused:
        loader.load(body)
    assert len(str(refused.value)) < 100_000
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    "body",
    ["[" * 10**6, '{"a":' * 500_000, '{"hints": ' + "[" * 10**5 + "]" * 10**5 + "}", "1" * 10**6, '{"a": 1e999999}'],
    ids=["lists", "objects", "complete", "digits", "exponent"],
)  # fmt: skip
def test_hostile_json_is_refused_at_once(url: str, body: str) -> None:
    began = time.monotonic()
    status, text = send(url, "PUT", HINTS, body, "application/json")
    assert status in (400, 413, 422)
    assert len(json.loads(text)["detail"]) < 1000
    assert time.monotonic() - began < 5
    assert is_served(url)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_answered(url: str, chunked: bool) -> None:
    with connect(url) as link:
        if chunked:
            link.sendall(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
            size = MAX_BODY + 1
            link.sendall(b"%x\r\n" % size + b"#" * size + b"\r\n0\r\n\r\n")
        else:
            link.sendall(PUT + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert link.recv(100).startswith(b"HTTP/1.1 413")
