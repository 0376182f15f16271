"""Files that may be compressed: the bytes of gzip, bzip2, xz and zstd files, read as those of plain ones."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from flowlane.errors import RequestError
from flowlane.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = 8
"""Bytes at the beginning of a file that show how it is compressed."""

DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What the readers of compressed files raise for damaged data."""

_UNREADABLE = {
    b"\x04\x22\x4d\x18": ("lz4", "lz4 -d FILE"),
    b"PK\x03\x04": ("zip", "unzip FILE"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x FILE"),
}
"""First bytes -> name, and the command that uncompresses it."""


def _zstd(file: IO[bytes]) -> IO[bytes]:
    require(f"{file.name}: zstd", "zstandard")
    import zstandard  # noqa: PLC0415  an extra: only these files need it

    reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    return io.BufferedReader(cast("io.RawIOBase", _Raw(reader.read, zstandard.ZstdError)))


class _Raw(io.RawIOBase):
    """A reader's bytes as a raw stream; its own error is an ``OSError``, as that of bzip2 is."""

    def __init__(self, read: Callable[[int], bytes], error: type[Exception]) -> None:
        self._read, self._error = read, error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        try:
            data = self._read(len(view))
        except self._error as error:
            raise OSError(str(error)) from None
        view[: len(data)] = data
        return len(data)


_READERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    b"BZh": lambda file: cast("IO[bytes]", bz2.BZ2File(file)),
    b"\xfd7zXZ\x00": lambda file: cast("IO[bytes]", lzma.LZMAFile(file)),  # noqa: SIM115  (its user closes it)
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""First bytes -> function that opens what is compressed in a file (RFC 1952, RFC 8878, xz-file-format)."""


@contextmanager
def open_uncompressed(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; what it reads is what was compressed, where the file is compressed.

    Raises:
        MissingPackageError: what reads it is not installed.
        RequestError: the file is compressed in a way that is not read here; the text says what to do.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        head = file.peek(HEAD)[:HEAD]
        for magic, (name, command) in _UNREADABLE.items():
            if head.startswith(magic):
                remedy = f"uncompress it first: {command.replace('FILE', str(path))}"
                raise RequestError(f"{path}: {name} files are not read; {remedy}")
        opened = [reader for magic, reader in _READERS.items() if head.startswith(magic)]
        yield opened[0](file) if opened else file
