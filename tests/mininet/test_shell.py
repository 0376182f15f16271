"""The shell of ``./run net`` and ``./run topo``, fed from a pipe as a script does it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from support.hosts.network import MININET_PYTHON, ROOT

from flowlane import topology


def test_a_pipe_has_commands_of_the_shell_and_its_end_ends_it(tmp_path: Path) -> None:
    """The command of a host, which runs for a second, leaves the next lines to the shell."""
    description = tmp_path / "network.json"
    description.write_text(json.dumps(topology.load(ROOT / "topologies" / "small.yaml")))
    done = subprocess.run(
        [MININET_PYTHON, ROOT / "mininet/lab.py", description],
        input="vm1 sleep 1; echo of the host\nsh echo of the machine\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Mininet prints what hosts print to standard error.
    assert "of the host\n" in done.stderr
    assert "of the machine\n" in done.stdout
