"""What a hostile VM does to a good one on the same switch: latency, queue, learning time, and what it leaves behind.

Usage: ``python -m bench.hostile [--attacks flows icmp ...] [--rounds 3] [--seconds 6] [--way Flowlane]`` (root).
A private Open vSwitch on the userspace datapath, in a network namespace of its own, has a good VM, a hostile VM and an
uplink with queues (``good_vm.py``, ``attacks.py``). In each round the good VM is measured alone, and then for as long
while the other attacks; the attack goes on for ``--onset`` seconds before, which are counted apart. The good VM sends
an old flow, one whose mark is trusted, and 20 new flows a second.

*Learning* is the time from the first packet of a new flow to when the controller had the flow. *Left*: entries of the
connection tracker in the datapath, learned entries, entries for destinations, and the hostile VM's flows in the
controller, right after the attack and after ``--rest`` seconds. ``--way NORMAL``: the switch without a controller.
``--realtime`` has switch, controller and VMs run before all else on the machine (SCHED_FIFO of sched(7)): for machines
that have other work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.hostile.attacks import ATTACKS, BAD_MAC, GOOD_MAC, attack
from bench.hostile.good_vm import OLD, VOICE, GoodVm, Sent
from lab.inside import private_ovs
from lab.inside.experiment import first_on_the_machine
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.namespaces import add_veth_pairs, network_of_its_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.inside.private_ovs import PrivateOvs

BRIDGE, DPID = "flx-br", 0xBAD
GOOD, BAD, UPLINK = "flx-good", "flx-bad", "flx-up"
PORTS = (GOOD, BAD, UPLINK)
QUEUES, VOICE_QUEUES = 4, 1
SEEN, FORWARD = 5, 1
"""Tables of learned entries and of destinations (docs/engineers/pipeline.md)."""

POLICY = """version: 1
classes: {voice: {priority: 5, max-queues: 1}, any: {}}
trust: [{vm: good, sources: [dscp], classes: voice, dscp: {ef: voice}}]
"""


class Left(NamedTuple):
    """What an attack has left in the switch and in the controller; -1: there is none."""

    tracked: int
    learned: int
    hosts: int
    flows: int


class Measured(NamedTuple):
    """One turn of the good VM; times in ms. ``learning`` has a time for each new flow that the controller had."""

    latencies: list[float]
    first: list[float]
    lost: int
    learning: list[float]
    unknown: int
    queues: dict[int, int]
    """Source port of the old flow and of the marked one -> its queue."""

    voice_of_bad: int
    """Flows of the hostile VM in the class for which only the good VM's mark is trusted."""


def percentile(values: list[float], part: float) -> float:
    """The value below which this part of the values is; nan of none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


class Trial:
    """A switch with both VMs, and its controller, if it has one."""

    def __init__(self, ovs: PrivateOvs, good: GoodVm, manager: Launched | None) -> None:
        self.ovs, self.good, self.manager = ovs, good, manager

    @property
    def processes(self) -> list[int]:
        """The ids of the switch's process and of the controller's."""
        return [self.ovs.process, *([] if self.manager is None else [self.manager.process.pid])]

    def flows_of(self, vm: str) -> list[dict[str, Any]]:
        """REST's flows of a VM."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while self.manager is not None:
            page = self.manager.rest(f"/v1/flows?vm={vm}&limit=1000{cursor}")
            found += page["items"]
            if not page["next"]:
                break
            cursor = f"&cursor={page['next']}"
        return found

    def measure(self, seconds: float) -> Measured:
        """Let the good VM send, and read what became of it."""
        return self._judge(self.good.send(seconds), [])

    def measure_under(self, name: str, seconds: float, onset: float) -> tuple[Measured, Measured]:
        """Let the good VM send under an attack: while it begins, and later."""
        hostile = multiprocessing.get_context("fork").Process(
            target=attack, args=(f"{BAD}-in", name, onset + seconds + 2.5)
        )
        hostile.start()
        try:
            begins = self._judge(self.good.send(onset), [])
            later = self._judge(self.good.send(seconds), self._classes_of_bad())
        finally:
            hostile.terminate()
            hostile.join()
        return begins, later

    def _classes_of_bad(self) -> list[str]:
        if self.manager is None:
            return []
        items = self.manager.rest("/v1/flows?vm=bad&class=voice&limit=1000")["items"]
        return [flow["class"] for flow in items]

    def _judge(self, sent: Sent, classes: list[str]) -> Measured:
        latencies = [(packet.arrived - packet.left) / 1e6 for packet in sent.packets if packet.arrived]
        first = [
            (packet.arrived - packet.left) / 1e6
            for packet in sent.packets
            if packet.arrived and packet.port in sent.new and packet.number == 0
        ]
        lost = sum(packet.arrived is None for packet in sent.packets)
        left = {packet.port: packet.left for packet in sent.packets if packet.number == 0}
        flows = {flow["src_port"]: flow for flow in self.flows_of("good")}
        seen = {
            port: datetime.fromisoformat(flows[port]["first_seen"]).timestamp() * 1e3
            for port in sent.new
            if port in flows
        }
        learning = [max(0.0, when - left[port] / 1e6) for port, when in seen.items() if port in left]
        queues = {port: flows[port]["assignments"][0]["queue_id"] for port in (OLD, VOICE) if port in flows}
        unknown = len(sent.new) - len(seen) if self.manager is not None else 0
        return Measured(latencies, first, lost, learning, unknown, queues, classes.count("voice"))

    def left(self) -> Left:
        """Count what there is."""
        tracked = sum(map(int, re.findall(r"Total: (\d+)", self.ovs.appctl("dpctl/ct-stats-show"))))
        learned, hosts = (self._entries(table) for table in (SEEN, FORWARD))
        flows = -1
        if self.manager is not None:
            (vm,) = (vm for vm in self.manager.rest("/v1/vms")["items"] if vm["port"] == BAD)
            flows = vm["flows"]
        return Left(tracked, learned, hosts, flows)

    def _entries(self, table: int) -> int:
        text = self.ovs.ofctl("dump-aggregate", BRIDGE, f"table={table}")
        found = re.search(r"flow_count=(\d+)", text)
        return int(found[1]) if found else -1


@contextlib.contextmanager
def trial(way: str, policy: str = POLICY, *options: str) -> Iterator[Trial]:
    """Start switch, VMs and controller; end them after the block."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(network_of_its_own())
        add_veth_pairs(PORTS)
        ovs = stack.enter_context(private_ovs.running(system=True))
        ovs.add_bridge(BRIDGE, (), dpid=DPID)
        stack.callback(ovs.vsctl, "--if-exists", "del-br", BRIDGE)
        with ovs.together():
            for number, device in enumerate(PORTS, start=1):
                ovs.vsctl(
                    "add-port", BRIDGE, device, "--", "set", "Interface", device, f"ofport_request={number}"
                )
            for device, name, mac in ((GOOD, "good", GOOD_MAC), (BAD, "bad", BAD_MAC)):
                address = f'external_ids:attached-mac="{mac.hex(":")}"'
                ovs.vsctl("set", "Interface", device, f"external_ids:iface-id={name}", address)
            ovs.vsctl("set", "Interface", UPLINK, "external_ids:flowlane-port=uplink")
        ovs.set_queues(UPLINK, {queue: {} for queue in range(QUEUES)})
        manager = None
        if way == "NORMAL":
            ovs.ofctl("add-flow", BRIDGE, "actions=NORMAL")
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "policy.yaml").write_text(policy)
            manager = stack.enter_context(
                launched(f"--ovsdb={ovs.database}", f"--policy={folder / 'policy.yaml'}", *options)
            )
            ovs.vsctl("set-controller", BRIDGE, f"tcp:127.0.0.1:{manager.openflow_port}")
            ovs.vsctl("set", "Controller", BRIDGE, "connection_mode=out-of-band", "inactivity_probe=60000")
            wait_for(lambda: _is_programmed(manager, ovs), 30, "the switch was not programmed")
        good = GoodVm(f"{GOOD}-in", f"{UPLINK}-in", stack)
        good.announce()
        yield Trial(ovs, good, manager)


def _is_programmed(manager: Launched, ovs: PrivateOvs) -> bool:
    queues = (
        manager.rest(f"/v1/devices/{DPID:016x}/queues")["items"]
        if manager.rest("/v1/devices")["items"]
        else ()
    )
    return len(queues) == QUEUES and "table=8" in ovs.ofctl("dump-flows", BRIDGE)


COLUMNS = (
    "attack", "p50 before", "p99 before", "p99 begins", "p99 under", "times", "lost", "learned p99 before",
    "learned p99 under", "not learned", "queues kept", "trusted", "left", "left later",
)  # fmt: skip


def row(name: str, turns: list[tuple[Measured, Measured, Measured]], left: list[Left]) -> dict[str, Any]:
    """One line of the table: medians over the rounds."""
    middle = statistics.median
    before, under = ([percentile(turn[at].latencies, 0.99) for turn in turns] for at in (0, 2))
    kept = all(turn[at].queues == turns[0][0].queues for turn in turns for at in (0, 2))
    return {
        "attack": name,
        "p50 before": round(middle(percentile(turn[0].latencies, 0.5) for turn in turns), 2),
        "p99 before": round(middle(before), 2),
        "p99 begins": round(middle(percentile(turn[1].latencies, 0.99) for turn in turns), 2),
        "p99 under": round(middle(under), 2),
        "times": round(middle(later / first for first, later in zip(before, under, strict=True)), 2),
        "lost": sum(turn[1].lost + turn[2].lost for turn in turns),
        "learned p99 before": round(middle(percentile(turn[0].learning, 0.99) for turn in turns), 1),
        "learned p99 under": round(middle(percentile(turn[2].learning, 0.99) for turn in turns), 1),
        "not learned": f"{sum(turn[1].unknown for turn in turns)} + {sum(turn[2].unknown for turn in turns)}",
        "queues kept": "yes" if kept else "no",
        "trusted": sum(turn[2].voice_of_bad for turn in turns),
        "left": " / ".join(map(str, left[0])),
        "left later": " / ".join(map(str, left[1])),
    }


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument(
        "--onset", type=float, default=2.0, help="seconds of an attack that are counted apart"
    )
    parser.add_argument(
        "--rest", type=float, default=20.0, help="seconds after an attack until what is left is counted"
    )
    parser.add_argument("--way", default="Flowlane", choices=["Flowlane", "NORMAL"])
    parser.add_argument("--policy", type=Path, help="in the place of the trial's own")
    parser.add_argument("--realtime", action="store_true", help="for machines that have other work")
    parser.add_argument("--log", action="store_true", help="show the controller's log")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    policy = given.policy.read_text() if given.policy else POLICY
    rows = []
    for name in given.attacks:
        turns = []
        for _ in range(given.rounds):
            with trial(given.way, policy) as running, first_on_the_machine(running.processes, given.realtime):
                running.measure(3.0)
                before = running.measure(given.seconds)
                turns.append((before, *running.measure_under(name, given.seconds, given.onset)))
                left = [running.left()]
                time.sleep(given.rest)
                left.append(running.left())
                if given.log and running.manager is not None:
                    print(running.manager.log, file=sys.stderr)
        rows.append(row(name, turns, left))
        print(rows[-1], file=sys.stderr, flush=True)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for line in rows:
        print(f"| {' | '.join(str(line[column]) for column in COLUMNS)} |")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
