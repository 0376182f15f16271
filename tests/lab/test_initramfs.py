from __future__ import annotations

from lab.launcher.initramfs import Entry, cpio, module_order

DEPENDENCIES = """\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
"""


def test_every_module_comes_after_what_it_needs_and_once() -> None:
    order = module_order(DEPENDENCIES, ["9p", "9pnet_virtio", "built_in"])
    names = [name.rpartition("/")[2] for name in order]
    assert names == ["netfs.ko.xz", "9pnet.ko.xz", "9p.ko.xz", "9pnet_virtio.ko.xz"]


def test_the_archive_is_the_same_for_the_same_parts_and_padded_to_four_bytes() -> None:
    """That another program can read it, the kernel shows at each boot."""
    entries = [Entry("bin", 0o040755), Entry("bin/a", 0o100755, b"hello")]
    archive = b"".join(cpio(entries))
    assert archive == b"".join(cpio(entries))
    assert len(archive) % 4 == 0
    assert archive.count(b"070701") == 3
    assert archive.index(b"hello") % 4 == 0
