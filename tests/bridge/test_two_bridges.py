"""Two bridges of one host: VMs on br-int, uplink and queues on br-ex. A flow is its VM's on both."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.frames import ether, hello, ipv4, mac, tag, udp, unicast
from support.ovs.hosts import Host, host

from flowlane.core.device.takeover import ADOPTION_TIME

pytestmark = pytest.mark.ovs

INT, EX, UPLINK, LINK = "flw-int", "flw-ex", "flw-up", "flw-ex-int"
POLICY = """
version: 1
learn-after: 0
classes:
  gold: {max-queues: 1}
  slow: {limit: 2Mbit/s, burst: 60kB, limit-scope: vm, max-queues: 1}
rules:
  - {name: gold, match: {vm: vm-gold}, class: gold}
  - {name: slow, match: {vm: vm-slow}, class: slow}
"""
VMS = {"vm-gold": ("flw-gold", 1, 100), "vm-slow": ("flw-slow", 2, 200)}
"""VM -> its port, the number in its address, its VLAN."""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


def vm_words(name: str, vm: str, vlan: int, address: str = "") -> list[str]:
    words = ["add-port", INT, name, *([f"tag={vlan}"] if vlan else []), "--", "set", "Interface", name]
    attached = [f'external_ids:attached-mac="{address}"'] if address else []
    return [*words, "type=internal", f"external_ids:iface-id={vm}", *attached, "--"]


def patch(bridge: str, name: str, peer: str) -> list[str]:
    return [
        "add-port",
        bridge,
        name,
        "--",
        "set",
        "Interface",
        name,
        "type=patch",
        f"options:peer={peer}",
        "--",
    ]


@contextmanager
def two_bridges(
    taps: PrivateOvs,
    folder: Path,
    attached: bool = True,
    addresses: tuple[int, int] = (1, 2),
    policy: str = POLICY,
    controlled: tuple[str, ...] = (INT, EX),
) -> Iterator[Host]:
    """Both bridges with the VMs of ``VMS`` and four queues on the uplink.

    Args:
        addresses: the numbers in the VMs' addresses.
        controlled: the bridges that have the controller.
    """
    with host(taps, folder, policy) as running:
        taps.add_bridge(EX, (), dpid=0x82)
        taps.add_bridge(INT, (), dpid=0x81)
        running.bridges += controlled
        words: list[str] = []
        for (vm, (name, _, vlan)), number in zip(VMS.items(), addresses, strict=True):
            words += vm_words(name, vm, vlan, mac(number).hex(":") if attached else "")
        words += patch(INT, "flw-int-ex", LINK) + patch(EX, LINK, "flw-int-ex")
        words += ["add-port", EX, UPLINK, "--", "set", "Interface", UPLINK, "type=internal", "--"]
        taps.vsctl(*words[:-1])
        taps.set_queues(UPLINK, {number: {} for number in range(4)})
        running.up(UPLINK, *(name for name, _, _ in VMS.values()))
        for bridge in controlled:
            taps.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{running.port}")
        running.programmed()
        running.wait(lambda: running.rest("/v1/devices/0000000000000082/queues")["items"], "no queues")
        yield running


def senders(running: Host) -> list[str]:
    """The entries by which br-ex finds the tests' addresses behind its link; the host's own stack sends, too."""
    text = running.ovs.ofctl("dump-flows", EX, "table=0")
    lines = (line.split("priority=")[1] for line in text.splitlines() if "dl_src=02:00:00:00:00:0" in line)
    return sorted(re.sub(r"/0xffffffff00000000", "", line) for line in lines)


def places(running: Host, **where: str | int) -> list[dict[str, Any]]:
    """Where each flow with these values is: device -> assignment."""
    return [{place["device"][-2:]: place for place in flow["assignments"]} for flow in running.flows(**where)]


def on_both(running: Host, **where: str | int) -> bool:
    """Whether a flow with these values has a place on both bridges."""
    return any(len(devices) == 2 for devices in places(running, **where))


def is_queued(running: Host, frame: bytes, queue_id: int) -> bool:
    """Whether br-ex sends a frame from its link by a queue; the userspace datapath shows none for queue 0."""
    return running.queue(EX, LINK, frame) == (queue_id or None)


def test_a_flow_is_its_vms_on_both_bridges(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path) as running:
        ports = {port["name"]: port for port in running.rest("/v1/devices/0000000000000082/ports")["items"]}
        assert (ports[LINK]["role"], ports[UPLINK]["role"]) == ("link", "uplink")
        assert {vm["name"]: vm["id"] for vm in running.rest("/v1/vms")["items"]} == {
            name: vm for vm, (name, _, _) in VMS.items()
        }
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        for vm, (name, number, _) in VMS.items():
            running.send(name, unicast(number, 9))
            where = {"vm": vm, "src": f"10.0.0.{number}", "dst": "10.0.0.9"}
            running.wait(partial(on_both, running, **where), f"{vm} is not on both")
            (flow,) = running.flows(**where)
            assert flow["vlan"] is None, "the VM sends without a tag"
            shown = running.rest(f"/v1/flows/{flow['id']}")
            assert {place["device"][-2:]: place["port"] for place in shown["assignments"]} == {
                "81": "flw-int-ex",
                "82": UPLINK,
            }
            assert shown["class"] == vm.removeprefix("vm-")
            on_ex = {place["device"][-2:]: place for place in shown["assignments"]}["82"]
            assert on_ex["queue_id"] is not None


def test_rules_and_limits_by_vm_apply_where_the_queues_are(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path) as running:
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        for name, number, _ in VMS.values():
            running.send(name, unicast(number, 9))
        running.wait(lambda: len(places(running, dst="10.0.0.9")) == len(VMS), "the flows are not listed")
        running.wait(
            lambda: all(len(place) == 2 for place in places(running, dst="10.0.0.9")),
            "they are not on both bridges",
        )
        queues = {}
        for vm, (name, number, vlan) in VMS.items():
            (place,) = places(running, vm=vm, dst="10.0.0.9")
            frame = unicast(number, 9, tag(vlan))
            running.wait(
                partial(is_queued, running, unicast(number, 9, tag(vlan)), place["82"]["queue_id"]),
                f"{vm} is in another queue",
            )
            queues[vm] = place["82"]["queue_id"]
            metered = [
                "meter:" in running.trace(INT, name, unicast(number, 9)),
                place["81"]["meter"] is not None,
            ]
            assert metered == [vm == "vm-slow"] * 2
            assert "meter:" not in running.trace(EX, LINK, frame), "a limit is enforced once"
            assert place["82"]["meter"] is None
            # The whole way, from the VM's port: the same queue on the uplink.
            assert running.queue(INT, name, unicast(number, 9)) == (queues[vm] or None)
        assert queues["vm-gold"] != queues["vm-slow"]


@pytest.mark.parametrize("learn_after", [0, 8])
def test_equal_addresses_in_two_vlans_are_two_vms(taps: PrivateOvs, tmp_path: Path, learn_after: int) -> None:
    policy = POLICY.replace("learn-after: 0", f"learn-after: {learn_after}\ntrack-above: 0")
    with two_bridges(taps, tmp_path, addresses=(1, 1), policy=policy) as running:
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        for name, _, _ in VMS.values():
            running.send(name, unicast(1, 9))
        running.wait(
            lambda: (
                len(places(running, dst="10.0.0.9")) == 2
                and all(len(place) == 2 for place in places(running, dst="10.0.0.9"))
            ),
            "the flows are not told apart",
        )
        assert {flow["vm"] for flow in running.flows(dst="10.0.0.9")} == set(VMS)
        for vm, (name, _, vlan) in VMS.items():
            (place,) = places(running, vm=vm, dst="10.0.0.9")
            if learn_after == 0:
                assert ("meter:" in running.trace(INT, name, unicast(1, 9))) == (vm == "vm-slow")
                assert "meter:" not in running.trace(EX, LINK, unicast(1, 9, tag(vlan)))
            meters = [place[device]["meter"] is not None for device in ("81", "82")]
            assert meters == [vm == "vm-slow", False]


def test_vms_without_a_known_address_are_found_by_what_they_send(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path, attached=False) as running:
        for name, number, _ in VMS.values():
            running.send(name, hello(number))
        running.wait(
            lambda: (
                sum(f"dl_src={mac(n).hex(':')}" in line for n in (1, 2) for line in senders(running)) == 2
            ),
            "the addresses are not looked for behind the link",
        )
        for vm, (name, number, _) in VMS.items():
            running.send(name, unicast(number, 9))
            running.wait(
                partial(on_both, running, vm=vm, dst="10.0.0.9"),
                f"{vm} is not on both",
            )


def test_a_vm_that_leaves_leaves_both_bridges(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path) as running:
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        running.send("flw-slow", unicast(2, 9))
        running.wait(partial(on_both, running, vm="vm-slow", dst="10.0.0.9"), "not on both")
        taps.vsctl("del-port", "flw-slow")
        running.wait(lambda: len(senders(running)) == 1, "the VM is still looked for")
        running.wait(lambda: not running.flows(dst="10.0.0.9"), "its flow is still listed")
        pins = [
            line for line in taps.ofctl("dump-flows", EX, "table=4").splitlines() if "nw_src=10.0.0.2" in line
        ]
        assert pins == []


def test_frames_from_the_network_are_nobodys_flows(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path) as running:
        running.send(UPLINK, hello(9, tag(100)))
        running.send(UPLINK, *[unicast(9, 1, tag(100))] * 3)
        running.wait(
            lambda: "dl_dst=02:00:00:00:00:01" in taps.ofctl("dump-flows", EX), "the VM is not a destination"
        )
        trace = running.trace(EX, UPLINK, unicast(9, 1, tag(100)))
        assert "CONTROLLER" not in trace
        assert "pop_vlan" in trace.rsplit("Datapath actions:", 1)[1]
        assert running.flows(src="10.0.0.9") == []
        learned = taps.ofctl("dump-flows", INT, "table=5") + taps.ofctl("dump-flows", EX, "table=5")
        assert "nw_src=10.0.0.9" not in learned


def pins_on_ex(running: Host) -> dict[str, str]:
    """Pins of br-ex: cookie and match -> actions."""
    lines = running.ovs.ofctl("dump-flows", EX, "table=4").splitlines()
    pins = [line for line in lines if "cookie=0xf10a3" in line and "nw_dst=10.0.0.9" in line]
    return {
        re.sub(r"duration.*priority", "priority", line.split(" actions=")[0]): line.split(" actions=")[1]
        for line in pins
    }


PINNED = POLICY.replace("max-queues: 1}\nrules", "queues: exclusive}\nrules").replace(
    "{vm: vm-slow}", "{vm: vm-slow, protocol: udp}"
)
"""A queue to itself is none of those that the standing rules name: a flow gets there by a pin."""


def test_after_a_restart_the_flows_of_the_link_keep_their_pins(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path, policy=PINNED) as running:
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        running.send("flw-slow", unicast(2, 9))
        running.wait(partial(on_both, running, vm="vm-slow", dst="10.0.0.9"), "the flow is not on both")
        running.wait(lambda: len(pins_on_ex(running)) == 1, "the limited flow has no pin")
        before, (place,) = pins_on_ex(running), places(running, vm="vm-slow", dst="10.0.0.9")
        assert "metadata=" in next(iter(before))
        running.manager.stop()
        again = launched(*running.options, f"--ofp-tcp-listen-port={running.port}")
        with sending(running, "flw-slow", unicast(2, 9)), again as running.manager:
            running.wait(partial(on_both, running, vm="vm-slow", dst="10.0.0.9"), "the flow is not adopted")
            (adopted,) = places(running, vm="vm-slow", dst="10.0.0.9")
            assert adopted["82"]["queue_id"] == place["82"]["queue_id"]
            assert adopted["82"]["entry"] == "pin"
            assert pins_on_ex(running) == before
            running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
            time.sleep(ADOPTION_TIME + 1.0)
            assert pins_on_ex(running) == before, "nothing moves when adoption ends"
            assert meters_passed(running, INT, "flw-slow", unicast(2, 9)) == 1


@contextmanager
def sending(running: Host, interface: str, frame: bytes) -> Iterator[None]:
    """Send a frame again and again during the block, so that its flow is not idle."""
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(0.5):
            running.send(interface, frame)

    task = threading.Thread(target=send, daemon=True)
    task.start()
    try:
        yield
    finally:
        ended.set()
        task.join()


def meters_passed(running: Host, bridge: str, port: str, frame: bytes) -> int:
    """How many meters a frame passes on its whole way, of all bridges."""
    return running.trace(bridge, port, frame).rsplit("Datapath actions:", 1)[1].count("meter(")


def holds(running: Host) -> None:
    """Whether what leaves by the uplink is as much as the limit, though one new flow after another begins."""
    flood(running, 1.0)  # The burst is used up.
    rates = [passed(running)]
    while rates[-1] < 0.95 * LIMIT and len(rates) < ATTEMPTS:
        rates.append(passed(running))
    assert 0.95 * LIMIT <= max(rates) <= 1.05 * LIMIT, f"{rates} bit/s of {LIMIT}"


def meter_ids(bridge: str, running: Host) -> set[str]:
    return set(re.findall(r"meter[:=](\d+)", running.ovs.ofctl("dump-meters", bridge)))


def test_a_limit_is_enforced_on_the_bridge_of_the_vm_and_then_on_the_next(
    taps: PrivateOvs, tmp_path: Path
) -> None:
    """Once on the way: on br-int while it has the controller, then on br-ex, and on br-int again."""
    with two_bridges(taps, tmp_path) as running:
        running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
        running.send("flw-slow", unicast(2, 9))
        running.wait(partial(on_both, running, vm="vm-slow", dst="10.0.0.9"), "the flow is not on both")
        running.wait(
            lambda: len(meter_ids(INT, running)) == 1 and not meter_ids(EX, running), "not on br-int alone"
        )
        (flow,) = running.flows(vm="vm-slow", dst="10.0.0.9")
        said = {
            item["device_name"]: item["meter"]
            for item in running.rest(f"/v1/flows/{flow['id']}/explain")["devices"]
        }
        assert re.match(r"meter \d+ holds it to 2Mbit/s", said[INT])
        assert said[EX] == f"its class is limited to 2Mbit/s, which {INT} enforces: it is nearer to the VM"
        assert meters_passed(running, INT, "flw-slow", unicast(2, 9)) == 1
        holds(running)
        taps.vsctl("del-controller", INT)
        taps.ofctl("del-flows", INT)
        taps.ofctl("add-flow", INT, "actions=NORMAL")
        running.wait(lambda: len(meter_ids(EX, running)) == 1, "br-ex does not take the limit over")
        running.wait(
            lambda: meters_passed(running, INT, "flw-slow", unicast(2, 9)) == 1,
            "the limit is not enforced once",
        )
        holds(running)
        taps.ofctl("del-flows", INT)
        taps.vsctl("set-controller", INT, f"tcp:127.0.0.1:{running.port}")
        running.wait(lambda: not meter_ids(EX, running), "br-ex still enforces the limit")
        running.wait(
            lambda: meters_passed(running, INT, "flw-slow", unicast(2, 9)) == 1,
            "the limit is not enforced once",
        )


LIMIT = 2_000_000
ATTEMPTS = 3
"""A machine that stands still for longer than a burst lets fewer packets pass, never more."""


def passed(running: Host) -> float:
    """Return the rate in bit/s that passes of a flood under the limit."""
    before, begin = received(UPLINK), time.monotonic()
    flood(running, 6.0)
    return (received(UPLINK) - before) * 8 / (time.monotonic() - begin)


def flood(running: Host, seconds: float) -> None:
    """Send 1,000 frames a second from the limited VM, four times its limit, each three of a new flow."""
    begin, count = time.monotonic(), 0
    while (elapsed := time.monotonic() - begin) < seconds:
        due = int(elapsed * 1000)
        ports = [5000 + number // 3 % 50_000 for number in range(count, due)]
        packets = [ipv4(2, 9, 17, udp(port, 2009, bytes(958))) for port in ports]
        running.send("flw-slow", *[ether(mac(9), mac(2), 0x800, packet) for packet in packets])
        count = due
        time.sleep(0.005)


def received(interface: str) -> int:
    """Bytes that the host has received of what the switch sent by an interface."""
    shown = subprocess.run(
        ["ip", "-s", "-j", "link", "show", interface], check=True, capture_output=True, text=True
    ).stdout
    return int(json.loads(shown)[0]["stats64"]["rx"]["bytes"])


def test_the_bridge_of_the_vms_may_have_another_controller(taps: PrivateOvs, tmp_path: Path) -> None:
    with two_bridges(taps, tmp_path, controlled=(EX,)) as running:
        try:
            taps.ofctl("add-flow", INT, "actions=NORMAL")
            running.wait(lambda: len(senders(running)) == len(VMS), "the VMs behind the link are not known")
            assert [device["name"] for device in running.rest("/v1/devices")["items"]] == [EX]
            running.send("flw-slow", unicast(2, 9))
            running.wait(lambda: places(running, vm="vm-slow", dst="10.0.0.9"), "the flow is not listed")
            (place,) = places(running, vm="vm-slow", dst="10.0.0.9")
            assert (list(place), place["82"]["meter"]["rate"]) == (["82"], LIMIT)
            running.wait(lambda: "meter:" in running.trace(EX, LINK, unicast(2, 9, tag(200))), "no limit")
            taps.vsctl("del-port", "flw-slow")
            running.wait(lambda: len(senders(running)) == 1, "the VM is still looked for")
        finally:
            taps.vsctl("del-br", INT)


def test_behind_a_tunnel_is_the_network(taps: PrivateOvs, tmp_path: Path) -> None:
    """A bridge of VMs whose way to the network is a tunnel: the tunnel port is its uplink."""
    with host(taps, tmp_path, POLICY) as running:
        words = vm_words("flw-gold", "vm-gold", 0, "02:00:00:00:00:01")
        words += ["add-port", INT, "flw-vx", "--", "set", "Interface", "flw-vx", "type=vxlan"]
        running.bridge(INT, 0x81, *words, "options:remote_ip=192.0.2.1", "options:key=7")
        running.up("flw-gold")
        running.programmed()
        ports = {port["name"]: port for port in running.rest("/v1/devices/0000000000000081/ports")["items"]}
        assert (ports["flw-vx"]["role"], ports["flw-vx"]["role_reason"]) == ("uplink", "it is a vxlan tunnel")
        running.send("flw-gold", unicast(1, 9))
        running.wait(lambda: running.flows(vm="vm-gold", dst="10.0.0.9"), "the flow is not listed")
        (place,) = places(running, vm="vm-gold", dst="10.0.0.9")
        assert place["81"]["port"] == "flw-vx"
        assert {vm["name"] for vm in running.rest("/v1/vms")["items"]} == {"flw-gold"}
