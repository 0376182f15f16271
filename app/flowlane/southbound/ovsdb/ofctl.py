"""What a bridge itself says of its queues over OpenFlow, asked with ``ovs-ofctl`` (a second opinion on ours)."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_QUEUE = re.compile(r"^\s*queue (\d+):", re.MULTILINE)
_VERSIONS = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
_PATIENCE = 10


def parse_queues(text: str) -> tuple[int, ...]:
    """Read the answer to ``ovs-ofctl queue-get-config BRIDGE PORT``, of any OpenFlow version."""
    return tuple(sorted({int(number) for number in _QUEUE.findall(text)}))


def reported_queues(
    bridge: str, port: str, rundir: Path, protocols: tuple[str, ...] = ()
) -> tuple[int, ...] | None:
    """Ask one port of a bridge, by the management socket in Open vSwitch's run directory; None when it is mute.

    One port at a time: an answer for all ports names none of them before OpenFlow 1.4.
    """
    tool, socket = shutil.which("ovs-ofctl"), rundir / f"{bridge}.mgmt"
    if tool is None or not socket.exists():
        return None
    versions = ",".join(protocols) or _VERSIONS
    command = [tool, f"--timeout={_PATIENCE}", "-O", versions, "queue-get-config", f"unix:{socket}", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return parse_queues(done.stdout) if done.returncode == 0 else None
