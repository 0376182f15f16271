"""The guest's first file system: busybox, our init, and the few modules that reach the host's root over 9p.

Written as a newc cpio archive (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

BOOT_MODULES = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay")
"""Needed before the root is there; those that a kernel has built in are not in its modules.dep."""


class Entry(NamedTuple):
    """One file or folder of the archive; ``mode`` as in stat(2)."""

    name: str
    mode: int
    content: bytes = b""


def build_initramfs(modules: Path, busybox: Path, init: Path, folder: Path) -> Path:
    """Build the archive in ``folder`` unless one of exactly these parts is there already; return its path."""
    names = module_order((modules / "modules.dep").read_text(), BOOT_MODULES)
    mark = hashlib.sha256(repr((names, busybox)).encode() + init.read_bytes()).hexdigest()[:12]
    target = folder / f"initramfs-{mark}.cpio"
    if not target.exists():
        partial = target.with_suffix(".partial")
        partial.write_bytes(b"".join(cpio(_entries(modules, names, busybox, init))))
        partial.rename(target)
    return target


def module_order(dependencies: str, wanted: Iterable[str]) -> list[str]:
    """List the files to insert, each after what it needs, from the text of modules.dep (see depmod(8))."""
    # A module listed later in a line is needed by those before it.
    table: dict[str, tuple[str, list[str]]] = {}
    for line in dependencies.splitlines():
        path, _, needs = line.partition(":")
        table[_module_name(path)] = (path, needs.split())
    order: dict[str, None] = {}
    for name in wanted:
        if name in table:
            file, needed = table[name]
            order |= dict.fromkeys([*reversed(needed), file])
    return list(order)


def cpio(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Encode ``entries`` as a newc archive; owner root, no times, so that equal parts give equal bytes."""
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        yield _padded(header)
        yield _padded(entry.content)


def _entries(modules: Path, names: list[str], busybox: Path, init: Path) -> Iterator[Entry]:
    executable = stat.S_IFREG | 0o755
    for folder in ("bin", "modules"):
        yield Entry(folder, stat.S_IFDIR | 0o755)
    yield Entry("init", executable, init.read_bytes())
    yield Entry("bin/busybox", executable, busybox.read_bytes())
    files = [f"{_module_name(name)}.ko" for name in names]
    yield Entry("modules/order", stat.S_IFREG | 0o644, "".join(f"{file}\n" for file in files).encode())
    for name, file in zip(names, files, strict=True):
        yield Entry(f"modules/{file}", stat.S_IFREG | 0o644, _uncompressed(modules / name))


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].split(".ko")[0].replace("-", "_")


def _uncompressed(path: Path) -> bytes:
    """Read a module; busybox's insmod takes only plain ones."""
    readers = {".xz": lzma.decompress, ".gz": gzip.decompress}
    data = path.read_bytes()
    return readers[path.suffix](data) if path.suffix in readers else data


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
