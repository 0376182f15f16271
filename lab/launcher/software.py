"""What the guest is made of, fetched once into the cache: QEMU with ``igb``, a Debian kernel, tools the host lacks.

QEMU and the kernel stay in the cache and run from there. Tools (Open vSwitch, iproute2, ...) that the host has
not installed become a layer over the host's root that only the guest sees.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lab.launcher.cache import locked
from lab.launcher.debian import Archive, Release, host_release, installed, unpack
from lab.launcher.errors import LabError
from lab.launcher.initramfs import build_initramfs

GUEST_PACKAGES = (
    "busybox-static", "kmod", "openvswitch-switch", "iproute2", "ethtool", "iputils-ping", "iperf3", "tcpdump",
)  # fmt: skip


class Qemu(NamedTuple):
    """A qemu-system-x86_64 with what it takes to run it from where it lies."""

    program: str
    options: tuple[str, ...]
    environment: dict[str, str]


class Kernel(NamedTuple):
    """An unpacked Debian kernel: the image, its release name and the folder that holds ``lib/modules``."""

    image: Path
    release: str
    root: Path

    @property
    def modules(self) -> Path:
        """The folder /lib/modules/RELEASE of this kernel."""
        return self.root / "usr/lib/modules" / self.release


class Software(NamedTuple):
    """Everything a boot needs; ``layer`` is None when the host has all the guest's tools installed."""

    qemu: Qemu
    kernel: Kernel
    initramfs: Path
    layer: Path | None


def prepare(cache: Path, scripts: Path, *, refresh: bool, say: Callable[[str], None]) -> Software:
    """Fetch what is missing in ``cache`` and return the parts; ``scripts`` is the folder with the guest's scripts.

    Raises:
        LabError: not an x86-64 Debian, or the archive cannot be reached.
    """
    if platform.machine() != "x86_64":
        raise LabError(
            f"the lab emulates a PC with Intel NICs and runs on x86-64 only; this is {platform.machine()}"
        )
    with locked(cache / "lock"):
        if refresh:
            for old in cache.glob("software-*"):
                shutil.rmtree(old)
        store = cache / f"software-{_fingerprint()}"
        if not store.exists():
            _fetch(store, say)
        kernel = _kernel_in(store / "kernel")
        initramfs = build_initramfs(kernel.modules, _busybox(store / "tools"), scripts / "init", store)
    tools = store / "tools"
    return Software(_qemu(store / "qemu"), kernel, initramfs, tools if tools.exists() else None)


def _fingerprint() -> str:
    """Name the cache's content by what it depends on: the release and which tools the host has itself."""
    facts = repr((host_release(), sorted(installed(GUEST_PACKAGES).items())))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def _fetch(store: Path, say: Callable[[str], None]) -> None:
    """Fill ``store`` completely or not at all."""
    release = host_release()
    partial = store.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    archive = Archive(partial / "apt", release)
    say(
        f"fetching QEMU, a kernel and tools of Debian {release.codename} into {store.parent} (once, about 150 MB)"
    )
    archive.refresh()
    _fetch_qemu(archive, release, partial / "qemu")
    kernel = archive.kernel_package()
    unpack(archive.download_only(kernel, release.newest), partial / "kernel")
    missing = [name for name, have in installed(GUEST_PACKAGES).items() if not have]
    if missing:
        unpack(archive.download(missing, release.codename), partial / "tools")
    shutil.rmtree(archive.folder)
    _index_modules(partial)
    partial.rename(store)


def _fetch_qemu(archive: Archive, release: Release, root: Path) -> None:
    """Unpack QEMU, unless the host's own has the NIC."""
    own = shutil.which("qemu-system-x86_64")
    if own is None or not _has_igb(Qemu(own, (), {})):
        unpack(archive.download(["qemu-system-x86"], release.newest), root)


def _qemu(root: Path) -> Qemu:
    if not root.exists():
        return Qemu("qemu-system-x86_64", (), {})
    libraries = root / "usr/lib/x86_64-linux-gnu"
    folders = ("share/qemu", "share/seabios", "lib/ipxe/qemu")
    qemu = Qemu(
        program=str(root / "usr/bin/qemu-system-x86_64"),
        options=tuple(word for name in folders for word in ("-L", str(root / "usr" / name))),
        environment={**_libraries(root), "QEMU_MODULE_DIR": str(libraries / "qemu")},
    )
    if not _has_igb(qemu):
        raise LabError(f"{qemu.program} does not run here or has no igb NIC; --refresh fetches it again")
    return qemu


def _has_igb(qemu: Qemu) -> bool:
    command = [qemu.program, "-device", "help"]
    answer = subprocess.run(
        command, env={**os.environ, **qemu.environment}, capture_output=True, text=True, check=False
    )
    return 'name "igb"' in answer.stdout


def _kernel_in(root: Path) -> Kernel:
    images = sorted(root.glob("boot/vmlinuz-*"))
    if not images:
        raise LabError(f"no kernel image under {root}/boot; --refresh fetches it again")
    return Kernel(images[-1], images[-1].name.removeprefix("vmlinuz-"), root)


def _busybox(tools: Path) -> Path:
    """Return the static busybox: the layer's, or the host's own."""
    places = (tools / "usr/bin/busybox", Path("/usr/bin/busybox"))
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise LabError("busybox-static is missing; --refresh fetches it")
    return found


def _index_modules(store: Path) -> None:
    """Make modules.dep, which a kernel package's installation would make; depmod is a name of kmod."""
    release = _kernel_in(store / "kernel").release
    own = store / "tools/usr/bin/kmod"
    kmod, environment = (own, _libraries(store / "tools")) if own.exists() else (_installed_kmod(), {})
    command = ["depmod", "-b", str(store / "kernel"), release]
    subprocess.run(command, executable=kmod, env={**os.environ, **environment}, check=True)


def _installed_kmod() -> str:
    return shutil.which("kmod", path="/usr/bin:/bin") or "kmod"


def _libraries(root: Path) -> dict[str, str]:
    """Return the setting that lets a program of an unpacked root find its libraries."""
    return {"LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu")}
