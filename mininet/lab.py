"""A Mininet network of a file of topologies/: hosts, Open vSwitch bridges, VM identities in OVSDB.

Run by the system's Python, which has Mininet, inside the private namespaces of ``mininet/private``. It never
imports Flowlane; the file comes as JSON, checked, from ``.venv/bin/python -m flowlane.topology FILE``. Once the
network stands, one line of JSON per request on the control socket adds or removes hosts, and one line comes back:

    {"do": "hosts"}  {"do": "remove", "host": "vm3"}  {"do": "add", "host": "vm3"}  {"do": "stop"}
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mininet.cli import CLI
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import OVSSwitch
from mininet.topo import Topo

Data = dict[str, Any]
"""What JSON gives."""


class FileTopo(Topo):  # type: ignore[misc]  # Mininet has no types
    """The graph alone: nothing runs yet."""

    def build(self, data: Data, datapath: str, protocols: str) -> None:
        for name, bridge in data["bridges"].items():
            self.addSwitch(name, dpid=bridge["dpid"], datapath=datapath, protocols=protocols)
        for name, host in data["hosts"].items():
            self.addHost(name, ip=host["ip"], mac=host["mac"])
            bridge, port = host["port"].split("/")
            self.addLink(name, bridge, intfName2=port)
        for one, other in data["links"]:
            (bridge1, port1), (bridge2, port2) = one.split("/"), other.split("/")
            self.addLink(bridge1, bridge2, intfName1=port1, intfName2=port2)


def vsctl(*words: str) -> None:
    subprocess.run(["ovs-vsctl", *words], check=True, stdout=subprocess.DEVNULL)


def external_ids(table: str, name: str, ids: dict[str, str]) -> list[str]:
    return (
        ["--", "set", table, name, *(f'external_ids:{key}="{value}"' for key, value in ids.items())]
        if ids
        else []
    )


def access(port: str, spec: Data) -> list[str]:
    """Words for ovs-vsctl that make a port an access port of its host's VLAN."""
    return ["--", "set", "Port", port, f"tag={spec['tag']}"] if "tag" in spec else []


def make_bond(place: str, bond: Data) -> None:
    """Make one port of several; its members keep their names."""
    bridge, name = place.split("/")
    removed = [word for member in bond["members"] for word in ("del-port", bridge, member, "--")]
    vsctl(*removed, "add-bond", bridge, name, *bond["members"], f"bond_mode={bond['mode']}")


def set_controller(bridges: dict[str, Data], target: str | None) -> None:
    """Without a controller a bridge forwards by itself, as a learning switch."""
    for name, bridge in bridges.items():
        if target is None or not bridge.get("controller", True):
            subprocess.run(["ovs-ofctl", "add-flow", "-OOpenFlow13", name, "actions=NORMAL"], check=True)
            continue
        settings = ("max_backoff=1000", "connection_mode=out-of-band")
        vsctl("set-controller", name, target, "--", "set", "controller", name, *settings)


def prepare_host(host: Any, spec: Data, datapath: str) -> None:
    """IPv6 address at once (no duplicate check), and whole checksums.

    The userspace datapath reads frames from a socket, where a checksum that was left to the NIC is wrong:
    without this, TCP does not get through.
    """
    interface = host.defaultIntf()
    if datapath == "user":
        host.cmd(f"ethtool -K {interface} tx off")
    if "ip6" in spec:
        host.cmd(f"ip -6 addr add {spec['ip6']} dev {interface} nodad")


class Lab:
    """A running network and what may be done to it."""

    def __init__(self, data: Data, datapath: str, protocols: str) -> None:
        self.data, self.datapath = data, datapath
        self.net = Mininet(FileTopo(data, datapath, protocols), switch=OVSSwitch, controller=None)
        self.net.start()
        for name, bridge in data["bridges"].items():
            vsctl(*external_ids("Bridge", name, {"flowlane-role": bridge["role"]})[1:])
            if bridge.get("stp"):
                vsctl("set", "Bridge", name, "stp_enable=true")
        for place, bond in data["bonds"].items():
            make_bond(place, bond)
        for name in data["hosts"]:
            self._dress(name)

    def _dress(self, name: str) -> None:
        spec = self.data["hosts"][name]
        prepare_host(self.net.get(name), spec, self.datapath)
        port = spec["port"].split("/")[1]
        words = [*access(port, spec), *external_ids("Interface", port, spec.get("external_ids", {}))]
        if words:
            vsctl(*words[1:])

    def hosts(self, _request: Data | None = None) -> Data:
        found = {}
        for host in self.net.hosts:
            spec = self.data["hosts"][host.name]
            found[host.name] = {**spec, "pid": host.pid, "interface": str(host.defaultIntf())}
        return {"hosts": found}

    def remove(self, request: Data) -> Data:
        """Unplug a host's port and end the host, as a VM that is shut down."""
        host = self.net.get(request["host"])
        bridge, port = self.data["hosts"][host.name]["port"].split("/")
        vsctl("--if-exists", "del-port", bridge, port)
        for link in [link for link in self.net.links if host in (link.intf1.node, link.intf2.node)]:
            self.net.delLink(link)
        self.net.delHost(host)
        return self.hosts()

    def add(self, request: Data) -> Data:
        """Start a host of the file again and plug it in; its identity is written together with its port."""
        spec = self.data["hosts"][request["host"]]
        bridge, port = spec["port"].split("/")
        host = self.net.addHost(request["host"], ip=spec["ip"], mac=spec["mac"])
        self.net.addLink(host, self.net.get(bridge), intfName2=port, addr1=spec["mac"])
        host.configDefault(ip=spec["ip"], mac=spec["mac"])
        subprocess.run(["ip", "link", "set", port, "up"], check=True)
        ids = external_ids("Interface", port, spec.get("external_ids", {}))
        vsctl("add-port", bridge, port, *access(port, spec), *ids)
        prepare_host(host, spec, self.datapath)
        return self.hosts()


def serve(lab: Lab, path: Path) -> None:
    """Answer requests one after the other until one says stop."""
    doings: dict[str, Callable[[Data], Data]] = {"hosts": lab.hosts, "add": lab.add, "remove": lab.remove}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                request = json.loads(stream.readline())
                if request["do"] == "stop":
                    lab.net.stop()
                    stream.write("{}\n")
                    return
                stream.write(json.dumps(doings[request["do"]](request)) + "\n")


def has_kernel_datapath() -> bool:
    types = subprocess.run(
        ["ovs-vsctl", "get", "Open_vSwitch", ".", "datapath_types"],
        check=True,
        capture_output=True,
        text=True,
    )
    return "system" in types.stdout and Path("/sys/module/openvswitch").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="network file as JSON")
    parser.add_argument("--datapath", choices=("auto", "kernel", "user"), default="auto")
    parser.add_argument("--protocols", default="OpenFlow13,OpenFlow14,OpenFlow15")
    parser.add_argument(
        "--controller", help="such as tcp:127.0.0.1:6653; without it, bridges learn by themselves"
    )
    parser.add_argument(
        "--control", type=Path, help="socket to take requests on; without it, a Mininet shell"
    )
    arguments = parser.parse_args()
    if "FLOWLANE_PRIVATE" not in os.environ:
        parser.error(
            "only inside mininet/private: Mininet's clean-up would hurt other programs of this machine"
        )
    # It raises limits of the whole machine and complains where it may not, as in most containers.
    setLogLevel("critical")
    Mininet.init()
    setLogLevel("warning" if arguments.control else "output")
    data = json.loads(arguments.file.read_text())
    datapath = arguments.datapath
    if datapath == "auto":
        datapath = "kernel" if has_kernel_datapath() else "user"
    lab = Lab(data, datapath, arguments.protocols)
    set_controller(data["bridges"], arguments.controller)
    if arguments.control is None:
        CLI(lab.net)
        lab.net.stop()
        return
    print(json.dumps({"datapath": datapath, **lab.hosts()}), flush=True)
    serve(lab, arguments.control)


if __name__ == "__main__":
    main()
