from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowlane.core.model import QueueKind
from flowlane.errors import NotFoundError
from flowlane.hosttools.client import open_database
from flowlane.hosttools.inventory import QueueEntry, port_of, ports_of

if TYPE_CHECKING:
    from support.ovs.ovsdb_server import Server


def test_ports_are_listed_by_bridge_and_name_with_their_queues(server: Server) -> None:
    server.bridge("br1", 1, "z0", "a0")
    server.bridge("br0", 2)
    server.vsctl(
        *["set", "port", "z0", "qos=@q", "--", "--id=@q", "create", "qos", "type=linux-htb", "queues:4=@a"],
        *["external_ids:flowlane=z0", "external_ids:flowlane-leaf=none", "other_config:max-rate=9"],
        *["--", "--id=@a", "create", "queue", "other_config:priority=2"],
        *["external_ids:flowlane-kind=software", "other_config:min-rate=x", "other_config:max-rate=7"],
    )
    server.vsctl("set", "interface", "z0", "link_speed=100")
    with open_database(server.remote) as database:
        snapshot = database.snapshot()
    assert [(port.bridge, port.name) for port in ports_of(snapshot)] == [
        ("br0", "br0"), ("br1", "a0"), ("br1", "br1"), ("br1", "z0"),
    ]  # fmt: skip
    port = port_of(snapshot, "z0")
    assert (port.qos_type, port.max_rate, port.ours, port.link_speed, port.datapath) == (
        "linux-htb",
        9,
        True,
        100,
        "system",
    )
    assert port.queues == (QueueEntry(4, QueueKind.SOFTWARE, None, 7, 2),)
    assert (port.leaf, port_of(snapshot, "a0").leaf) == ("none", "")
    assert not port_of(snapshot, "a0").qos_type
    with pytest.raises(NotFoundError, match="nope"):
        port_of(snapshot, "nope")
