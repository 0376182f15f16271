"""Discovery of links: who sends probes and when, and what received ones show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.engine.scenario import small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import Capabilities, PortFacts, PortReport, PortRole
from flowlane.core.state.links import LinkState, SeenLink
from flowlane.core.topology.discovery import HOLD, INTERVAL, all_links

NIC, TOR, OTHER = 1, 2, 3
ABLE = Capabilities(max_meters=10, select_groups=True, learn=True, normal=True)
UPLINK = {"flowlane-port": "uplink"}


class Network:
    """A NIC with an uplink (9), a VM (1), a patch port (8); a switch in no database, its ports 1 to 3."""

    def __init__(self) -> None:
        self.engine = Engine(small_policy())
        self.now = 100.0
        self.reports: list[fx.Report] = []
        facts = {
            1: PortFacts("vf0", {"iface-id": "vm1"}),
            8: PortFacts("to-int", interface_type="patch", options={"peer": "to-nic"}),
            9: PortFacts("pf0", UPLINK),
        }
        self.do(ev.DeviceDescribed(NIC, "nic", "nic", {}, "system", facts))
        self.up(NIC, {number: port.name for number, port in facts.items()})
        self.up(TOR, {1: "down0", 2: "down1", 3: "up0"})

    def up(self, dpid: int, ports: dict[int, str]) -> None:
        self.do(ev.DeviceUp(dpid, ABLE, tuple(PortReport(no, name) for no, name in ports.items()), {}))

    def do(self, event: ev.Event) -> list[fx.Effect]:
        effects = self.engine.step_and_catch_up(event, self.now)
        self.reports += [item for item in effects if isinstance(item, fx.Report) and item.kind == "link"]
        return effects

    def tick(self, seconds: float = 1.0) -> dict[int, tuple[int, ...]]:
        """Let time pass; return the probes: dpid -> ports."""
        self.now += seconds
        sent = [effect for effect in self.do(ev.Tick()) if isinstance(effect, fx.ProbeLinks)]
        return {effect.dpid: effect.ports for effect in sent}

    def carrier(self, dpid: int, port_no: int, up: bool) -> None:
        report = self.engine.devices[dpid].reported_ports[port_no]
        self.do(ev.PortChanged(dpid, replace(report, up=up)))

    def changes(self) -> list[Any]:
        found = [report.data["change"] for report in self.reports]
        self.reports.clear()
        return found

    def link(self) -> SeenLink:
        (link,) = all_links(self.engine.state)
        return link


def test_only_ports_to_the_network_send_probes_and_not_patch_ports() -> None:
    network = Network()
    assert [network.tick() for _ in range(5)] == [{NIC: (9,)}] * 4 + [{}]
    assert network.tick(INTERVAL) == {NIC: (9,)}
    assert network.tick() == {}


def test_an_operator_may_have_no_probes_sent() -> None:
    network = Network()
    network.engine.state.sends_probes = False
    network.do(ev.DeviceDown(NIC))
    network.up(NIC, {9: "pf0"})
    assert NIC not in network.tick()


def test_a_probe_makes_a_link_of_a_port_of_which_nothing_is_known() -> None:
    network = Network()
    tor = network.engine.devices[TOR]
    assert tor.ports[1].role is PortRole.VM
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    assert (tor.ports[1].role, tor.ports[2].role) == (PortRole.LINK, PortRole.VM)
    assert tor.port_vm.keys() == {2, 3}
    assert network.link().ends == ((NIC, 9), (TOR, 1))
    assert network.tick()[TOR] == (1,), "it answers at once"
    network.do(ev.LinkSeen(NIC, 9, TOR, 1))
    assert len(network.link().probed) == 2
    assert network.changes() == ["found"]


def test_a_probe_from_a_vm_is_not_believed() -> None:
    network = Network()
    network.do(ev.LinkSeen(NIC, 1, TOR, 1))
    network.do(ev.LinkSeen(NIC, 9, TOR, 77))
    network.do(ev.LinkSeen(NIC, 9, 99, 1))
    assert list(all_links(network.engine.state)) == []


def test_a_link_is_down_as_soon_as_a_port_is() -> None:
    network = Network()
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    network.carrier(NIC, 9, up=False)
    assert network.link().state is LinkState.DOWN
    network.carrier(NIC, 9, up=True)
    assert network.link().state is LinkState.UNCONFIRMED, "it may be another cable now"
    assert network.tick()[NIC] == (9,)
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    assert network.link().state is LinkState.UP
    assert network.changes() == ["found", "down", "unconfirmed", "up"]
    network.do(ev.PortRemoved(TOR, 1))
    assert network.link().state is LinkState.DOWN


def test_a_link_whose_probes_stay_out_is_unconfirmed() -> None:
    network = Network()
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    network.tick(HOLD - 1)
    assert network.link().state is LinkState.UP
    network.tick(1)
    assert network.link().state is LinkState.UNCONFIRMED
    assert network.changes() == ["found", "unconfirmed"]


def test_another_neighbour_takes_the_place_of_a_link_that_was_down() -> None:
    network = Network()
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    network.carrier(NIC, 9, up=False)
    network.carrier(NIC, 9, up=True)
    network.do(ev.LinkSeen(TOR, 2, NIC, 9))
    assert network.link().ends == ((NIC, 9), (TOR, 2))
    assert network.changes() == ["found", "down", "unconfirmed", "gone", "found"]


def test_links_of_a_device_that_is_forgotten_are_forgotten() -> None:
    network = Network()
    network.do(ev.LinkSeen(TOR, 1, NIC, 9))
    del network.engine.state.devices[TOR]
    network.tick()
    assert network.engine.state.links == {}
    assert not network.engine.devices[NIC].ports[9].has_neighbour


def test_a_device_that_comes_back_sends_probes_at_once() -> None:
    network = Network()
    while network.tick():
        pass
    network.do(ev.DeviceDown(NIC))
    assert network.tick(INTERVAL) == {}
    network.up(NIC, {1: "vf0", 8: "to-int", 9: "pf0"})
    assert network.tick() == {NIC: (9,)}
