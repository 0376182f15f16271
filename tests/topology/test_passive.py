"""Passive switches of network files, and the controller that gets them."""

from __future__ import annotations

from pathlib import Path

from support.engine.scenario import small_policy

from flowlane.core.device.passive import dpid_of
from flowlane.core.engine import Engine
from flowlane.core.events import PolicyReplaced
from flowlane.core.model import Queue
from flowlane.core.policy import Behind, PassivePort, PassiveSwitch, QueuesBy
from flowlane.topology.passive import passive_switches

FOLDER = Path(__file__).parents[2] / "topologies"
TOR = PassiveSwitch(
    "tor",
    QueuesBy.DSCP,
    (PassivePort("far0", tuple(Queue(number, min_rate=5_000_000) for number in range(4)), 100_000_000),),
    (Behind("nic0", "pf0"),),
    ((0, 0), (8, 1), (16, 2), (24, 3)),
)


def test_the_network_with_one() -> None:
    assert passive_switches(FOLDER / "passive-switch.yaml") == (TOR,)


def test_no_other_network_has_any() -> None:
    others = [path for path in FOLDER.glob("*.yaml") if path.stem != "passive-switch"]
    assert others
    assert all(passive_switches(path) == () for path in others)


def test_one_of_the_policy_takes_the_place_of_one_with_its_name() -> None:
    engine = Engine(small_policy(), (TOR,))
    assert set(engine.devices[dpid_of("tor")].ports[1].queues) == {0, 1, 2, 3}
    other = PassiveSwitch("tor", QueuesBy.PCP, (PassivePort("far0", (Queue(0),)),), TOR.behind)
    engine.step(PolicyReplaced(small_policy(passive_switches=(other,))), 1.0)
    assert engine.devices[dpid_of("tor")].declared == other
    engine.step(PolicyReplaced(small_policy()), 2.0)
    assert engine.devices[dpid_of("tor")].declared == TOR
