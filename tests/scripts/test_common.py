"""``scripts/common.sh``: who may install packages, and that an installation never asks a question."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "env", "mkdir", "tail", "readlink", "dirname")
RECORDER = """#!/bin/bash
{ echo "${0##*/} $*"; echo "frontend=${DEBIAN_FRONTEND:-}"; echo "stdin=$(readlink /proc/$$/fd/0)"; } >>"$RECORD"
case "${0##*/} $*" in *"$FAILING"*) exit 1 ;; esac
"""


class Machine:
    """A PATH of its own: the packages that ``./run`` needs are missing, and who works on it is no root."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.record, self.state = folder / "bin", folder / "record", folder / "state"
        self.bin.mkdir()
        for tool in TOOLS:
            self.add(tool, f'#!/bin/bash\nexec {shutil.which(tool)} "$@"\n')
        self.add("dpkg-query", "#!/bin/bash\nexit 1\n")
        self.add("id", "#!/bin/bash\necho 1000\n")
        for tool in ("apt-get", "dpkg"):
            self.add(tool, RECORDER)

    def add(self, tool: str, script: str) -> None:
        (self.bin / tool).write_text(script)
        (self.bin / tool).chmod(0o755)

    def setup_packages(self, failing: str = "nothing fails") -> subprocess.CompletedProcess[str]:
        """Install one missing package, as ``./run setup`` does."""
        script = (
            f"set -Eeuo pipefail; root={ROOT}; . scripts/common.sh; state={self.state}; setup_packages iperf3"
        )
        return subprocess.run(
            ["/bin/bash", "-c", script],
            cwd=ROOT,
            env={"PATH": str(self.bin), "RECORD": str(self.record), "FAILING": failing, "HOME": "/nowhere"},
            input="a question would be answered with this\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )

    def recorded(self) -> list[str]:
        """The commands that were run, each followed by its frontend and its standard input."""
        return self.record.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_root_and_sudo_it_says_what_it_needs(machine: Machine) -> None:
    done = machine.setup_packages()
    assert done.returncode == 1
    assert "root is needed to install Debian packages, and sudo is not installed" in done.stderr
    assert "apt-get install --no-install-recommends iperf3" in done.stderr
    assert not machine.record.exists()


def test_a_sudo_that_refuses_is_reported(machine: Machine) -> None:
    machine.add("sudo", "#!/bin/bash\necho 'somebody is not in the sudoers file' >&2\nexit 1\n")
    done = machine.setup_packages()
    assert done.returncode == 1
    assert "not in the sudoers file" in done.stderr
    assert "sudo refuses" in done.stderr


@pytest.mark.parametrize("user", [0, 1000])
def test_an_installation_asks_nothing(machine: Machine, user: int) -> None:
    """Neither debconf, nor dpkg about a changed configuration file, nor anything that would read a terminal."""
    machine.add("id", f"#!/bin/bash\necho {user}\n")
    machine.add("sudo", '#!/bin/bash\nwhile [ "$1" = -n ] || [ "$1" = -- ]; do shift; done\nexec "$@"\n')
    machine.add("true", "#!/bin/bash\n")
    assert machine.setup_packages().returncode == 0
    lines = machine.recorded()
    commands, frontends, inputs = lines[::3], set(lines[1::3]), set(lines[2::3])
    assert (frontends, inputs) == ({"frontend=noninteractive"}, {f"stdin={os.devnull}"})
    assert [command.split()[0] for command in commands] == ["dpkg", "apt-get", "apt-get"]
    assert commands[0].endswith("--configure -a")
    assert commands[2].endswith("install --no-install-recommends iperf3")
    for command in (commands[0], commands[2]):
        assert "--force-confdef" in command
        assert "--force-confold" in command


def test_an_interrupted_installation_is_mended_first(machine: Machine) -> None:
    machine.add("id", "#!/bin/bash\necho 0\n")
    assert machine.setup_packages(failing="--configure -a").returncode == 0
    commands = machine.recorded()[::3]
    assert commands[1].endswith("install --fix-broken --no-install-recommends")
    assert commands[-1].endswith("install --no-install-recommends iperf3")


def test_a_failed_installation_names_its_log(machine: Machine) -> None:
    machine.add("id", "#!/bin/bash\necho 0\n")
    done = machine.setup_packages(failing="install --no-install-recommends iperf3")
    assert done.returncode == 1
    assert f"apt-get install failed; its output is in {machine.state}/apt.log" in done.stderr
