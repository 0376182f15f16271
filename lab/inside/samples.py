"""Samples of packets from a private Open vSwitch to its controller, by the rows that ``flowlane attach`` makes."""

from __future__ import annotations

import re

from flowlane.hosttools import sampling
from flowlane.hosttools.bridge_settings import BridgeSettings
from lab.inside.manager import Launched
from lab.inside.private_ovs import PrivateOvs

LISTEN = "--ipfix-listen=127.0.0.1:0"
"""Option of the manager: on a free port."""


def port_of(manager: Launched) -> int:
    """Return the UDP port on which a manager receives samples."""
    found = re.search(r"samples by IPFIX on \S+ UDP port (\d+)", manager.log)
    assert found is not None, manager.log
    return int(found[1])


def export(ovs: PrivateOvs, bridge: str, port: int) -> None:
    """Have a bridge send its samples to a port of this machine."""
    settings = BridgeSettings(bridge, "", "", "", (), (), {})
    for step in sampling.plan(settings, None, f"127.0.0.1:{port}"):
        ovs.vsctl(*step.command[1:])
