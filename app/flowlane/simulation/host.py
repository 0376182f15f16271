"""Description of a simulated host: its VMs, the queues of its uplink, and what its switch can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flowlane.core.model import Capabilities, PortFacts, QueueFacts, QueueKind
from flowlane.simulation.shaping import Rates

DPID = 1
UPLINK = 0xFFFF_0000
"""Port number of the uplink: above those of any number of VMs, below OpenFlow's reserved ones."""

CAPABILITIES = Capabilities(
    version=6,
    max_meters=200_000,
    meter_burst=True,
    select_groups=True,
    max_groups=1 << 16,
    normal=True,
    learn=True,
    conntrack=True,
    port_masks=True,
    controller_meter=True,
)
"""Those of Open vSwitch's kernel datapath (measured on 3.1 with Linux 6.12)."""


@dataclass(frozen=True, slots=True)
class Host:
    """A simulated host: names of its VMs, queues of its uplink, capacity of the uplink in bit/s.

    ``max_rates`` and ``min_rates`` are those of the queues in OVSDB, in bit/s, by queue id; None or missing: not set.
    """

    vms: tuple[str, ...]
    queues: int = 4
    software_queues: int = 0
    rate: int = 10_000_000_000
    max_rates: tuple[int | None, ...] = ()
    min_rates: tuple[int | None, ...] = ()

    @property
    def rates(self) -> list[Rates]:
        """Rates of each queue, in the order of their ids."""
        count = self.queues + self.software_queues
        return [Rates(_at(self.min_rates, number), _at(self.max_rates, number)) for number in range(count)]

    def ports(self) -> dict[int, PortFacts]:
        """Return the ports as OVSDB describes them: the VMs' from 1 on, and the uplink."""
        facts = {number: PortFacts(vm, {"iface-id": vm}) for vm, number in self.numbers().items()}
        queues = {
            number: QueueFacts(
                QueueKind.PHYSICAL if number < self.queues else QueueKind.SOFTWARE,
                rates.lowest,
                rates.highest,
            )
            for number, rates in enumerate(self.rates)
        }
        uplink = {"flowlane-port": "uplink"}
        facts[UPLINK] = PortFacts("uplink", uplink, queues=queues, qos_max_rate=self.rate)
        return facts

    def numbers(self) -> Mapping[str, int]:
        """Return VM -> port number."""
        return {vm: number for number, vm in enumerate(self.vms, start=1)}


def _at(rates: tuple[int | None, ...], number: int) -> int | None:
    return rates[number] if number < len(rates) else None
