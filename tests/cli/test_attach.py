"""``flowlane attach`` and ``detach`` on a real Open vSwitch: the bridge before and after, and packets meanwhile."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from lab.inside.manager import Launched, launched, wait_for
from lab.inside.private_ovs import PrivateOvs
from support.openflow.client import Client
from support.ovs.stream import stream

from flowlane.cli.main import main

pytestmark = pytest.mark.ovs

TIMES = 50
OURS = "cookie=0xf10a"


@pytest.fixture(scope="module")
def manager() -> Iterator[Launched]:
    with launched() as running:
        yield running


@pytest.fixture
def bridge(ovs: PrivateOvs) -> Iterator[str]:
    """A standalone bridge without controller, as ``ovs-vsctl add-br`` makes it, with two ports."""
    ovs.add_bridge("br0", ("p1", "p2"))
    ovs.vsctl("del-fail-mode", "br0", "--", "clear", "Bridge", "br0", "protocols")
    yield "br0"
    ovs.vsctl("del-br", "br0")


def others_things(ovs: PrivateOvs) -> None:
    """Entries of an operator: groups that use groups, meters, entries that use them, and one in a far table."""
    ovs.ofctl("add-meter", "br0", "meter=1,kbps,burst,stats,bands=type=drop,rate=50000,burst_size=900")
    ovs.ofctl("add-meter", "br0", "meter=77,pktps,bands=type=drop,rate=5")
    ovs.ofctl("add-group", "br0", "group_id=8,type=all,bucket=output:2")
    ovs.ofctl(
        "add-group", "br0", "group_id=7,type=select,bucket=weight:3,group:8,bucket=weight:1,output:IN_PORT"
    )
    for flow in (
        "table=0,priority=600,cookie=0x77,udp,tp_dst=9,actions=drop",
        "table=0,priority=500,udp,tp_dst=10,actions=meter:1,group:7",
        "table=0,priority=10,idle_timeout=0,send_flow_rem,ip,nw_dst=10.9.0.0/16,actions=set_queue:3,NORMAL",
        "table=200,priority=3,in_port=1,actions=resubmit(,201)",
    ):
        ovs.ofctl("add-flow", "br0", flow)


def dumped(ovs: PrivateOvs, version: str = "OpenFlow15") -> tuple[str, ...]:
    """Flows, groups and meters, without transaction ids and the counters of flows."""
    texts = [
        ovs.ofctl(command, "br0", *words, version=version)
        for command, words in (
            ("dump-flows", ("--no-stats", "--no-names", "--sort")),
            ("dump-groups", ()),
            ("dump-meters", ()),
        )
    ]
    return tuple(text.partition("\n")[2] if "reply" in text.partition("\n")[0] else text for text in texts)


def settings(ovs: PrivateOvs) -> dict[str, Any]:
    """The bridge's row, and its controllers without what the connection changes."""
    row = json.loads(ovs.vsctl("--format=json", "list", "Bridge", "br0"))
    bridge = dict(zip(row["headings"], row["data"][0], strict=True))
    for volatile in ("status", "rstp_status"):
        bridge.pop(volatile)
    table = json.loads(
        ovs.vsctl("--format=json", "--columns=target,type,connection_mode", "list", "Controller")
    )
    samples = ovs.vsctl("list", "Flow_Sample_Collector_Set") + ovs.vsctl("list", "IPFIX")
    return {**bridge, "controllers": table["data"], "samples": samples}


def run(ovs: PrivateOvs, *words: str, status: int = 0) -> None:
    assert main([*words, f"--db={ovs.database}", "--timeout=20"]) == status


def attach(ovs: PrivateOvs, manager: Launched, *words: str) -> None:
    run(ovs, "attach", "br0", f"--controller=tcp:127.0.0.1:{manager.openflow_port}", *words)


def wait_until_programmed(ovs: PrivateOvs, manager: Launched) -> None:
    wait_for(lambda: OURS in ovs.ofctl("dump-flows", "br0"), 15, manager.log)
    dpid = ovs.vsctl("get", "Bridge", "br0", "datapath_id").strip().strip('"')
    wait_for(lambda: bool(manager.rest(f"/v1/devices/{dpid}")["connected"]), 15, manager.log)


@pytest.mark.parametrize("fail_mode", ["", "standalone", "secure"])
def test_a_bridge_is_afterwards_as_it_was_before(
    ovs: PrivateOvs, bridge: str, manager: Launched, fail_mode: str
) -> None:
    if fail_mode:
        ovs.vsctl("set-fail-mode", bridge, fail_mode)
        ovs.ofctl("add-flow", bridge, "priority=0,actions=NORMAL")
    others_things(ovs)
    before = dumped(ovs), settings(ovs)
    attach(ovs, manager, "--sampling")
    assert '"127.0.0.1:4739"' in settings(ovs)["samples"]
    wait_until_programmed(ovs, manager)
    flows = dumped(ovs)[0]
    assert [line for line in flows.splitlines() if OURS in line]
    assert [line for line in before[0][0].splitlines() if line not in flows.splitlines() + DEFAULT] == []
    run(ovs, "detach", bridge)
    assert (dumped(ovs), settings(ovs)) == before
    run(ovs, "detach", bridge)
    assert (dumped(ovs), settings(ovs)) == before


DEFAULT = [" priority=0 actions=NORMAL"]
"""An entry for which Flowlane's own may stand while it is attached."""


def test_what_others_add_meanwhile_stays_also_where_nothing_uses_it_yet(
    ovs: PrivateOvs, bridge: str, manager: Launched
) -> None:
    attach(ovs, manager)
    wait_until_programmed(ovs, manager)
    ovs.ofctl("add-meter", bridge, "meter=900,kbps,bands=type=drop,rate=900")
    ovs.ofctl("add-meter", bridge, "meter=901,pktps,burst,stats,bands=type=drop,rate=9,burst_size=9")
    ovs.ofctl("add-group", bridge, "group_id=900,type=all,bucket=output:2")
    run(ovs, "detach", bridge)
    _, groups, meters = dumped(ovs)
    assert re.findall(r"group_id=(\d+)", groups) == ["900"]
    assert sorted(re.findall(r"meter=(\w+)", meters)) == ["900", "901"]
    for command, number in (
        ("del-meter", "meter=900"),
        ("del-meter", "meter=901"),
        ("del-groups", "group_id=900"),
    ):
        ovs.ofctl(command, bridge, number)


def test_attaching_twice_changes_nothing_more(
    ovs: PrivateOvs, bridge: str, manager: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    attach(ovs, manager, "--sampling=127.0.0.1:9999")
    once = settings(ovs)
    capsys.readouterr()
    attach(ovs, manager, "--json", "--sampling=127.0.0.1:9999")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["changed"], answer["steps"]) == (False, [])
    assert settings(ovs) == once
    attach(ovs, manager, "--sampling=off")
    assert settings(ovs) == {**once, "samples": ""}
    run(ovs, "detach", bridge)


def test_flows_are_listed_over_a_service_connection(ovs: PrivateOvs, bridge: str, manager: Launched) -> None:
    """Open vSwitch copies packets to such a controller only when it has asked for that."""
    attach(ovs, manager)
    wait_until_programmed(ovs, manager)
    with stream(ovs, "p1", "p2"):
        wait_for(lambda: "2000" in str(manager.rest("/v1/flows")), 10, manager.log)
    run(ovs, "detach", bridge)


def test_packets_pass_while_it_is_attached_and_detached_again_and_again(
    ovs: PrivateOvs, bridge: str, manager: Launched
) -> None:
    others_things(ovs)
    before = dumped(ovs), settings(ovs)
    lost = []
    with stream(ovs, "p1", "p2") as packets:
        for _ in range(TIMES):
            attach(ovs, manager)
            wait_for(lambda: OURS in ovs.ofctl("dump-flows", bridge), 15, manager.log)
            lost.append(packets.lost())
            run(ovs, "detach", bridge)
            lost.append(packets.lost())
            assert (dumped(ovs), settings(ovs)) == before
    assert max(lost) <= 2, lost


def test_a_bridge_attached_by_hand_is_taken_off_without_loss_where_it_is_standalone(
    ovs: PrivateOvs, bridge: str, manager: Launched
) -> None:
    """The controller is primary, so all entries are deleted when it goes; those of others are put back."""
    ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{manager.openflow_port}")
    wait_until_programmed(ovs, manager)
    others_things(ovs)
    _detach_under_traffic(ovs, bridge, manager, before=None)
    assert DEFAULT[0] in dumped(ovs)[0].splitlines()


@pytest.mark.parametrize(
    "operators", ["priority=0,actions=NORMAL", "priority=1,cookie=0x5,actions=NORMAL", ""]
)
def test_a_secure_bridge_attached_by_hand_goes_on(
    ovs: PrivateOvs, bridge: str, manager: Launched, operators: str
) -> None:
    """Nothing is forwarded between the deletion and the bundle that puts the entries back: a few milliseconds."""
    ovs.vsctl("set-fail-mode", bridge, "secure")
    ovs.vsctl("set-controller", bridge, f"tcp:127.0.0.1:{manager.openflow_port}")
    wait_until_programmed(ovs, manager)
    if operators:
        ovs.ofctl("add-flow", bridge, operators)
    _detach_under_traffic(ovs, bridge, manager, before=operators)


def _detach_under_traffic(ovs: PrivateOvs, bridge: str, manager: Launched, before: str | None) -> None:
    mine = {line for line in dumped(ovs)[0].splitlines() if OURS not in line}
    groups_before = dumped(ovs)[1]
    with stream(ovs, "p1", "p2") as packets:
        run(ovs, "detach", bridge)
        assert packets.lost() <= (2 if before is None else 100)
    flows, groups, meters = dumped(ovs)
    assert OURS not in flows
    assert mine <= set(flows.splitlines())
    assert "controller" not in meters
    assert before is not None or groups == groups_before
    assert settings(ovs)["controllers"] == []


def test_a_second_controller_and_its_entries_stay(ovs: PrivateOvs, bridge: str, manager: Launched) -> None:
    ovs.vsctl("set-controller", bridge, "tcp:127.0.0.1:9", "--", "set-fail-mode", bridge, "secure")
    ovs.ofctl("add-flow", bridge, "priority=0,actions=NORMAL")
    others_things(ovs)
    before = dumped(ovs), settings(ovs)
    with stream(ovs, "p1", "p2") as packets:
        attach(ovs, manager)
        wait_until_programmed(ovs, manager)
        run(ovs, "detach", bridge)
        assert packets.lost() <= 2
    assert (dumped(ovs), settings(ovs)) == before


@contextmanager
def second_controller() -> Iterator[str]:
    """A controller that takes the bridge's connection and answers what keeps it up; its target."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                # It connects anew when the bridge's row changes, and the bridge is deleted before the controller ends.
                with suppress(AssertionError, OSError), server.accept()[0] as connection:
                    client = Client(connection, "OpenFlow13")
                    client.handshake()
                    while not ended.wait(0.2):
                        client.request(client.datapath.ofproto_parser.OFPBarrierRequest(client.datapath))

        task = threading.Thread(target=serve, daemon=True)
        task.start()
        yield f"tcp:127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        task.join(10)


def is_connected(ovs: PrivateOvs, target: str) -> bool:
    found = ovs.vsctl("--bare", "--columns=is_connected", "find", "Controller", f'target="{target}"')
    return found.strip() == "true"


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("fail_mode", ["standalone", "secure"])
def test_packets_pass_while_it_goes_and_a_second_controller_stays(
    ovs: PrivateOvs, bridge: str, manager: Launched, fail_mode: str, by_hand: bool
) -> None:
    """The second is connected, of type primary, and its entries forward what Flowlane's do not."""
    mine = f"tcp:127.0.0.1:{manager.openflow_port}"
    with second_controller() as other:
        ovs.vsctl("set-controller", bridge, other, "--", "set-fail-mode", bridge, fail_mode)
        wait_for(lambda: is_connected(ovs, other))
        ovs.ofctl("add-flow", bridge, "priority=0,cookie=0x5,actions=NORMAL")
        others_things(ovs)
        before = dumped(ovs), settings(ovs)
        with stream(ovs, "p1", "p2") as packets:
            if by_hand:
                ovs.vsctl("set-controller", bridge, other, mine)
            else:
                attach(ovs, manager)
            wait_until_programmed(ovs, manager)
            packets.lost()
            run(ovs, "detach", bridge, *([f"--controller={mine}"] if by_hand else []))
            lost = packets.lost()
            time.sleep(AFTERWARDS_S)
            assert lost + packets.lost() <= 2
            wait_for(lambda: is_connected(ovs, other))
        assert without_controller_meter(dumped(ovs)) == without_controller_meter(before[0])
        assert settings(ovs)["controllers"] == before[1]["controllers"]
        assert by_hand or (dumped(ovs), settings(ovs)) == before


@pytest.mark.parametrize("fail_mode", ["standalone", "secure"])
def test_by_hand_nothing_is_added_or_deleted_for_a_second_controller(
    ovs: PrivateOvs, bridge: str, manager: Launched, fail_mode: str
) -> None:
    """It has a limit on packets to controllers, and drops what it has no entry for."""
    mine = f"tcp:127.0.0.1:{manager.openflow_port}"
    with second_controller() as other:
        ovs.vsctl("set-controller", bridge, other, "--", "set-fail-mode", bridge, fail_mode)
        wait_for(lambda: is_connected(ovs, other))
        ovs.ofctl("del-flows", bridge)
        ovs.ofctl("add-flow", bridge, "table=200,priority=3,in_port=1,actions=drop")
        ovs.ofctl("add-meter", bridge, "meter=controller,pktps,bands=type=drop,rate=70")
        before = dumped(ovs)
        ovs.vsctl("set-controller", bridge, other, mine)
        wait_until_programmed(ovs, manager)
        run(ovs, "detach", bridge, f"--controller={mine}")
        assert dumped(ovs) == before


def without_controller_meter(texts: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """What was dumped but for the meter of packets to controllers: by hand nobody knows whose it is."""
    flows, groups, meters = texts
    listed = [meter.strip() for meter in meters.split("\n\n") if meter.strip()]
    return flows, groups, [meter for meter in listed if not meter.startswith("meter=controller")]


AFTERWARDS_S = 1.0
"""How long packets are counted on: what the switch does late would be seen."""


def test_by_hand_beside_another_it_has_to_be_named(
    ovs: PrivateOvs, bridge: str, manager: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"tcp:127.0.0.1:{manager.openflow_port}"
    ovs.vsctl("set-controller", bridge, target, "tcp:127.0.0.1:9")
    wait_until_programmed(ovs, manager)
    run(ovs, "detach", bridge, status=1)
    assert "--controller" in capsys.readouterr().err
    run(ovs, "detach", bridge, f"--controller={target}")
    assert OURS not in dumped(ovs)[0]
    assert settings(ovs)["controllers"] == [["tcp:127.0.0.1:9", ["set", []], ["set", []]]]


def test_a_bridge_of_openflow_10_alone_gets_the_versions_and_loses_them_again(
    ovs: PrivateOvs, bridge: str, manager: Launched
) -> None:
    ovs.vsctl("set", "Bridge", bridge, "protocols=OpenFlow10")
    before = settings(ovs)
    attach(ovs, manager)
    wait_until_programmed(ovs, manager)
    assert set(settings(ovs)["protocols"][1]) == {"OpenFlow10", "OpenFlow13", "OpenFlow14", "OpenFlow15"}
    run(ovs, "detach", bridge)
    assert settings(ovs) == before
    ovs.vsctl("clear", "Bridge", bridge, "protocols")
    assert [line for line in dumped(ovs)[0].splitlines() if line] == DEFAULT


def test_it_works_while_no_manager_runs(ovs: PrivateOvs, bridge: str) -> None:
    others_things(ovs)
    before = dumped(ovs), settings(ovs)
    with launched() as manager, stream(ovs, "p1", "p2") as packets:
        attach(ovs, manager)
        wait_until_programmed(ovs, manager)
        manager.stop()
        assert packets.lost() <= 2
        run(ovs, "detach", bridge)
        assert packets.lost() <= 2
    assert (dumped(ovs), settings(ovs)) == before


@pytest.mark.parametrize("action", ["attach", "detach"])
def test_a_dry_run_prints_the_commands_and_changes_nothing(
    ovs: PrivateOvs, bridge: str, manager: Launched, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if action == "detach":
        attach(ovs, manager)
        wait_until_programmed(ovs, manager)
    before = dumped(ovs), settings(ovs)
    capsys.readouterr()
    run(ovs, action, bridge, "--dry-run")
    printed = capsys.readouterr().out
    assert "ovs-vsctl" in printed
    assert (action == "detach") == ("ovs-ofctl" in printed)
    assert (dumped(ovs), settings(ovs)) == before
    run(ovs, "detach", bridge)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("attach", "br7"), "there is no bridge br7; bridges are br0"),
        (("detach", "br7"), "there is no bridge br7"),
        (("attach", "br0", "--controller", "127.0.0.1:6653"), "none of tcp:HOST"),
        (("attach", "br0", "--controller", ""), "none of tcp:HOST"),
        (("detach", "br0", "--controller", "tcp:127.0.0.1:9"), ""),
    ],
)
def test_what_is_wrong_is_named(
    ovs: PrivateOvs, bridge: str, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ovs, *words, status=1 if text else 0)
    assert text in capsys.readouterr().err


def test_a_bridge_whose_entries_would_not_be_met_is_refused(
    ovs: PrivateOvs, bridge: str, manager: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neutron's agent translates VLANs by entries of priorities 2 to 4; above them Flowlane's would cut VMs off."""
    ovs.ofctl("add-flow", bridge, "priority=4,in_port=2,dl_vlan=1,actions=strip_vlan,NORMAL")
    ovs.ofctl("add-flow", bridge, "priority=2,in_port=2,actions=drop")
    before = dumped(ovs), settings(ovs)
    words = ("attach", bridge, f"--controller=tcp:127.0.0.1:{manager.openflow_port}")
    run(ovs, *words, status=1)
    assert "has 2 entries in table 0, such as " in capsys.readouterr().err
    assert (dumped(ovs), settings(ovs)) == before
    run(ovs, *words, "--despite-conflicts")
    wait_until_programmed(ovs, manager)
    run(ovs, *words)
    run(ovs, "detach", bridge)
    assert (dumped(ovs), settings(ovs)) == before
