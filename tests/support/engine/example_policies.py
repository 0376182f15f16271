"""Example policies on simulated hosts: flows given in a few words, and what came of them."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from flowlane import policy as policies
from flowlane.core import explain
from flowlane.core.flowkey import IPV4, TCP, UDP
from flowlane.core.model import MeterSpec, QueueKind
from flowlane.core.policy import Policy
from flowlane.core.state.device import Port
from flowlane.simulation.flowspec import FlowSpec
from flowlane.simulation.host import UPLINK, Host
from flowlane.simulation.world import World

POLICIES = Path(__file__).parents[3] / "docs" / "policies"
PROTOCOLS = {"tcp": TCP, "udp": UDP}


def policy(name: str) -> Policy:
    """The example policy of a requirement, such as ``m06``, or the policy of that name, such as ``demo``."""
    whole = POLICIES / f"{name}.yaml"
    return policies.load_file(whole if whole.exists() else next(POLICIES.glob(f"{name}-*.yaml")))


def spec(vm: str, number: int, port: int, rate: float, protocol: str = "tcp", **more: Any) -> FlowSpec:
    """A flow from a VM; ``number`` makes it different from others of the same kind."""
    ends = ip_address("10.0.0.1").packed, ip_address("192.0.2.1").packed
    return FlowSpec(vm, IPV4, PROTOCOLS[protocol], *ends, 10_000 + number, port, rate, **more)


class Tried:
    """A host under a policy. Flows are known by the numbers that :meth:`begin` gives."""

    def __init__(
        self, name: str, vms: list[str], queues: int = 4, software: int = 0, rate: int = 10_000_000_000
    ) -> None:
        self.world = World(policy(name), Host(tuple(vms), queues, software, rate))
        self.next = 0

    def begin(self, *specs: FlowSpec) -> list[int]:
        numbers = list(range(self.next, self.next + len(specs)))
        self.next += len(specs)
        for number, one in zip(numbers, specs, strict=True):
            self.world.begin(number, one)
        return numbers

    def end(self, numbers: list[int]) -> None:
        for number in numbers:
            self.world.end(number)

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.second()

    def set_rate(self, numbers: list[int], rate: float) -> None:
        for number in numbers:
            self.world.set_rate(number, rate)

    def row(self, number: int) -> int:
        row = self.world.row(number)
        assert row is not None, "the engine does not have the flow"
        return row

    def queue(self, number: int) -> int:
        return self.world.device.flows.queue_id[self.row(number)]

    def queues(self, numbers: list[int]) -> set[int]:
        return {self.queue(number) for number in numbers}

    def kind(self, number: int) -> QueueKind:
        return QueueKind(self.world.device.flows.kind[self.row(number)])

    def class_of(self, number: int) -> str:
        device = self.world.device
        return device.policy.classes[device.flows.class_index[self.row(number)]].name

    def meter(self, number: int) -> MeterSpec | None:
        device = self.world.device
        return device.meters.get(device.flows.meter_id[self.row(number)])

    def explain(self, number: int) -> explain.Explanation:
        return explain.explain(self.world.engine.state, self.world.device, self.row(number))

    @property
    def uplink(self) -> Port:
        return self.world.device.ports[UPLINK]
