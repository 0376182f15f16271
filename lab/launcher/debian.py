"""Debian packages into a folder of our own: nothing is installed, no root is needed, the host's apt is untouched.

A private apt (its own sources, lists and archive folder, see apt.conf(5) ``Dir``) resolves and downloads;
the packages are then unpacked, not installed. Running it again starts from nothing and gives the same result.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lab.launcher.errors import LabError

DEFAULT_MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MERGED = ("bin", "sbin", "lib", "lib64")
"""Top-level folders that are links into /usr since Debian 12; older packages still carry files in them."""


class Release(NamedTuple):
    """The host's Debian release and the suite that has a QEMU (>= 8.0) with the ``igb`` NIC for it."""

    codename: str
    newest: str


def host_release(os_release: Path = Path("/etc/os-release")) -> Release:
    """Read which Debian this is.

    Raises:
        LabError: not Debian, or older than Debian 12.
    """
    lines = os_release.read_text().splitlines() if os_release.exists() else []
    facts = {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}
    codename = facts.get("VERSION_CODENAME", "")
    if facts.get("ID") != "debian" or not codename or codename in {"buster", "bullseye"}:
        name = facts.get("PRETTY_NAME", "an unknown system")
        raise LabError(
            f"the lab takes QEMU and its kernel from Debian 12 (bookworm) or 13 (trixie); this is {name}. "
            "Run it in a Debian container or machine (no KVM, no kernel module and no root are needed there)."
        )
    return Release(codename, f"{codename}-backports" if codename == "bookworm" else codename)


def _host_mirror(codename: str) -> str:
    """Return the archive the host's own apt uses for its release, so that a local mirror is respected."""
    if mirror := os.environ.get("FLOWLANE_LAB_MIRROR"):
        return mirror
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    rows = (line.partition(" ") for line in answer.splitlines())
    return next((uri for name, _, uri in rows if name == codename), DEFAULT_MIRROR)


class Archive:
    """A private apt under ``folder`` for one release; the folder may be deleted afterwards."""

    def __init__(self, folder: Path, release: Release) -> None:
        self.folder = folder
        self.release = release

    def refresh(self) -> None:
        """Fetch the package lists (about 10 MB).

        Raises:
            LabError: apt-get is missing or the archive cannot be reached.
        """
        for name in ("lists/partial", "archives/partial", "parts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        suites = dict.fromkeys(
            (self.release.codename, f"{self.release.codename}-updates", self.release.newest)
        )
        source = [
            "Types: deb",
            f"URIs: {_host_mirror(self.release.codename)}",
            f"Suites: {' '.join(suites)}",
            "Components: main",
            f"Signed-By: {KEYRING}",
        ]
        (self.folder / "parts/debian.sources").write_text("\n".join(source) + "\n")
        try:
            self._apt("apt-get", "-qq", "update")
        except LabError as error:
            hint = "the first boot needs Debian's archive; FLOWLANE_LAB_MIRROR names another mirror than apt's own"
            raise LabError(f"{error}\n{hint}") from error

    def kernel_package(self) -> str:
        """Return the package that the archive's ``linux-image-amd64`` stands for now; old ones vanish from archives."""
        shown = self._apt(
            "apt-cache", "show", "--no-all-versions", f"linux-image-amd64/{self.release.newest}"
        )
        depends = next((line for line in shown.splitlines() if line.startswith("Depends:")), "")
        names = [word.split()[0] for word in depends.removeprefix("Depends:").split(",") if word.strip()]
        kernel = next((name for name in names if name.startswith("linux-image-")), None)
        if kernel is None:
            raise LabError(f"the archive's linux-image-amd64 names no kernel: {depends or 'no Depends line'}")
        return kernel

    def download(self, packages: Sequence[str], suite: str) -> list[Path]:
        """Download ``packages`` and everything they need that the host has not installed; return the files."""
        self._apt(
            "apt-get", "-qq", "--yes", "--download-only", "--no-install-recommends",
            "--target-release", suite, "install", *packages,
        )  # fmt: skip
        return self._collect()

    def download_only(self, package: str, suite: str) -> list[Path]:
        """Download one package without what it depends on."""
        self._apt(
            "apt-get", "-qq", "--target-release", suite, "download", package, cwd=self.folder / "archives"
        )
        return self._collect()

    def _collect(self) -> list[Path]:
        return sorted((self.folder / "archives").glob("*.deb"))

    def _apt(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        settings = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": self.folder / "parts",
            "Dir::State::Lists": self.folder / "lists",
            "Dir::Cache": self.folder,
            "Dir::Cache::archives": self.folder / "archives",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Update::Error-Mode": "any",  # else an archive that does not answer is a warning
            "APT::Sandbox::User": "root",  # the _apt user need not be able to read the cache
            "Debug::NoLocking": "1",  # the host's dpkg lock is not ours to take: nothing is installed
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        try:
            done = subprocess.run(
                [program, *options, *arguments], cwd=cwd, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise LabError(
                f"{program} is missing: the lab gets QEMU and its kernel with Debian's apt"
            ) from None
        if done.returncode != 0:
            raise LabError(
                f"{program} {' '.join(arguments)} failed:\n{done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout


def unpack(packages: Iterable[Path], root: Path) -> None:
    """Unpack ``packages`` under ``root`` (laid out with a merged /usr) and delete the files."""
    (root / "usr").mkdir(parents=True, exist_ok=True)
    for name in MERGED:
        (root / "usr" / name).mkdir(exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as reader:
            command = ["tar", "-x", "--no-same-owner", "--keep-directory-symlink", "-C", str(root)]
            status = subprocess.run(command, stdin=reader.stdout, check=False).returncode
        if status or reader.returncode:
            raise LabError(f"{package.name} could not be unpacked into {root}; is the disk full?")
        package.unlink()


def installed(packages: Iterable[str]) -> dict[str, bool]:
    """Say of each package whether the host has it installed."""
    names = list(packages)
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n", *names]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    have = {line.split()[1] for line in answer.splitlines() if line.startswith("ii ")}
    return {name: name in have for name in names}
