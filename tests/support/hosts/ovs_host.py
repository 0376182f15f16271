"""A host on a real Open vSwitch with real queues, with its controller, and the placement of its flows in both.

VMs are interfaces of the userspace datapath in this network namespace, from which their packets are sent.
Needs root. The switch's tables are read by ``ovs-ofctl``.
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
"""Seconds between two checks of which packets of steady traffic are due."""


class Flow(NamedTuple):
    """Steady traffic of one 5-tuple from a VM; ``rate`` is bit/s."""

    vm: str
    src_port: int
    dst_port: int = 80
    rate: float = 0.0
    udp: bool = False
    dscp: int = 0


class OvsHost:
    """The host: ``vms`` are on ports 1 and up, in order; the uplink has the port after them."""

    def __init__(
        self, ovs: private_ovs.PrivateOvs, manager: Launched, vms: Sequence[str], version: str
    ) -> None:
        self.ovs = ovs
        self.version = version
        self.manager = manager
        self.vms = tuple(vms)

    def send(self, flow: Flow, packets: int = 1, length: int = 0) -> None:
        """Send packets of a flow, of at least ``length`` bytes, from the VM's interface."""
        with self._socket(flow.vm) as out:
            for _ in range(packets):
                out.send(self._frame(flow, length))

    @contextmanager
    def sending(self, flows: Sequence[Flow]) -> Iterator[list[int]]:
        """Send all flows at their rates, in frames of ``FRAME`` bytes, for the duration of the block.

        Yields how many frames of each flow have been sent so far.
        """
        ended, counts = threading.Event(), [0] * len(flows)
        task = threading.Thread(target=self._send_on, args=(flows, ended, counts), daemon=True)
        task.start()
        try:
            yield counts
        finally:
            ended.set()
            task.join()

    def _send_on(self, flows: Sequence[Flow], ended: threading.Event, counts: list[int]) -> None:
        sockets = {vm: self._socket(vm) for vm in self.vms}
        frames = [self._frame(flow, FRAME) for flow in flows]
        begin, sent = time.monotonic(), [0] * len(flows)
        while not ended.wait(_STEP):
            passed = time.monotonic() - begin
            for number, flow in enumerate(flows):
                due = 1 + int(passed * flow.rate / (8 * FRAME))
                # After a pause of the machine the missing packets are not sent in one burst.
                for _ in range(min(due - sent[number], 8)):
                    sockets[flow.vm].send(frames[number])
                    counts[number] += 1
                sent[number] = due
        for sender in sockets.values():
            sender.close()

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
        """Put a policy over REST."""
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy"
        return requests.put(url, data=text, headers={"Content-Type": "application/yaml"}, timeout=10)

    def check_policy(self, text: str) -> dict[str, Any]:
        """Return what a policy would do, from REST."""
        url = f"http://127.0.0.1:{self.manager.rest_port}/v1/policy/check"
        answer = requests.post(url, data=text, headers={"Content-Type": "application/yaml"}, timeout=10)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def set_queues(self, count: int, software: Collection[int] = (), max_rate: int = 10**9) -> None:
        """Give the uplink other queues, and wait until they are in REST."""
        self.ovs.set_queues(
            UPLINK, {number: {} for number in range(count)}, software=software, max_rate=max_rate
        )
        kinds = {number: "software" if number in software else "physical" for number in range(count)}

        def are_known() -> bool:
            items = self.manager.rest(f"/v1/devices/{DPID:016x}/queues?port={UPLINK}")["items"]
            return {item["queue_id"]: item["kind"] for item in items} == kinds

        wait_for(are_known, 30, self.manager.log)

    def entries(self) -> list[Entry]:
        """Return the entries of all tables."""
        text = self.ovs.ofctl("dump-flows", BRIDGE, version=self.version)
        return [read_entry(line.strip()) for line in text.splitlines() if " actions=" in line]

    def assignments(self) -> list[dict[str, Any]]:
        """Return the assignments of flows that a test sent; the host's kernel sends packets here, too."""
        items = self.manager.rest("/v1/assignments?limit=1000")["items"]
        return [item for item in items if item["src"].startswith("10.9.")]

    def differences(self, count: int) -> list[str]:
        """List where switch and REST differ about the flows that a test sent; empty when they agree."""
        rest = compare.placements_in_rest(self.assignments())
        switch = {
            key: where for key, where in compare.placements_in_switch(self.entries()).items() if key in rest
        }
        missing = [] if len(rest) == count else [f"{len(rest)} flows of {count}"]
        return missing + compare.differences(switch, rest)

    def queues(self, flows: Sequence[Flow]) -> list[int | None]:
        """Return the queue of each flow in the switch; None for a flow without a queue or without an entry."""
        placements = compare.placements_in_switch(self.entries())
        by_source = {(key.src, key.src_port): placement for key, placement in placements.items()}
        sources = ((f"10.9.0.{self.vms.index(flow.vm) + 1}", flow.src_port) for flow in flows)
        return [by_source[source].queue if source in by_source else None for source in sources]

    def meter_rates(self) -> list[int]:
        """Return the rates in kbit/s of the meters that limit flows; the one in packets/s limits copies."""
        text = self.ovs.ofctl("dump-meters", BRIDGE, version=self.version)
        meters = re.findall(r"meter=(\S+ [^\n]*)\n\s*type=drop rate=(\d+)", text)
        return sorted(int(rate) for head, rate in meters if "kbps" in head)


def interface(number: int) -> str:
    """Return the name of the interface of the VM on a port."""
    return f"flr-vm{number}"


@contextmanager
def running(
    vms: Sequence[str], policy: Path, queues: int = 4, version: str = "OpenFlow13"
) -> Iterator[OvsHost]:
    """Run a host whose controller has a policy; all of it is removed at the end."""
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
            yield OvsHost(ovs, manager, vms, version)
        finally:
            ovs.vsctl("del-br", BRIDGE)
