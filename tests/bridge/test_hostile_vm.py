"""A hostile VM harms only itself, on a real Open vSwitch: a short form of ``python -m bench.hostile``.

The judge is the switch: its connection tracker, its tables, and the decision that ``ofproto/trace`` shows.
"""

from __future__ import annotations

import re
import socket

import pytest
from bench.hostile.__main__ import BAD, BRIDGE, DPID, Trial, trial
from bench.hostile.attacks import ATTACKS, BAD_IP, BAD_MAC, EF, UDP, attack, ipv4, udp
from lab.inside.manager import wait_for

pytestmark = pytest.mark.ovs

POLICY = """version: 1
classes:
  voice: {priority: 5, max-queues: 1}
  slow: {limit: 2Mbit/s, limit-scope: vm, max-queues: 1}
  any: {}
default: any
rules: [{name: slow, match: {protocol: udp, dst-port: 873}, class: slow}]
trust: [{vm: good, sources: [dscp], classes: voice, dscp: {ef: voice}}]
track-above: 0
"""


def quota(running: Trial) -> list[dict[str, object]]:
    assert running.manager is not None
    (vm,) = (vm for vm in running.manager.rest("/v1/vms")["items"] if vm["port"] == BAD)
    found: list[dict[str, object]] = vm["quota"]
    return found


def copies(running: Trial) -> int:
    """Packets that met an entry which copies them, of a VM."""
    lines = running.ovs.ofctl("dump-flows", BRIDGE, "table=7").splitlines()
    counts = (re.search(r"n_packets=(\d+)", line) for line in lines if "CONTROLLER" in line)
    return sum(int(found[1]) for found in counts if found)


def passes(running: Trial) -> tuple[int, int]:
    """Packets that the datapath took in since its counters were cleared, and how often one passed it once more."""
    text = running.ovs.appctl("dpif-netdev/pmd-stats-show")
    received, again = (re.search(rf"packet{what}: (\d+)", text) for what in ("s received", " recirculations"))
    assert received is not None
    assert again is not None
    return int(received[1]), int(again[1])


def test_what_a_hostile_vm_does_is_its_own_harm() -> None:
    with trial("Flowlane", POLICY) as running:
        running.measure(1.0)
        marked = ipv4(BAD_IP, UDP, udp(4444, 9), mac=BAD_MAC, dscp=EF)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind((f"{BAD}-in", 0))
            out.send(marked)
        before = running.measure(1.0)
        assert before.unknown == 0
        assert quota(running) == []
        assert [flow["class"] for flow in running.flows_of("bad")] == ["any"], "its mark is not trusted"

        for _ in range(3):  # On a busy machine the VM's quota is noticed after the first measurement.
            begins, under = running.measure_under("flows", 1.5, 1.5)
            assert begins.lost + under.lost == 0
            if not under.unknown and before.queues.items() <= under.queues.items():
                break

        (of_bad,) = quota(running)
        assert (of_bad["device"], of_bad["excess"], of_bad["times"]) == (f"{DPID:016x}", "copies", 1)
        assert under.unknown == 0, "the good VM's flows are known"
        assert before.queues.items() <= under.queues.items(), "and are where they were"
        wait_for(lambda: running.left().tracked < 1000, 10, "the connections stay")
        # Those of the good VM's flows stay; a thousand of the other one's were made before it was noticed.
        wait_for(lambda: running.left().learned < 200, 5, "the learned entries stay")

        for port in (873, 9):
            data = ipv4(BAD_IP, UDP, udp(1234, port), mac=BAD_MAC)
            traced = running.ovs.trace(BRIDGE, f"in_port={BAD}", data)
            megaflow = next(line for line in traced.splitlines() if line.startswith("Megaflow:"))
            assert "tp_src=1234" not in megaflow, "few decisions of the switch are for all its flows"
            assert ("meter(" in traced) == (port == 873), "limits of VMs hold as before"

        learned, copied = running.left().learned, copies(running)
        running.ovs.appctl("dpif-netdev/pmd-stats-clear")
        for name in ("icmp", "connections", "protocols", "macs", "addresses", "arp", "marks", "bridges"):
            assert attack(f"{BAD}-in", name, 0.3) > ATTACKS[name].rate // 20
        received, again = passes(running)
        assert received > 1000
        assert again < 50, "nor does it pass the datapath twice, as by a group that hashes"
        assert copies(running) - copied < 50, "nothing of it is copied"
        left = running.left()
        assert left.learned - learned < 50, "or learned"
        assert left.hosts < 300
        assert running.measure(1.0).unknown == 0
