"""A Mininet network of a file of topologies/: hosts, Open vSwitch bridges, VM identities in OVSDB.

Run by the system's Python, which has Mininet, inside the private namespaces of ``mininet/private``. It never
imports Flowlane; the file comes as JSON, checked, from ``.venv/bin/python -m flowlane.topology FILE``. Once the
network stands, one line of JSON per request on the control socket adds or removes hosts, and one line comes back:

    {"do": "hosts"}  {"do": "remove", "host": "vm3"}  {"do": "add", "host": "vm3"}
    {"do": "migrate", "host": "vm1", "announce": "rarp"}  {"do": "stop"}
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mininet.cli import CLI
from mininet.log import output, setLogLevel
from mininet.net import Mininet
from networks import (  # type: ignore[import-not-found]  # beside this file, where Python finds it
    Data,
    FileHost,
    FileTopo,
    access,
    external_ids,
    has_kernel_datapath,
    nic_ids,
    vsctl,
)

ANNOUNCEMENTS = ("rarp", "arp", "none")
"""How a VM that has moved may say where it is: as QEMU does (RARP), as Linux does (ARP), not at all."""


class Lab:
    """A running network and what may be done to it."""

    def __init__(self, data: Data, **parameters: Any) -> None:
        self.data, self.datapath = data, parameters["datapath"]
        self.net = Mininet(FileTopo(data, **parameters), controller=None)
        self.net.start()

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
        named = {"ip": spec["ip"], "mac": spec["mac"], "spec": spec, "datapath": self.datapath}
        host = self.net.addHost(request["host"], cls=FileHost, **named)
        self._plug(host, spec, spec["port"])
        host.configDefault(**named)
        return self.hosts()

    def _plug(self, host: Any, spec: Data, place: str) -> Any:
        """Connect a host with a further port of a bridge; return its new interface."""
        bridge, port = place.split("/")
        link = self.net.addLink(host, self.net.get(bridge), intfName2=port, addr1=spec["mac"])
        subprocess.run(["ip", "link", "set", port, "up"], check=True)
        ids = external_ids("Interface", port, nic_ids(host.name, spec, spec))
        vsctl("add-port", bridge, port, *access(port, spec), *ids)
        return link.intf1

    def migrate(self, request: Data) -> Data:
        """Move a VM to its other port and back, as a live migration does: plugged first, then announced, then gone.

        ``announce``: one of ANNOUNCEMENTS. ``leave``: whether the old port goes; true when not given.
        """
        host, spec = self.net.get(request["host"]), self.data["hosts"][request["host"]]
        if "moves_to" not in spec:
            return {"error": f"{host.name} has no moves_to in the file"}
        old = host.defaultIntf()
        before, after = spec["port"], spec["moves_to"]
        new = self._plug(host, spec, after)
        host.cmd(f"ip link set {old} down; ip addr flush dev {old}; ip link set {new} up")
        host.cmd(f"ip addr add {spec['ip']} dev {new}")
        FileHost.tidy(host, new, spec, self.datapath)
        if (way := request.get("announce", "rarp")) != "none":
            traffic = Path(__file__).with_name("traffic.py")
            own = spec["ip"].partition("/")[0]
            me = f"--interface {new} --source {own} --to {own} --to-mac ff:ff:ff:ff:ff:ff --seconds 0"
            host.cmd(f"/usr/bin/python3 {traffic} frames --kind {way} {me}")
        spec["port"], spec["moves_to"] = after, before
        if request.get("leave", True):
            bridge, port = before.split("/")
            vsctl("--if-exists", "del-port", bridge, port)
            self.net.delLink(next(link for link in self.net.links if old in (link.intf1, link.intf2)))
        return self.hosts()


class Shell(CLI):  # type: ignore[misc]  # Mininet has no types
    """Mininet's shell with a command for VMs that move."""

    lab: Lab

    def waitForNode(self, node: Any) -> None:  # Mininet's name
        """Wait for the command of a host, and print its output.

        Input of a terminal goes to that command. Lines of a pipe are the shell's next commands: the command of a host
        gets none of them, and the end of the pipe ends the shell.
        """
        if self.isatty():
            super().waitForNode(node)
            return
        poller = select.poll()
        poller.register(node.stdout, select.POLLIN)
        while node.waiting:
            try:
                poller.poll()
                output(node.monitor())
            except KeyboardInterrupt:
                node.sendInt()

    def do_migrate(self, line: str) -> None:
        """Move a VM to its other host: migrate VM [rarp | arp | none]"""
        name, _, way = line.partition(" ")
        way = way.strip() or "rarp"
        if name not in self.lab.data["hosts"] or way not in ANNOUNCEMENTS:
            print(self.do_migrate.__doc__)
            return
        answer = self.lab.migrate({"host": name, "announce": way})
        print(answer.get("error") or f"{name} is at {self.lab.data['hosts'][name]['port']}")


def serve(lab: Lab, path: Path) -> None:
    """Answer requests one after the other until one says stop."""
    doings: dict[str, Callable[[Data], Data]] = {
        "hosts": lab.hosts,
        "add": lab.add,
        "remove": lab.remove,
        "migrate": lab.migrate,
    }
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="network file as JSON")
    parser.add_argument("--datapath", choices=("auto", "kernel", "user"), default="auto")
    parser.add_argument("--protocols", default="OpenFlow13,OpenFlow14,OpenFlow15")
    parser.add_argument(
        "--controller", help="such as tcp:127.0.0.1:6653; without it, bridges learn by themselves"
    )
    parser.add_argument("--queues", action="store_true", help="make the queues of the file")
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
    lab = Lab(
        data,
        datapath=datapath,
        protocols=arguments.protocols,
        target=arguments.controller,
        with_queues=arguments.queues,
    )
    if arguments.control is None:
        Shell.lab = lab
        Shell(lab.net)
        lab.net.stop()
        return
    print(json.dumps({"datapath": datapath, **lab.hosts()}), flush=True)
    serve(lab, arguments.control)


if __name__ == "__main__":
    main()
