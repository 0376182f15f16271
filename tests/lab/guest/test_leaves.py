"""Leaves and priorities of ``flowlane qos apply`` on the kernel's queues; judged by tc, and by pings."""

from __future__ import annotations

import contextlib
import json
import re
import statistics
import subprocess
from typing import TYPE_CHECKING

import pytest
from lab.inside.controller import flowlane
from lab.inside.counters import BRIDGE, UPLINK_PORT, ofctl, run, wait_until
from lab.inside.namespaces import FAR_END

from .conftest import COOKIE
from .test_device_truth import PATIENCE_S, START, qos, restart_switch, stop_switch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Lab

RATE = "20Mbit/s"
PINGS = 30


def leaves() -> dict[str, str]:
    """Return kind and handle of the qdisc under each class, as tc prints them."""
    rows = re.findall(
        r"^qdisc (\S+) (\S+): parent 1:(\w+) ", run("tc", "qdisc", "show", "dev", "pf0"), re.MULTILINE
    )
    return {minor: f"{kind} {handle}" for kind, handle, minor in rows}


def kinds() -> dict[str, str]:
    return {minor: leaf.split()[0] for minor, leaf in leaves().items()}


def prios() -> dict[str, int]:
    rows = re.findall(r"class htb 1:(\w+) parent .*prio (\d+) ", run("tc", "class", "show", "dev", "pf0"))
    return {minor: int(prio) for minor, prio in rows}


def qos_row() -> str:
    return run("ovs-vsctl", "get", "port", "pf0", "qos").strip()


def doctor() -> list[str]:
    """Return what ``flowlane doctor`` says of leaves and priorities."""
    findings = json.loads(flowlane("doctor", "--json", "--timeout", PATIENCE_S).stdout)
    return [finding["what"] for finding in findings if re.search("leaf|priorit", finding["what"])]


def apply(*words: str) -> list[str]:
    """Return the tc commands that ``flowlane qos apply`` has run; nothing was left alone."""
    done = qos("apply", "pf0", "--rate", RATE, *words)
    assert done["left_alone"] == []
    assert done["changed"] == bool(done["rows"] or done["tc"])
    return list(done["tc"])


def test_leaves_survive_what_open_vswitch_does(bare: None) -> None:
    """The handles stay: they are the same qdiscs, with what waits in them, not others like them."""
    planned = qos("apply", "pf0", "--rate", RATE, "--queues", "2", "--dry-run")
    assert kinds() == {}
    assert apply("--queues", "2") == planned["tc"]
    before = leaves()
    assert kinds() == {"1": "fq_codel", "2": "fq_codel"}
    queue = ("--", "--id=@new", "create", "queue", "other_config:min-rate=1000000")
    run("ovs-vsctl", "set", "qos", qos_row(), "queues:2=@new", *queue)
    assert set(prios()) == {"1", "2", "3"}, "the queue is there"
    assert leaves() == before, "a queue was added"
    assert doctor() == ["queue 2 has no fq_codel leaf: a heavy flow delays all other flows of its queue"]
    changed = run("ovs-vsctl", "get", "qos", "pf0", "queues:1").strip()
    run("ovs-vsctl", "set", "queue", changed, "other_config:max-rate=12000000", "other_config:priority=3")
    assert wait_until(lambda: "ceil 12Mbit" in run("tc", "class", "show", "dev", "pf0"))
    assert leaves() == before, "a queue's rate was changed"
    run("ovs-vsctl", "set", "qos", qos_row(), "other_config:max-rate=18000000")
    assert wait_until(lambda: "ceil 18Mbit" in run("tc", "class", "show", "dev", "pf0"))
    assert leaves() == before, "the port's rate was changed"
    restart_switch()
    run("ovs-vsctl", "set", "Open_vSwitch", ".", "external_ids:restarted=1")
    assert leaves() == before, "ovs-vswitchd was restarted"
    assert apply("--queues", "3") == [
        "qdisc add dev pf0 parent 1:3 fq_codel target 78643us interval 1000000us"
    ]
    assert {minor: leaves()[minor] for minor in before} == before
    assert doctor() == []
    again = qos("apply", "pf0", "--rate", RATE, "--queues", "3")
    assert (again["changed"], again["tc"]) == (False, [])
    assert apply("--queues", "1") == []
    assert leaves() == {"1": before["1"]}, "a leaf goes with its queue"
    qos("clear", "pf0")
    assert kinds() == {}


def test_leaves_come_back_and_go_on_request(bare: None) -> None:
    apply("--queues", "10")
    assert set(kinds()) == {*"123456789", "a"}
    shown = qos("show", "pf0")[0]["nics"][0]["leaves"]
    assert shown == {str(queue): "fq_codel" for queue in range(10)}
    run("tc", "qdisc", "del", "dev", "pf0", "parent", "1:a")
    run("tc", "qdisc", "replace", "dev", "pf0", "parent", "1:2", "handle", "77:", "pfifo", "limit", "9")
    assert doctor() == [
        "queue 9 has no fq_codel leaf: a heavy flow delays all other flows of its queue",
        "queue 1 has a leaf of kind pfifo, which Flowlane leaves alone",
    ]
    done = qos("apply", "pf0", "--rate", RATE, "--queues", "10")
    assert done["tc"] == ["qdisc add dev pf0 parent 1:a fq_codel target 262144us interval 1000000us"]
    assert done["left_alone"] == ["pf0: queue 1 has a leaf of kind pfifo, which is left alone"]
    assert leaves()["2"] == "pfifo 77"
    assert kinds()["a"] == "fq_codel"
    qos("apply", "pf0", "--rate", RATE, "--queues", "10", "--leaf", "none")
    assert kinds() == {"2": "pfifo"}
    assert doctor() == ["queue 1 has a leaf of kind pfifo, which Flowlane leaves alone"]


def test_clear_removes_leaves_also_while_the_switch_is_down(bare: None) -> None:
    apply("--queues", "2")
    stop_switch()
    try:
        done = flowlane("qos", "clear", "pf0", "--json", "--timeout", "15")
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["tc"]) == 2
        assert kinds() == {}
    finally:
        run(*START)


def test_priorities_become_those_of_htb(bare: None) -> None:
    apply("--queues", "4", "--priority", "1-2=1", "--priority", "3=7")
    assert prios() == {"1": 0, "2": 1, "3": 1, "4": 7}
    assert doctor() == []
    restart_switch()
    run("ovs-vsctl", "set", "Open_vSwitch", ".", "external_ids:restarted=2")
    assert prios() == {"1": 0, "2": 1, "3": 1, "4": 7}
    run(
        "tc",
        "class",
        "change",
        "dev",
        "pf0",
        "parent",
        "1:fffe",
        "classid",
        "1:4",
        "htb",
        "rate",
        "5mbit",
        "prio",
        "2",
    )
    assert len(doctor()) == 1
    assert apply("--queues", "4", "--priority", "0=5") == []
    assert prios() == {"1": 5, "2": 0, "3": 0, "4": 0}


def test_hfsc_gets_no_leaf_and_says_so(bare: None) -> None:
    done = qos("apply", "pf0", "--rate", RATE, "--queues", "2", "--type", "linux-hfsc")
    assert "qdisc hfsc 1: root" in run("tc", "qdisc", "show", "dev", "pf0")
    assert (done["tc"], kinds()) == ([], {})
    assert "linux-hfsc takes packets out of a leaf" in done["left_alone"][0]
    assert len(apply("--queues", "2")) == 2, "HTB again, with leaves"
    assert set(kinds().values()) == {"fq_codel"}


@pytest.fixture
def one_queue() -> Iterator[None]:
    """Everything that vm1 and vm2 send leaves by queue 0; past any controller."""
    match = f"cookie={COOKIE:#x},priority=65000"
    entries = [f"{match},in_port={n},ip,actions=set_queue:0,output:{UPLINK_PORT}\n" for n in (1, 2)]
    entries += [
        f"{match},in_port={UPLINK_PORT},dl_dst=02:00:00:00:00:0{n},actions=output:{n}\n" for n in (1, 2)
    ]
    ofctl("add-flows", BRIDGE, "-", given="".join(entries))
    yield
    ofctl("del-flows", BRIDGE, f"cookie={COOKIE:#x}/-1")


@contextlib.contextmanager
def four_tcp_flows() -> Iterator[None]:
    """Send from vm1 to the wire, in the block, from when packets wait in queue 0."""
    server = ["ip", "netns", "exec", "wire", "iperf3", "-s"]
    client = ["ip", "netns", "exec", "vm1", "iperf3", "-c", FAR_END, "-t", "600", "-P", "4"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(server))
        assert wait_until(lambda: ":5201 " in run("ip", "netns", "exec", "wire", "ss", "-ltn"), 60)
        stack.enter_context(running(client))
        assert wait_until(lambda: packets_waiting() > 2, 60), "the queue does not fill"
        yield


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def packets_waiting() -> int:
    """Return the backlog of queue 0: few where segmentation is left to the host, as behind a veth."""
    shown = run("tc", "-s", "class", "show", "dev", "pf0").partition("class htb 1:1 ")[2]
    backlog = re.search(r"backlog \S+ (\d+)p", shown)
    return int(backlog[1]) if backlog else 0


def median_ping() -> float:
    """Return the median of pings from vm2 in ms."""
    ping = ["ip", "netns", "exec", "vm2", "ping", "-i", "0.3", FAR_END]
    run(*ping, "-c", "10")  # TCP's windows adapt meanwhile.
    times = re.findall(r"time=([\d.]+) ms", run(*ping, "-c", str(PINGS)))
    assert len(times) > PINGS / 2, times
    return statistics.median(map(float, times))


def test_a_ping_in_the_queue_of_heavy_flows_is_far_quicker_with_the_leaf(
    lab: Lab, bare: None, one_queue: None
) -> None:
    """Slow enough that the emulated CPU is not what the packets wait for."""
    words = ("apply", "pf0", "--rate", "10Mbit/s", "--queues", "2")
    qos(*words, "--leaf", "none")
    with four_tcp_flows():
        without = median_ping()
        qos(*words)
        with_leaf = median_ping()
        assert packets_waiting() > 0, "the heavy flows went on"
    print(f"{lab.layout}: {without:.1f} ms without, {with_leaf:.1f} ms with the leaf")
    assert with_leaf * 5 < without
