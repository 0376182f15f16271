"""Framing of HTTP/1.1 requests (RFC 9112): header lines, the length of the body, and its chunks.

A server and a proxy in front of it that understand a request differently can be made to see different requests, so
what RFC 9112 does not allow is refused here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from email.message import Message


class Refusal(NamedTuple):
    """The HTTP status and the text of an answer to a request that is not served."""

    status: int
    detail: str


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(;[^\r\n]*)?\r?\n")
_ENDS = (b"\r\n", b"\n")


class HeaderError(Exception):
    """A header line that is not allowed, or None where the headers end too early."""

    def __init__(self, detail: str | None) -> None:
        super().__init__(detail)
        self.detail = detail


class HeaderLines:
    """A file whose header lines are checked as they are read."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readline(self, size: int = -1) -> bytes:
        """Read a line.

        Raises:
            HeaderError: it is not a header (RFC 9112, 5.1), is folded (5.2), or not complete.
        """
        line: bytes = self._file.readline(size)
        if line in _ENDS:
            return line
        if not line.endswith(b"\n"):
            raise HeaderError(None)
        if line[:1] in (b" ", b"\t"):
            raise HeaderError("a header is folded over several lines; send it in one (RFC 9112, 5.2)")
        if not _NAME.match(line):
            raise HeaderError("a header is not a name, a colon right behind it, and a value (RFC 9112, 5.1)")
        return line


def refusal_of(version: str, headers: Message) -> Refusal | None:
    """Return why a request is not served; None: its host and the length of its body are clear.

    Args:
        version: of the request, such as ``HTTP/1.1``.
    """
    hosts = headers.get_all("Host", [])
    if len(hosts) > 1 or (not hosts and version == "HTTP/1.1"):
        return Refusal(400, "the request has to have one Host header (RFC 9112, 3.2)")
    lengths = headers.get_all("Content-Length", [])
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(length.strip(" \t")) for length in lengths):
        return Refusal(400, "Content-Length is not one number of bytes (RFC 9112, 6.3)")
    codings = headers.get_all("Transfer-Encoding", [])
    if codings and lengths:
        return Refusal(400, "Content-Length and Transfer-Encoding are not allowed together (RFC 9112, 6.1)")
    if codings and version != "HTTP/1.1":
        return Refusal(400, f"Transfer-Encoding is not allowed in {version} (RFC 9112, 6.1)")
    if codings and [coding.strip(" \t").lower() for coding in codings] != ["chunked"]:
        return Refusal(501, "the only Transfer-Encoding that is read is chunked (RFC 9112, 6.1)")
    return None


class ChunkError(OSError):
    """The chunks of a body are wrong, or a line between them."""


class ChunkTooLargeError(ChunkError):
    """A chunk of a body states a size that is not read."""


class Chunks:
    """What eventlet reads a chunked body from, which would read on where a size is wrong.

    Args:
        most: bytes of a chunk that are read.
    """

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most
        self._left: int | None = None
        """Bytes of the chunk that are not read yet; None before its size."""
        self._is_last = False
        self._error: ChunkError | None = None

    def read(self, size: int) -> bytes:
        """Read data of a chunk."""
        return self._data(self._file.read(size))

    def readline(self, size: int = -1) -> bytes:
        """Read a line: data if ``size`` is given, else a size, the end of a chunk or a trailer.

        Raises:
            ChunkError: it is not what has to be there; also at each later call, as nothing behind it can be understood.
        """
        if size >= 0:
            return self._data(self._file.readline(size))
        if self._error is None:
            line: bytes = self._file.readline(_LONGEST_LINE)
            try:
                self._check(line)
            except ChunkError as error:
                self._error = error
            else:
                return line
        raise self._error

    def _data(self, data: bytes) -> bytes:
        self._left = (self._left or 0) - len(data)
        return data

    def _check(self, line: bytes) -> None:
        if len(line) == _LONGEST_LINE:
            raise ChunkTooLargeError("a line between chunks is too long")
        if self._is_last:
            return
        if self._left is not None:
            if line not in _ENDS:
                raise ChunkError("a chunk does not end where its size says")
            self._left = None
            return
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise ChunkError("the size of a chunk is no hexadecimal number")
        self._left = int(found[1], 16)
        self._is_last = not self._left
        if self._left > self._most:
            raise ChunkTooLargeError("a chunk is too large")


_LONGEST_LINE = 1024
"""Bytes of a line with the size of a chunk, or of a trailer."""
