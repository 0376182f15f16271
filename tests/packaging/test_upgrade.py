"""The configuration of the Debian package across installations, upgrades and removal, by dpkg, which asks nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.installation import ROOT, run

SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


class Machine:
    """A root directory with a database of dpkg, for packages that have the maintainer scripts of Flowlane's only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        for name in ("info", "updates", "triggers"):
            (self.root / "var/lib/dpkg" / name).mkdir(parents=True)
        for name in ("status", "available"):
            (self.root / "var/lib/dpkg" / name).touch()
        self.conf = self.root / "etc/flowlane/flowlane.conf"

    def package(self, version: str, configuration: str) -> Path:
        tree = self.folder / version
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: flowlane\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n"
        )
        for name in SCRIPTS:
            shutil.copy(ROOT / "packaging/deb" / name, tree / "DEBIAN")
        (tree / "usr/share/flowlane").mkdir(parents=True)
        (tree / "usr/share/flowlane/flowlane.conf").write_text(configuration)
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, self.folder)
        return self.folder / f"flowlane_{version}_all.deb"

    def dpkg(self, *words: str | Path) -> None:
        done = subprocess.run(
            [
                "dpkg",
                f"--root={self.root}",
                "--force-script-chrootless",
                "--force-not-root",
                *map(str, words),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def files(self) -> list[str]:
        return sorted(path.name for path in self.conf.parent.iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which version 1 was installed."""
    made = Machine(tmp_path)
    made.dpkg("--install", made.package("1", "of version 1\n"))
    assert made.conf.read_text() == "of version 1\n"
    return made


def test_a_configuration_that_nobody_edited_is_that_of_the_new_version(machine: Machine) -> None:
    machine.dpkg("--install", machine.package("2", "of version 2\n"))
    assert machine.conf.read_text() == "of version 2\n"
    assert machine.files() == ["flowlane.conf"]


def test_an_edited_configuration_stays_and_nobody_is_asked(machine: Machine) -> None:
    machine.conf.write_text("edited\n")
    machine.dpkg("--install", machine.package("2", "of version 2\n"))
    assert machine.conf.read_text() == "edited\n"
    assert (machine.root / "usr/share/flowlane/flowlane.conf").read_text() == "of version 2\n"
    assert machine.files() == ["flowlane.conf"]


def test_a_deleted_configuration_stays_deleted(machine: Machine) -> None:
    machine.conf.unlink()
    machine.dpkg("--install", machine.package("2", "of version 2\n"))
    assert machine.files() == []


def test_remove_keeps_it_and_purge_leaves_nothing(machine: Machine) -> None:
    machine.conf.write_text("edited\n")
    machine.dpkg("--remove", "flowlane")
    assert machine.conf.read_text() == "edited\n"
    machine.dpkg("--purge", "flowlane")
    assert not machine.conf.parent.exists()
    assert not (machine.root / "usr").exists()
