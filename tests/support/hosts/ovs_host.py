"""A host on a real Open vSwitch with real queues, its controller, and what both hold of its flows.

VMs are interfaces of the userspace datapath in this network namespace; their packets are sent out of those. Needs
root. What the switch holds is read by ``ovs-ofctl``.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import requests
from lab.inside import compare, private_ovs
from lab.inside.dump_flows import Entry, read_entry
from lab.inside.manager import Launched, launched, wait_for

from flowlane.core.flowkey import IPV4, TCP, UDP
from flowlane.simulation.flowspec import FlowSpec, frame_of

BRIDGE, UPLINK, DPID = "flr-br", "flr-up", 7
FRAME = 1400
"""Bytes of a frame of steady traffic."""

_STEP = 0.02
"""Seconds between two looks at which packets of steady traffic are due."""


class Flow(NamedTuple):
    """Steady traffic of one 5-tuple: from which VM, and how much, in bit/s."""

    vm: str
    src_port: int
    dst_port: int = 80
    rate: float = 0.0
    udp: bool = False
    dscp: int = 0


class Switched:
    """The host: ``vms`` are on ports 1 and up, in order; the uplink has the port after them."""

    def __init__(
        self, ovs: private_ovs.PrivateOvs, manager: Launched, vms: Sequence[str], version: str
    ) -> None:
        self.ovs = ovs
        self.version = version
        self.manager = manager
        self.vms = tuple(vms)

    def send(self, flow: Flow, packets: int = 1, length: int = 0) -> None:
        """Packets of a flow, of at least ``length`` bytes, out of the VM's own interface."""
        with self._socket(flow.vm) as out:
            for _ in range(packets):
                out.send(self._frame(flow, length))

    @contextmanager
    def sending(self, flows: Sequence[Flow]) -> Iterator[None]:
        """Send all flows at their rates, in frames of ``FRAME`` bytes, for as long as the context lasts."""
        over = threading.Event()
        task = threading.Thread(target=self._send_on, args=(flows, over), daemon=True)
        task.start()
        try:
            yield
        finally:
            over.set()
            task.join()

    def _send_on(self, flows: Sequence[Flow], over: threading.Event) -> None:
        sockets = {vm: self._socket(vm) for vm in self.vms}
        frames = [self._frame(flow, FRAME) for flow in flows]
        begin, sent = time.monotonic(), [0] * len(flows)
        while not over.wait(_STEP):
            passed = time.monotonic() - begin
            for number, flow in enumerate(flows):
                due = 1 + int(passed * flow.rate / (8 * FRAME))
                # A machine that stood still does not make up for it in one burst.
                for _ in range(min(due - sent[number], 8)):
                    sockets[flow.vm].send(frames[number])
                sent[number] = due
        for one in sockets.values():
            one.close()

    def _socket(self, vm: str) -> socket.socket:
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind((interface(self.vms.index(vm) + 1), 0))
        return out

    def _frame(self, flow: Flow, length: int) -> bytes:
        number = self.vms.index(flow.vm) + 1
        addresses = bytes((10, 9, 0, number)), bytes((10, 9, 0, 254))
        protocol = UDP if flow.udp else TCP
        ports = flow.src_port, flow.dst_port
        spec = FlowSpec(flow.vm, IPV4, protocol, *addresses, *ports, 0.0, dscp=flow.dscp)
        return frame_of(spec, number).ljust(length, b"\0")

    def put_policy(self, text: str) -> requests.Response:
        """Hand a policy to the controller."""
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy"
        return requests.put(url, data=text, headers={"Content-Type": "application/yaml"}, timeout=10)

    def check_policy(self, text: str) -> dict[str, Any]:
        """What a policy would do, by the controller's account."""
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy/check"
        answer = requests.post(url, data=text, headers={"Content-Type": "application/yaml"}, timeout=10)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def set_queues(self, count: int, software: Collection[int] = (), max_rate: int = 10**9) -> None:
        """Give the uplink other queues, and wait until the controller has heard of them."""
        self.ovs.set_queues(
            UPLINK, {number: {} for number in range(count)}, software=software, max_rate=max_rate
        )
        wanted = {number: "software" if number in software else "physical" for number in range(count)}

        def told() -> bool:
            items = self.manager.rest(f"/v1/devices/{DPID:016x}/queues?port={UPLINK}")["items"]
            return {item["queue_id"]: item["kind"] for item in items} == wanted

        wait_for(told, 30, self.manager.log)

    def entries(self) -> list[Entry]:
        """Every entry of every table."""
        text = self.ovs.ofctl("dump-flows", BRIDGE, version=self.version)
        return [read_entry(line.strip()) for line in text.splitlines() if " actions=" in line]

    def assignments(self) -> list[dict[str, Any]]:
        """Those of the flows that a test sent: the host's own kernel speaks on these interfaces, too."""
        found = self.manager.rest("/v1/assignments?limit=1000")["items"]
        return [item for item in found if item["src"].startswith("10.9.")]

    def disagreement(self, count: int) -> list[str]:
        """What the switch and REST hold otherwise of the flows that a test sent; empty when they agree."""
        rest = compare.in_rest(self.assignments())
        switch = {key: where for key, where in compare.in_switch(self.entries()).items() if key in rest}
        missing = [] if len(rest) == count else [f"{len(rest)} flows of {count}"]
        return missing + compare.differences(switch, rest)

    def queues(self, flows: Sequence[Flow]) -> list[int | None]:
        """The queue on which the switch has each flow; None for one that it does not hold, or without a queue."""
        held = {(key.src, key.src_port): where for key, where in compare.in_switch(self.entries()).items()}
        sources = ((f"10.9.0.{self.vms.index(flow.vm) + 1}", flow.src_port) for flow in flows)
        return [held[source].queue if source in held else None for source in sources]

    def meter_rates(self) -> list[int]:
        """Rates in kbit/s of the meters that limit flows; the one with packets/s limits copies."""
        text = self.ovs.ofctl("dump-meters", BRIDGE, version=self.version)
        found = re.findall(r"meter=(\S+ [^\n]*)\n\s*type=drop rate=(\d+)", text)
        return sorted(int(rate) for head, rate in found if "kbps" in head)


def interface(number: int) -> str:
    """Name of the interface of the VM on a port."""
    return f"flr-vm{number}"


@contextmanager
def switched(
    vms: Sequence[str], policy: Path, queues: int = 4, version: str = "OpenFlow13"
) -> Iterator[Switched]:
    """Give a host whose controller runs under a policy; all of it is gone at the end."""
    with (
        private_ovs.running(system=True) as ovs,
        launched(f"--ovsdb={ovs.database}", f"--policy={policy}") as manager,
    ):
        names = [interface(number) for number, _ in enumerate(vms, start=1)]
        controller = f"tcp:127.0.0.1:{manager.openflow_port}"
        ovs.add_bridge(BRIDGE, (*names, UPLINK), dpid=DPID, controller=controller, versions=version)
        for name, vm in zip(names, vms, strict=True):
            ovs.vsctl("set", "Interface", name, f"external_ids:iface-id={vm}")
        ovs.vsctl("set", "Interface", UPLINK, "external_ids:flowlane-port=uplink")
        ovs.set_queues(UPLINK, {number: {} for number in range(queues)})
        for name in (*names, UPLINK):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        last = f"set_queue:{queues - 1}"
        wait_for(lambda: last in ovs.ofctl("dump-flows", BRIDGE, version=version), 20, manager.log)
        try:
            yield Switched(ovs, manager, vms, version)
        finally:
            ovs.vsctl("del-br", BRIDGE)
