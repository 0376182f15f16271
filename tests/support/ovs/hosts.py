"""Hosts of several bridges on one real Open vSwitch, with real queues and one controller. Needs root.

Ports are tap devices of the userspace datapath (type internal), whose queues are those of their QoS rows; frames are
sent from them, and what the switch does with one is read by ``ofproto/trace``.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs


@dataclass
class Host:
    """The host: ``manager`` is its controller, which can be ended and launched again."""

    ovs: PrivateOvs
    options: tuple[str, ...]
    port: int
    manager: Launched
    bridges: list[str] = field(default_factory=list)

    def rest(self, path: str) -> Any:
        return self.manager.rest(path)

    def put_policy(self, text: str) -> None:
        """Replace the policy."""
        self.manager.put("/v1/policy", text.encode(), "application/yaml")

    def bridge(self, name: str, dpid: int, *arguments: str) -> None:
        """Add a bridge with a controller, and wait until its tables are there."""
        self.bridges.append(name)
        self.ovs.add_bridge(name, (), dpid=dpid)
        if arguments:
            self.ovs.vsctl(*arguments)
        self.ovs.vsctl("set-controller", name, f"tcp:127.0.0.1:{self.port}")

    def vm_and_uplink(self, name: str, dpid: int, vm: str, uplink: str) -> None:
        """Add a bridge with the port of VM ``vm1`` (7) and an uplink (8), both interfaces of this machine."""
        words = f"add-port {name} {vm} -- set Interface {vm} type=internal ofport_request=7"
        words += " external_ids:iface-id=vm1"
        words += f" -- add-port {name} {uplink} -- set Interface {uplink} type=internal ofport_request=8"
        self.bridge(name, dpid, *words.split(), "external_ids:flowlane-port=uplink")
        self.up(vm, uplink)

    def programmed(self) -> None:
        """Wait until all bridges are programmed."""
        wait_for(
            lambda: all("table=8" in self.ovs.ofctl("dump-flows", name) for name in self.bridges), 20,
            "a bridge was not programmed",
        )  # fmt: skip

    def up(self, *names: str) -> None:
        for name in names:
            subprocess.run(["ip", "link", "set", name, "up"], check=True)

    def down(self, *names: str) -> None:
        for name in names:
            subprocess.run(["ip", "link", "set", name, "down"], check=True)

    def send(self, interface: str, *frames: bytes) -> None:
        """Let frames come into the switch by a port."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((interface, 0))
            for frame in frames:
                out.send(frame)

    def trace(self, bridge: str, port: str, frame: bytes) -> str:
        """What the switch would do with a frame that comes in by a port."""
        return self.ovs.trace(bridge, f"in_port={port}", frame)

    def queue(self, bridge: str, port: str, frame: bytes) -> int | None:
        """The queue that a frame would leave by; None for none, or for queue 0 on the userspace datapath."""
        actions = self.trace(bridge, port, frame).rsplit("Datapath actions:", 1)[1]
        found = re.findall(r"skb_priority\((0x[0-9a-f]+|0)\)", actions)
        priority = int(found[-1], 16) if found else 0
        # Userspace datapath: the queue's id. Kernel: the HTB class 1:(k+1) of queue k (lib/netdev-linux.c).
        return (priority & 0xFFFF) - 1 if priority > 0xFFFF else priority or None

    def flows(self, **where: str | int) -> list[Any]:
        """The flows of REST that have these values."""
        items = self.rest("/v1/flows?limit=1000")["items"]
        return [item for item in items if all(item[name] == value for name, value in where.items())]

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 15) -> None:
        try:
            wait_for(lambda: bool(condition()), seconds, what)
        except TimeoutError as error:
            raise AssertionError(f"{what}\n{self.manager.log[-3000:]}") from error


@contextmanager
def host(ovs: PrivateOvs, folder: Path, policy: str, *options: str, ovsdb: str = "") -> Iterator[Host]:
    """Run a controller with a policy; bridges that a test adds are removed at the end.

    Args:
        ovsdb: where the controller reads the database, if not at the socket of all.
    """
    path = folder / "policy.yaml"
    path.write_text(policy)
    words = (f"--ovsdb={ovsdb or ovs.database}", f"--policy={path}", *options)
    with launched(*words) as manager:
        running = Host(ovs, words, manager.openflow_port, manager)
        try:
            yield running
        finally:
            for bridge in running.bridges:
                ovs.vsctl("--if-exists", "del-br", bridge)
