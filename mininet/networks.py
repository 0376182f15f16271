"""Mininet's classes for a file of topologies/: a graph whose bridges and hosts make themselves as the file says.

Run by the system's Python, which has Mininet. It never imports Flowlane; the file comes as JSON, checked, from
``.venv/bin/python -m flowlane.topology FILE``. ``lab.py`` and ``topologies/mn.py`` (for ``mn --custom``) use it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mininet.node import Host, OVSSwitch
from mininet.topo import Topo

Data = dict[str, Any]
"""What JSON gives."""

_UNITS = {"bit/s": 1, "kbit/s": 1000, "Mbit/s": 10**6, "Gbit/s": 10**9}


def vsctl(*words: str) -> None:
    """Run ovs-vsctl."""
    subprocess.run(["ovs-vsctl", *words], check=True, stdout=subprocess.DEVNULL)


def add_entry(bridge: str, entry: str) -> None:
    """Add a flow entry to a bridge."""
    subprocess.run(["ovs-ofctl", "add-flow", "-OOpenFlow13", bridge, entry], check=True)


def has_kernel_datapath() -> bool:
    """Whether the kernel has Open vSwitch's datapath."""
    types = subprocess.run(
        ["ovs-vsctl", "get", "Open_vSwitch", ".", "datapath_types"],
        check=True,
        capture_output=True,
        text=True,
    )
    return "system" in types.stdout and Path("/sys/module/openvswitch").exists()


# ---- words for ovs-vsctl


def external_ids(table: str, name: str, ids: dict[str, str]) -> list[str]:
    """Words that write external ids of a row."""
    pairs = [f'external_ids:{key}="{value}"' for key, value in ids.items()]
    return ["--", "set", table, name, *pairs] if ids else []


def access(port: str, spec: Data) -> list[str]:
    """Words that make a port an access port of its host's VLAN."""
    return ["--", "set", "Port", port, f"tag={spec['tag']}"] if "tag" in spec else []


def bits(rate: str) -> int:
    """Read a rate of a checked file, in bit/s."""
    found = re.match(r"([\d.]+)\s*(\S+)\Z", rate)
    assert found is not None, rate
    return round(float(found[1]) * _UNITS[found[2]])


def queues(port: str, spec: Data) -> list[str]:
    """Words that give a port its queues, numbered from 0."""
    rate, numbers = bits(spec["rate"]), range(spec["count"])
    least = f"other-config:min-rate={bits(spec.get('min_rate', '1000bit/s'))}"
    names = [f"queues:{number}=@q{number}" for number in numbers]
    made = ["--id=@qos", "create", "QoS", "type=linux-htb", f"other-config:max-rate={rate}", *names]
    for number in numbers:
        made += ["--", f"--id=@q{number}", "create", "Queue", least]
    return ["--", "set", "Port", port, "qos=@qos", "--", *made]


def bond(bridge: str, name: str, spec: Data) -> list[str]:
    """Words that make one port of several; its members keep their names."""
    removed = [word for member in spec["members"] for word in ("--", "del-port", bridge, member)]
    return [*removed, "--", "add-bond", bridge, name, *spec["members"], f"bond_mode={spec['mode']}"]


def patch(bridge: str, port: str, peer: str) -> list[str]:
    """Words that add a patch port."""
    options = ["type=patch", f"options:peer={peer.partition('/')[2]}"]
    return ["--", "add-port", bridge, port, "--", "set", "Interface", port, *options]


def interfaces(network: Data) -> Iterator[tuple[str, Data]]:
    """Go through the network interfaces of all hosts: the host's name, and the keys of the interface."""
    for name, host in network["hosts"].items():
        for nic in (host, *host.get("nics", ())):
            yield name, nic


def nic_ids(name: str, host: Data, nic: Data) -> dict[str, str]:
    """External ids of an interface of a host: a VM's name is that of the file, and its port's if it has several."""
    named = {} if host["kind"] != "vm" else {"vm-name": name}
    if named and host.get("nics"):
        named["vm-name"] += f"-{nic['port'].partition('/')[2]}"
    return {**named, **nic.get("external_ids", {})}


def dress(network: Data, bridge: str, with_queues: bool) -> list[list[str]]:
    """List the commands of ovs-vsctl that make a started bridge what the file says."""
    spec = network["bridges"][bridge]
    mine = external_ids("Bridge", bridge, {"flowlane-role": spec["role"]})
    for key in ("stp", "rstp"):
        mine += ["--", "set", "Bridge", bridge, f"{key}_enable=true"] if spec.get(key) else []
    for one, other in network["patches"]:
        for end, peer in ((one, other), (other, one)):
            mine += patch(bridge, end.partition("/")[2], peer) if end.startswith(f"{bridge}/") else []
    for place in (end for link in network["links"] for end in link):
        # What a cable leads to is in no database; an operator says it.
        on, _, port = place.partition("/")
        if on == bridge:
            role = "link" if spec["role"] == "switch" else "uplink"
            mine += external_ids("Interface", port, {"flowlane-port": role})
    commands = [mine]
    for place, members in network["bonds"].items():
        commands += [bond(bridge, place.partition("/")[2], members)] if place.startswith(f"{bridge}/") else []
    for name, nic in interfaces(network):
        on, _, port = nic["port"].partition("/")
        ids = nic_ids(name, network["hosts"][name], nic)
        words = [*access(port, nic), *external_ids("Interface", port, ids)]
        commands += [words] if on == bridge and words else []
    for place, of in network["queues"].items() if with_queues else ():
        on, _, port = place.partition("/")
        commands += [queues(port, of)] if on == bridge else []
    return commands


# ---- Mininet's classes


class FileBridge(OVSSwitch):  # type: ignore[misc]  # Mininet has no types
    """A bridge of the file. Without a controller it forwards as a learning switch.

    ``target`` is a controller that need not be there yet, such as ``tcp:127.0.0.1:6653``; Mininet's own controllers
    are used besides.
    """

    def __init__(
        self, name: str, network: Data, with_queues: bool = True, target: str | None = None, **parameters: Any
    ) -> None:
        self.network, self.with_queues, self.spec = network, with_queues, network["bridges"][name]
        self.target = target if self.spec.get("controller", True) else None
        parameters.setdefault("datapath", "kernel" if has_kernel_datapath() else "user")
        parameters.setdefault("protocols", "OpenFlow13,OpenFlow14,OpenFlow15")
        # Mininet would start all its bridges first, and only then let them be what the file says.
        super().__init__(name, **{**parameters, "batch": False})

    def start(self, controllers: list[Any]) -> None:
        """Start it, make it what the file says, and let it forward."""
        super().start(controllers if self.spec.get("controller", True) else [])
        for words in dress(self.network, self.name, self.with_queues):
            vsctl(*words[1:])
        if self.target is not None:
            settings = ("max_backoff=1000", "connection_mode=out-of-band")
            vsctl("set-controller", self.name, self.target, "--", "set", "controller", self.name, *settings)
        self.has_controller = self.target is not None or (
            bool(controllers) and self.spec.get("controller", True)
        )
        if not self.has_controller:
            add_entry(self.name, "priority=0,actions=NORMAL")
        for dscp, queue in self.spec.get("marks", {}).items():
            for protocol in ("ip", "ipv6"):
                match = f"priority=1,{protocol},ip_dscp={dscp}"
                add_entry(self.name, f"{match},actions=set_queue:{queue},NORMAL")

    def connected(self) -> bool:
        """Whether it forwards: a bridge without a controller need not wait for one."""
        return not self.has_controller or bool(super().connected())


class FileHost(Host):  # type: ignore[misc]  # Mininet has no types
    """A host of the file: IPv6 addresses at once (no duplicate check), and whole checksums.

    The userspace datapath reads frames from a socket, where a checksum that was left to the NIC is wrong:
    without this, TCP does not get through.
    """

    def config(self, spec: Data | None = None, datapath: str = "user", **parameters: Any) -> Data:
        """Configure its interfaces."""
        done: Data = super().config(**parameters)
        for interface, nic in zip(
            self.intfList(), (spec, *spec.get("nics", ())) if spec else (), strict=False
        ):
            self.tidy(interface, nic, datapath)
        return done

    def tidy(self, interface: Any, nic: Data, datapath: str) -> None:
        """Make one of its interfaces as the file and the datapath want it."""
        if datapath == "user":
            self.cmd(f"ethtool -K {interface} tx off")
        if "ip6" in nic:
            self.cmd(f"ip -6 addr add {nic['ip6']} dev {interface} nodad")


class FileTopo(Topo):  # type: ignore[misc]  # Mininet has no types
    """The graph of a network."""

    def build(self, network: Data, **bridge_parameters: Any) -> None:
        """Make it; nothing runs yet. ``bridge_parameters`` are those of FileBridge."""
        if "datapath" not in bridge_parameters:
            bridge_parameters["datapath"] = "kernel" if has_kernel_datapath() else "user"
        for name, bridge in network["bridges"].items():
            parameters = {"dpid": bridge["dpid"], "network": network, **bridge_parameters}
            self.addSwitch(name, cls=FileBridge, **parameters)
        for name, host in network["hosts"].items():
            datapath = bridge_parameters["datapath"]
            self.addHost(name, cls=FileHost, ip=host["ip"], mac=host["mac"], spec=host, datapath=datapath)
        for name, nic in interfaces(network):
            on, port = nic["port"].split("/")
            self.addLink(name, on, intfName2=port, addr1=nic["mac"], params1={"ip": nic["ip"]})
        for one, other in network["links"]:
            (bridge1, port1), (bridge2, port2) = one.split("/"), other.split("/")
            self.addLink(bridge1, bridge2, intfName1=port1, intfName2=port2)
