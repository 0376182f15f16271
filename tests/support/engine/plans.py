"""Plans, flow keys and entries to draw tests from."""

from __future__ import annotations

from hypothesis import strategies as st

from flowlane.core import flowkey
from flowlane.core.effects import DevicePlan, PinFlow, PlannedPort, StandingMatch, StandingRule
from flowlane.core.flowkey import FlowParts
from flowlane.core.model import Capabilities, MeterSpec, PinRef, PortRole

VM, OTHER_VM, UPLINK = 1, 2, 3
VM_NUMBER, OTHER_VM_NUMBER = 77, 88
VM_MAC, OTHER_VM_MAC, FAR_MAC = 0x0A0000000001, 0x0A0000000002, 0x0A00000000FE
PORTS: dict[int, tuple[int, ...]] = {VM: (), OTHER_VM: (), UPLINK: (0, 1, 2, 3)}
ABLE = Capabilities(
    max_meters=100,
    meter_burst=True,
    select_groups=True,
    max_groups=100,
    controller_meter=True,
    port_masks=True,
)

WEB = StandingRule(
    10, StandingMatch(ip_proto=flowkey.TCP, dst_ports=((80, 90),)), UPLINK, "web", ((1, 1), (2, 3))
)
VOICE = StandingRule(20, StandingMatch(dscp=46), UPLINK, "voice", ((3, 1),), meter_id=9)
REST = StandingRule(0, StandingMatch(), UPLINK, "rest", ((0, 1),))


def plan(*rules: StandingRule, **changes: object) -> DevicePlan:
    """Two VMs, one with a known address, and an uplink behind which everything else is."""
    whole: dict[str, object] = {
        "dpid": 1,
        "ports": (
            PlannedPort(VM, PortRole.VM, VM_NUMBER, (VM_MAC,)),
            PlannedPort(OTHER_VM, PortRole.VM, OTHER_VM_NUMBER),
            PlannedPort(UPLINK, PortRole.UPLINK, 0),
        ),
        "hosts": ((VM_MAC, VM), (OTHER_VM_MAC, OTHER_VM)),
        "unknown_port": UPLINK,
        "rules": rules or (WEB, VOICE, REST),
        "meters": (MeterSpec(9, 5_000_000, 400_000),),
    }
    return DevicePlan(**{**whole, **changes})  # type: ignore[arg-type]


def _octets(count: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=count, max_size=count)


_U8, _U16, _U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
VLANS = st.none() | st.integers(0, 0xFFF)
_WITH_PORTS = (flowkey.TCP, flowkey.UDP, flowkey.SCTP)


def _ip(kind: int, length: int, icmp: int) -> st.SearchStrategy[FlowParts]:
    def of(protocols: st.SearchStrategy[int], ports: st.SearchStrategy[int]) -> st.SearchStrategy[FlowParts]:
        addresses = _octets(length)
        return st.builds(FlowParts, _U32, VLANS, st.just(kind), protocols, ports, ports, addresses, addresses)

    known = {*_WITH_PORTS, flowkey.ICMP, flowkey.ICMPV6}
    return (
        of(st.sampled_from(_WITH_PORTS), _U16)
        | of(st.just(icmp), _U8)
        | of(st.integers(0, 255).filter(lambda protocol: protocol not in known), st.just(0))
    )


KEYS: st.SearchStrategy[bytes] = st.builds(
    flowkey.pack,
    _ip(flowkey.IPV4, 4, flowkey.ICMP)
    | _ip(flowkey.IPV6, 16, flowkey.ICMPV6)
    | st.builds(
        FlowParts,
        _U32,
        VLANS,
        st.just(flowkey.LAYER2),
        st.just(0),
        _U16,
        st.just(0),
        _octets(6),
        _octets(6),
    ),
)
"""Any flow key that a frame can have (see :mod:`flowlane.core.frame`)."""

PINS: st.SearchStrategy[PinFlow] = st.builds(
    PinFlow,
    dpid=st.just(1),
    ref=st.builds(PinRef, _U32, st.integers(0, 0xFFF)),
    key=KEYS,
    in_port=st.integers(1, 0xFFFFFF00),
    egress_port=st.integers(1, 0xFFFFFF00),
    queue_id=st.integers(-1, 1000),
    meter_id=st.integers(0, 1000),
    idle_timeout=st.integers(1, 0xFFFF),
)


def pin(**changes: object) -> PinFlow:
    """A pin of a TCP flow of the VM with the known address, to the uplink."""
    key = flowkey.pack(
        FlowParts(
            VM_NUMBER, None, flowkey.IPV4, flowkey.TCP, 40000, 443, bytes((10, 0, 0, 1)), bytes((10, 0, 0, 9))
        )
    )
    base = PinFlow(1, PinRef(5, 3), key, VM, UPLINK, 2, 9, 10)
    return base._replace(**changes)  # type: ignore[arg-type]
