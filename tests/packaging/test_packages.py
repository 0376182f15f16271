"""The wheel and the Debian package, built and unpacked: what is in them, and that it runs without the repository."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import urllib.request
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest
from lab.inside.manager import wait_for
from support.installation import ROOT, build_packages, run

FLOWS = "vm,src,dst,protocol,src_port,dst_port,rate\nvm1,10.0.0.1,10.0.0.2,tcp,1000,873,1Mbit/s\n"

IMPORT_ALL = """
import pkgutil, flowlane
from flowlane import hub
hub.prepare(patch=False)
for module in pkgutil.walk_packages(flowlane.__path__, "flowlane."):
    if not module.name.endswith("__main__"):
        try:
            __import__(module.name)
        except ModuleNotFoundError as error:
            print(module.name, error.name)
"""

SYSTEMD = ROOT / "packaging" / "systemd"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build_packages(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def package(built: tuple[Path, Path]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "--raw-extract", package, folder)
    return folder


class Place:
    """An empty directory in which the wheel's commands are run, with nothing of this process's environment.

    The package's environment is one in which the wheel alone was installed. It is not where its programs look for it,
    so its Python is named.
    """

    modules: ClassVar = {"flowlane": "flowlane.cli.main", "flowlane-manager": "flowlane.manager"}

    def __init__(self, unpacked: Path, directory: Path) -> None:
        self.python = unpacked / "usr" / "lib" / "flowlane" / "bin" / "python"
        self.directory = directory
        # What is compiled is kept beside the package, for the next command.
        compiled = str(unpacked.with_name(f"{unpacked.name}-compiled"))
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/nonexistent",
            "PYTHONPYCACHEPREFIX": compiled,
        }

    def command(self, *words: str) -> list[str]:
        return [str(self.python), "-s", "-m", self.modules[words[0]], *words[1:]]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def place(unpacked: Path, tmp_path: Path) -> Place:
    return Place(unpacked, tmp_path)


def test_the_wheel_has_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "flowlane"], cwd=ROOT / "app", check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(listed) <= set(zipfile.ZipFile(built[1]).namelist())


def test_commands_without_a_controller_work(place: Place) -> None:
    policy = place.run("flowlane", "policy", "show", "--built-in")
    (place.directory / "policy.yaml").write_text(policy.stdout)
    (place.directory / "flows.csv").write_text(FLOWS)
    for words, shown in {
        ("flowlane", "--version"): "flowlane ",
        ("flowlane", "check", "policy.yaml"): "policy.yaml",
        ("flowlane", "policy", "schema"): "$schema",
        ("flowlane", "plan", "policy.yaml", "--flows", "flows.csv"): "vm1",
        ("flowlane", "simulate", "--count", "3", "--seconds", "2", "--vms", "1"): "second half",
        ("flowlane", "completion", "bash"): "complete -F",
        ("flowlane-manager", "--version"): "flowlane-manager ",
        ("flowlane-manager", "--help"): "--policy",
    }.items():
        done = place.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), f"{words}: {done.stderr}"
        assert shown in done.stdout, words
    done = place.run("flowlane", "simulate", "--plot", "load.svg")
    assert (done.returncode, "--plot needs the Python package matplotlib" in done.stderr) == (2, True)


def test_the_controller_runs(place: Place) -> None:
    log = place.directory / "log"
    options = ["--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=0", "--wsapi-port=0", "--ovsdb=none"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            place.command("flowlane-manager", *options),
            cwd=place.directory,
            env=place.environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: "running: " in log.read_text() or process.poll() is not None, 30)
        found = re.search(r"REST on (https?://[^/]+)/", log.read_text())
        assert found is not None, log.read_text()
        for path, kind in {"/": "text/html", "/openapi.json": "json", "/v1/status": "json"}.items():
            with urllib.request.urlopen(found[1] + path, timeout=10) as answer:
                assert kind in answer.headers["Content-Type"]
                assert answer.read()
        devices = place.run("flowlane", "devices", "--url", found[1])
        assert (devices.returncode, devices.stderr) == (0, "")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_no_module_needs_the_repository(place: Place) -> None:
    """Each can be imported, except those that need an extra."""
    done = subprocess.run(
        [place.python, "-s", "-W", "ignore", "-c", IMPORT_ALL],
        cwd=place.directory,
        env=place.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    missing = dict(line.split() for line in done.stdout.splitlines())
    assert set(missing.values()) <= {"matplotlib"}, missing


def test_it_has_what_an_operator_looks_for(unpacked: Path) -> None:
    for name in (
        "usr/share/flowlane/flowlane.conf",
        "lib/systemd/system/flowlane.service",
        "lib/systemd/system/flowlane-ovsdb.socket",
        "lib/systemd/system/flowlane-ovsdb.service",
        "usr/share/man/man1/flowlane.1.gz",
        "usr/share/man/man5/flowlane.conf.5.gz",
        "usr/share/man/man8/flowlane-manager.8.gz",
        "usr/share/bash-completion/completions/flowlane-manager",
        "usr/share/zsh/vendor-completions/_flowlane",
        "usr/share/fish/vendor_completions.d/flowlane.fish",
        "usr/share/doc/flowlane/copyright",
        "usr/share/doc/flowlane/operators/install.md",
        "usr/share/doc/flowlane/policies/demo.yaml",
    ):
        assert (unpacked / name).is_file(), name
    for name in ("flowlane", "flowlane-manager"):
        assert (unpacked / "usr" / "bin" / name).readlink() == Path("../lib/flowlane/bin") / name


def test_it_has_nothing_of_the_machine_that_built_it(unpacked: Path) -> None:
    """No path of the build, no bytecode, no pip; the interpreter is Debian's."""
    home = unpacked / "usr" / "lib" / "flowlane"
    assert (home / "bin" / "python3").readlink() == Path("/usr/bin/python3")
    names = [path.name for path in home.rglob("*")]
    assert not {"__pycache__", "pip", "direct_url.json"} & set(names)
    texts = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in texts if b"/tmp/tmp." in path.read_bytes()] == []
    assert sorted(path.name for path in (home / "bin").iterdir()) == [
        "flowlane",
        "flowlane-manager",
        "python",
        "python3",
    ]
    for name in ("flowlane", "flowlane-manager"):
        assert (home / "bin" / name).read_text().startswith("#!/usr/lib/flowlane/bin/python -s\n")


def test_the_configuration_listens_on_loopback_only(unpacked: Path) -> None:
    text = (unpacked / "usr" / "share" / "flowlane" / "flowlane.conf").read_text()
    assert re.findall(r"^\w+ = .*$", text, re.MULTILINE) == ["ofp_listen_host = 127.0.0.1"]
    assert not (unpacked / "DEBIAN" / "conffiles").exists()


def test_it_fits_one_release_of_debian(package: Path) -> None:
    fields = dict(
        line.split(": ", 1)
        for line in run("dpkg-deb", "--field", package).splitlines()
        if re.match(r"\w[\w-]*: ", line)
    )
    minor = int(run("/usr/bin/python3", "-c", "import sys; print(sys.version_info[1])"))
    assert f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})" in fields["Depends"]
    assert fields["Architecture"] == run("dpkg", "--print-architecture").strip()
    assert int(fields["Installed-Size"]) > 1000


@pytest.fixture(scope="module")
def root_with_units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root directory in which the units are, and the programs that they start; systemd-analyze looks there."""
    folder = tmp_path_factory.mktemp("root")
    units = folder / "lib" / "systemd" / "system"
    shutil.copytree(SYSTEMD, units)
    for name in ("sysinit", "basic", "shutdown", "network-online", "multi-user", "sockets"):
        shutil.copy(f"/lib/systemd/system/{name}.target", units)
    for program in ("usr/bin/flowlane-manager", "bin/kill", "lib/systemd/systemd-socket-proxyd"):
        (folder / program).parent.mkdir(parents=True, exist_ok=True)
        (folder / program).touch(mode=0o755)
    return folder


def test_units_are_correct_and_hardened(root_with_units: Path) -> None:
    units = sorted(path.name for path in SYSTEMD.iterdir())
    assert units == ["flowlane-ovsdb.service", "flowlane-ovsdb.socket", "flowlane.service"]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root_with_units}", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    # Exposure in tenths, from 0 to 100; below 20 systemd calls it OK.
    for unit in ("flowlane.service", "flowlane-ovsdb.service"):
        run(
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--root={root_with_units}",
            "--threshold=20",
            unit,
        )


SCRIPTS = ("preinst", "postinst", "prerm", "postrm")


def test_maintainer_scripts_are_in_the_package(unpacked: Path) -> None:
    for name in SCRIPTS:
        assert (unpacked / "DEBIAN" / name).stat().st_mode & 0o777 == 0o755
    commands = re.findall(
        r"^[^#\n]*\bsystemctl (.*)$", (unpacked / "DEBIAN" / "postinst").read_text(), re.MULTILINE
    )
    assert len(commands) == 2
    assert not [
        line for line in commands if re.search(r"\b(enable|start|restart)\b", line.replace("try-restart", ""))
    ]
