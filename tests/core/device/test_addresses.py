"""New addresses cost little: patched at once, and whole plans for them only now and then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.engine.scenario import DPID, LEARNING, UPLINK, Scenario

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device import plan, refresh
from flowlane.core.device.addresses import INTERVAL
from flowlane.core.model import PortFacts, PortReport
from flowlane.core.state.device import Device, State

LINK, OTHER_LINK = 50, 51
MAC = 0x060000000000


def switch() -> Scenario:
    scenario = Scenario(caps=replace(LEARNING, normal=True))
    described = scenario.engine.state.described[DPID]
    links = {number: PortFacts(f"link{number}", {"flowlane-port": "link"}) for number in (LINK, OTHER_LINK)}
    scenario.do(replace(described, ports={**described.ports, **links}))
    for number, facts in links.items():
        scenario.do(ev.PortChanged(DPID, PortReport(number, facts.name)))
    return scenario


def send(scenario: Scenario, number: int, port: int = LINK) -> list[fx.Effect]:
    frame = scenario.frame(1, 1000)
    return scenario.do(
        ev.FlowSeen(DPID, port, frame[:6] + (MAC + number).to_bytes(6) + frame[12:], UPLINK, 1)
    )


def test_new_addresses_on_a_link_are_destinations_at_once_and_seldom_make_a_plan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = switch()
    made: list[float] = []
    original = plan.make_plan

    def counted(state: State, device: Device) -> fx.DevicePlan:
        made.append(scenario.now)
        return original(state, device)

    monkeypatch.setattr(refresh, "make_plan", counted)
    for number in range(400):
        scenario.now += 1 / 400
        send(scenario, number)
        assert dict(scenario.plan.hosts)[MAC + number] == LINK
        if number % 40 == 0:
            scenario.do(ev.Poll())
    assert len(made) <= 1 / INTERVAL + 1
    assert len(made) >= 1 / INTERVAL - 1, "who is behind the link is found, too"


def test_an_address_that_moves_between_links_makes_a_plan_at_once() -> None:
    scenario = switch()
    send(scenario, 1)
    send(scenario, 2)
    waits = scenario.device.address_waits
    assert waits
    programmed = [effect for effect in send(scenario, 1, OTHER_LINK) if isinstance(effect, fx.Program)]
    assert programmed
    assert dict(scenario.plan.hosts)[MAC + 1] == OTHER_LINK
    scenario.now += INTERVAL
    scenario.do(ev.Poll())
    assert not scenario.device.address_waits
