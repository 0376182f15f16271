"""M13: a flow that crosses several devices is assigned on each of them by itself."""

from support.engine.example_policies import policy

from flowlane.core import events as ev
from flowlane.core.engine import Engine
from flowlane.core.model import NO_QUEUE, PortFacts, PortReport, QueueFacts, Reason
from flowlane.simulation.flowspec import FlowSpec, frame_of
from flowlane.simulation.host import CAPABILITIES

NIC, TOR, OFFLOAD = 1, 2, 3
UPLINK, LINK = 50, 1
MBIT = 1_000_000


def engine_with_devices() -> Engine:
    """A VM on the NIC, whose frames also cross a top-of-rack switch; the same VM's port on a bridge that offloads."""
    engine = Engine(policy("m13"))
    for dpid, name, role, queues in (
        (NIC, "br-nic", "nic", 4),
        (TOR, "tor-1", "switch", 2),
        (OFFLOAD, "br-offload", "nic", 4),
    ):
        kind = "link" if dpid == TOR else "vm"
        ids = {"flowlane-port": kind}
        if kind == "vm":
            ids["iface-id"] = f"vm-{dpid}"
            ids["attached-mac"] = f"02:00:00:00:00:0{dpid}"
        facts = {
            LINK: PortFacts("in", ids),
            UPLINK: PortFacts(
                "up",
                {"flowlane-port": "uplink"},
                queues={n: QueueFacts() for n in range(queues)},
                qos_max_rate=10**9,
            ),
        }
        engine.step_and_catch_up(ev.DeviceDescribed(dpid, name, role, {}, "", facts), 0.0)
        ports = (PortReport(LINK, "in"), PortReport(UPLINK, "up"))
        engine.step_and_catch_up(ev.DeviceUp(dpid, CAPABILITIES, ports, {UPLINK: tuple(range(queues))}), 0.0)
    return engine


def send(
    engine: Engine,
    dpid: int,
    number: int,
    rate: int,
    octets: dict[tuple[int, int], int],
    sender: int | None = None,
) -> None:
    """One flow of the VM crosses a device: its first packet, later its counters."""
    flow = FlowSpec("vm", 4, 6, bytes((10, 0, 0, 1)), bytes((192, 0, 2, 1)), 1000 + number, 5001, rate)
    data = bytearray(frame_of(flow, LINK))
    data[6:12] = bytes((2, 0, 0, 0, 0, sender or dpid))
    engine.step(ev.FlowSeen(dpid, LINK, bytes(data), UPLINK), engine.state.now)


def run(
    engine: Engine, dpids: tuple[int, ...], rates: list[int], seconds: int = 20
) -> dict[tuple[int, int], int]:
    octets = dict.fromkeys([(dpid, n) for dpid in dpids for n in range(len(rates))], 0)
    rows = {}
    for dpid in dpids:
        for number, rate in enumerate(rates):
            before = set(engine.devices[dpid].flows)
            send(engine, dpid, number, rate, octets, sender=NIC if dpid == TOR else None)
            (rows[dpid, number],) = set(engine.devices[dpid].flows) - before
    for second in range(1, seconds + 1):
        for dpid in dpids:
            counters = []
            for number, rate in enumerate(rates):
                octets[dpid, number] += rate // 8
                row = rows[dpid, number]
                counters.append((row, engine.devices[dpid].flows.generation[row], 0, octets[dpid, number]))
            engine.step(ev.PinCounters(dpid, tuple(counters)), float(second))
        engine.step(ev.Tick(), float(second))
    return rows


def test_one_flow_is_exclusive_on_one_device_shares_on_the_next_and_has_no_queue_on_a_third() -> None:
    engine = engine_with_devices()
    rates = [300 * MBIT, 250 * MBIT, *[MBIT] * 10]
    rows = run(engine, (NIC, TOR, OFFLOAD), rates)
    nic, tor, offload = (engine.devices[dpid].flows for dpid in (NIC, TOR, OFFLOAD))
    heavy = rows[NIC, 0]
    assert nic.reason[heavy] == Reason.EXCLUSIVE
    assert [row for row in nic if nic.queue_id[row] == nic.queue_id[heavy]] == [heavy]
    on_tor = rows[TOR, 0]
    assert tor.queue_id[on_tor] in (0, 1)
    assert len({tor.queue_id[row] for row in tor}) == 2
    assert sum(tor.queue_id[row] == tor.queue_id[on_tor] for row in tor) > 1, "merged with others at the next"
    third = rows[OFFLOAD, 0]
    assert (offload.queue_id[third], offload.reason[third]) == (NO_QUEUE, Reason.METER_ONLY)
    meters = [engine.devices[dpid].meters for dpid in (NIC, OFFLOAD)]
    flows = ((nic, heavy), (offload, third))
    assert [pool[table.meter_id[row]].rate for pool, (table, row) in zip(meters, flows, strict=True)] == [
        2000 * MBIT
    ] * 2
    assert tor.meter_id[on_tor] == 0, "its limit is enforced once: on the device of its VM"


def test_what_happens_on_one_device_does_not_touch_the_others() -> None:
    engine = engine_with_devices()
    run(engine, (NIC, TOR), [MBIT] * 8)
    before = list(engine.devices[TOR].flows.queue_id)
    effects = engine.step_and_catch_up(ev.QueuesReported(NIC, {UPLINK: (0,)}), 21.0)
    assert {effect.dpid for effect in effects if hasattr(effect, "dpid")} == {NIC}
    assert list(engine.devices[TOR].flows.queue_id) == before
