from __future__ import annotations

from email.message import Message
from io import BytesIO

import pytest

from flowlane.framing import ChunkError, Chunks, ChunkTooLargeError, HeaderError, HeaderLines, refusal_of


def headers(*items: tuple[str, str]) -> Message:
    message = Message()
    for name, value in items:
        message[name] = value
    return message


HOST = ("Host", "a")


@pytest.mark.parametrize(
    ("version", "items", "status"),
    [
        ("HTTP/1.1", [HOST], None),
        ("HTTP/1.1", [], 400),
        ("HTTP/1.0", [], None),
        ("HTTP/1.0", [HOST, HOST], 400),
        ("HTTP/1.1", [HOST, ("Content-Length", "7")], None),
        ("HTTP/1.1", [HOST, ("Content-Length", "7"), ("Content-Length", "8")], 400),
        ("HTTP/1.1", [HOST, ("Content-Length", "7, 7")], 400),
        ("HTTP/1.1", [HOST, ("Content-Length", "-7")], 400),
        ("HTTP/1.1", [HOST, ("Content-Length", "\u0663")], 400),
        ("HTTP/1.1", [HOST, ("Content-Length", "9" * 5000)], 400),
        ("HTTP/1.1", [HOST, ("Transfer-Encoding", " Chunked ")], None),
        ("HTTP/1.1", [HOST, ("Transfer-Encoding", "xchunked")], 501),
        ("HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked, chunked")], 501),
        ("HTTP/1.1", [HOST, ("Transfer-Encoding", "")], 501),
        ("HTTP/1.0", [HOST, ("Transfer-Encoding", "chunked")], 400),
        ("HTTP/1.1", [HOST, ("Transfer-Encoding", "chunked"), ("Content-Length", "7")], 400),
    ],
)
def test_host_and_length_have_to_be_clear(
    version: str, items: list[tuple[str, str]], status: int | None
) -> None:
    refusal = refusal_of(version, headers(*items))
    assert (None if refusal is None else refusal.status) == status


@pytest.mark.parametrize("line", [b"X: a\r\n", b"X:\n", b"\r\n", b"\n"])
def test_good_header_lines(line: bytes) -> None:
    assert HeaderLines(BytesIO(line)).readline(100) == line


@pytest.mark.parametrize(
    "line", [b"X : a\r\n", b" X: a\r\n", b"\tb\r\n", b"X\r\n", b": a\r\n", b"\xe9: a\r\n"]
)
def test_wrong_header_lines(line: bytes) -> None:
    with pytest.raises(HeaderError, match="header"):
        HeaderLines(BytesIO(line)).readline(100)


@pytest.mark.parametrize("line", [b"", b"X: a"])
def test_headers_that_end_early(line: bytes) -> None:
    with pytest.raises(HeaderError) as caught:
        HeaderLines(BytesIO(line)).readline(100)
    assert caught.value.detail is None


def test_chunks_as_they_are_read() -> None:
    chunks = Chunks(BytesIO(b"3;x=y\r\nabc\r\nA \r\n0123\n56789\r\n0\r\nX-Trailer: 1\r\n\r\n"), 100)
    assert chunks.readline() == b"3;x=y\r\n"
    assert (chunks.read(2), chunks.read(1), chunks.readline()) == (b"ab", b"c", b"\r\n")
    assert chunks.readline() == b"A \r\n"
    assert (chunks.readline(10), chunks.read(5), chunks.readline()) == (b"0123\n", b"56789", b"\r\n")
    assert [chunks.readline() for _ in range(3)] == [b"0\r\n", b"X-Trailer: 1\r\n", b"\r\n"]


@pytest.mark.parametrize("size", [b"-3", b"+3", b" 3", b"0x3", b"3_0", b"", b"g", b"3 x"])
def test_a_wrong_size_ends_the_body_for_good(size: bytes) -> None:
    chunks = Chunks(BytesIO(size + b"\r\n3\r\nabc\r\n"), 100)
    for _ in range(2):
        with pytest.raises(ChunkError, match="hexadecimal"):
            chunks.readline()


def test_a_chunk_that_is_longer_than_its_size() -> None:
    chunks = Chunks(BytesIO(b"3\r\nabcd\r\n"), 100)
    chunks.readline()
    chunks.read(3)
    with pytest.raises(ChunkError, match="does not end"):
        chunks.readline()


@pytest.mark.parametrize("line", [b"65\r\n", b"0" * 2000])
def test_a_chunk_that_is_too_large(line: bytes) -> None:
    with pytest.raises(ChunkTooLargeError):
        Chunks(BytesIO(line), 100).readline()
