"""``flowlane qos apply`` and ``doctor`` on a real driver: what they make, the kernel does, and goes on doing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.inside.controller import DPID, flowlane, physical
from lab.inside.counters import exactly, run, wait_until
from lab.inside.namespaces import send_by_queue
from lab.inside.packet_counts import udp_flows

from .test_assignment import judge, place, spread

if TYPE_CHECKING:
    from lab.inside.controller import Controller

    from .conftest import Lab

PIDFILE = Path("/run/openvswitch/ovs-vswitchd.pid")
START = ("ovs-vswitchd", "--pidfile", "--detach", "--log-file=/run/lab/ovs/ovs-vswitchd.log", "-vconsole:off")
PORT = 7400
PATIENCE_S = "60"
"""For what the database takes when the machine is busy with other things as well."""


def stop_switch() -> None:
    pid = int(PIDFILE.read_text())
    run("ovs-appctl", "-t", "ovs-vswitchd", "exit")
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 60)


def restart_switch() -> None:
    stop_switch()
    run(*START)


def reconnected_after(controller: Controller, before: str) -> bool:
    device = controller.get(f"/v1/devices/{DPID}")
    return bool(device["connected"]) and device["since"] != before


def qos(*words: str) -> Any:
    """Run ``flowlane qos`` with --json; returns what it says."""
    done = flowlane("qos", *words, "--json", "--timeout", PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def apply(queues: str, rate: str) -> Any:
    return qos("apply", "pf0", "--queues", queues, "--rate", rate, "--map-hardware")


def test_queues_made_by_flowlane_survive_a_restart_of_the_switch(
    lab: Lab, controller: Controller, bare: None
) -> None:
    assert apply("auto", "50Mbit/s")["changed"]
    controller.wait_for_queues(physical(8))
    with udp_flows(lab.vms[:2], 8, PORT) as flows:
        place(controller, flows)
        spread(controller, flows, 8)
        judge(controller, flows, set(range(8)))
        before = controller.get(f"/v1/devices/{DPID}")["since"]
        restart_switch()
        # What the controller knew of the flows goes when it finds the new switch without their entries.
        assert wait_until(lambda: reconnected_after(controller, before), 120)
        controller.wait_for_queues(physical(8), 120)
        time.sleep(3)
        place(controller, flows)
        spread(controller, flows, 8)
        judge(controller, flows, set(range(8)))
    assert not apply("auto", "50Mbit/s")["changed"], "everything was still there"


def test_the_mapping_survives_changes_of_the_qos(bare: None, queue_flows: None) -> None:
    """Changes by ``apply`` and by others: each queue stays one class and one transmit queue, and each is counted."""
    apply("8", "50Mbit/s")
    run(
        "ovs-vsctl",
        "set",
        "qos",
        run("ovs-vsctl", "get", "port", "pf0", "qos").strip(),
        "other_config:max-rate=40000000",
    )
    with exactly() as expected:
        expected.update(send_by_queue("vm1", 8))
    less = apply("4", "30Mbit/s")
    assert {change["action"] for change in less["rows"]} == {"update", "delete"}, "rows are kept"
    with exactly() as expected:
        expected.update(send_by_queue("vm1", 4))
    # Somebody puts a QoS of his own in the place of ours: the mapping is the NIC's, not the row's.
    rows = [
        ("--", f"--id=@{queue}", "create", "queue", "other-config:min-rate=1000000") for queue in range(3)
    ]
    queues = [f"queues:{queue}=@{queue}" for queue in range(3)]
    theirs = ("--", "--id=@qos", "create", "qos", "type=linux-htb", "other-config:max-rate=20000000", *queues)
    run("ovs-vsctl", "set", "port", "pf0", "qos=@qos", *theirs, *(word for row in rows for word in row))
    with exactly() as expected:
        expected.update(send_by_queue("vm1", 3))


def test_qdiscs_and_filters_of_others_stay(lab: Lab, bare: None) -> None:
    port = "pf0vf1" if lab.layout == "veth" else "sr0vf1"
    run("tc", "qdisc", "add", "dev", "pf0", "clsact")
    mark = ("basic", "match", "meta(priority eq 4711)", "action", "skbedit", "mark", "7")
    for hook in ("egress", "ingress"):
        run("tc", "filter", "add", "dev", "pf0", hook, "protocol", "all", "pref", "10", "handle", "9", *mark)
    run("tc", "qdisc", "add", "dev", port, "root", "handle", "77:", "fq_codel", "limit", "123")
    run("tc", "qdisc", "add", "dev", port, "ingress")

    def theirs() -> list[str]:
        words = [("filter", "show", "dev", "pf0", hook, "pref", "10") for hook in ("egress", "ingress")]
        return [run("tc", *each) for each in [*words, ("qdisc", "show", "dev", port)]]

    try:
        before = theirs()
        assert all(before)
        lines = apply("8", "50Mbit/s")["tc"]
        assert len([line for line in lines if "fq_codel" not in line]) == 9, (
            "the clsact that is there is used"
        )
        assert theirs() == before
        apply("4", "30Mbit/s")
        qos("clear", "pf0")
        assert theirs() == before
        refused = flowlane("qos", "apply", port, "--queues", "2", "--rate", "1Mbit/s", "--map-hardware")
        assert refused.returncode == 1
        assert "ingress qdisc" in refused.stderr
        assert theirs() == before
        assert run("ovs-vsctl", "get", "port", port, "qos").strip() == "[]", (
            "refused before anything was changed"
        )
    finally:
        run("tc", "qdisc", "del", "dev", port, "ingress")
        run("tc", "qdisc", "del", "dev", port, "root")


def test_doctor_finds_queues_that_the_nic_lacks(bare: None) -> None:
    """What it advises helps."""
    apply("8", "50Mbit/s")
    run("ethtool", "-L", "pf0", "combined", "4")
    done = flowlane("doctor", "--json")
    said = {finding["what"]: finding["remedy"] for finding in json.loads(done.stdout)}
    remedy = said["8 physical queues, but the NIC has 4 transmit queues"]
    assert remedy.startswith("ethtool -L pf0 combined 8")
    run(*remedy.partition(" (")[0].split())
    apply("8", "50Mbit/s")
    (port,) = qos("show", "pf0")
    assert (port["nics"][0]["tx_queues"], port["findings"]) == (8, [])
