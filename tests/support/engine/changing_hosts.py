"""Hosts whose ports, VMs, queues and policy change at random, as events: for properties of what is patched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from support.engine.scenario import small_policy
from support.engine.two_hosts import ABLE, ARP, LIMITED, RARP, A, B, udp

from flowlane.core import events as ev
from flowlane.core.model import (
    Admission,
    Capabilities,
    Hint,
    HintSource,
    PortFacts,
    PortReport,
    QueueFacts,
    QueueKind,
    Role,
)
from flowlane.core.policy import (
    DeviceRules,
    DeviceSelector,
    LimitScope,
    Match,
    Pins,
    Policy,
    PortSecurity,
    Rule,
    Share,
    TrafficClass,
    Trust,
    VmSelector,
)

VM_PORTS = (1, 2, 3, 12, 13)
"""On both sides of the uplink's number."""

UPLINK, PATCH = 9, 10
LEARNING = small_policy(pins=Pins(idle_timeout=10, which="worthy"))
HINTED = (
    Trust(VmSelector(), frozenset((HintSource.REST, HintSource.DSCP)), frozenset((1,)), dscp=((46, 1),)),
)
OF_DEVICES = (DeviceRules(DeviceSelector(), uplinks=("tap2",)),)
CLASS_WIDE = (
    TrafficClass("any", 0, rate_limit=9_000_000, limit_scope=LimitScope.CLASS),
    TrafficClass("heavy", 1, exclusive=True),
    TrafficClass("limited", 2, rate_limit=2_000_000, limit_scope=LimitScope.CLASS),
)
POLICIES: tuple[Policy, ...] = (
    LEARNING,
    small_policy(),
    replace(LEARNING, learn_after=3, track_above=0),
    replace(LEARNING, port_security=PortSecurity.STRICT),
    replace(LEARNING, rules=(Rule("named", 0, Match(vms=VmSelector(("vm1", "vm2"))), 1), *LEARNING.rules)),
    replace(LEARNING, trust=HINTED),
    replace(LEARNING, shares=(Share("a", VmSelector(("vm1",)), 2.0), Share("b", VmSelector(), 1.0))),
    replace(LEARNING, devices=OF_DEVICES),
    replace(LEARNING, classes=CLASS_WIDE),
    LIMITED,
)
IDENTITIES: tuple[dict[str, str], ...] = (
    *({"iface-id": f"vm{n}", "attached-mac": f"02:00:00:00:00:0{n}"} for n in range(1, 6)),
    {"iface-id": "vm1", "attached-mac": "02:00:00:00:00:02"},
    {"iface-id": "vm6", "attached-mac": "02:00:00:00:00:01"},
    {"iface-id": "vm7"},
    {"iface-id": "vm8", "vm-uuid": "u", "attached-mac": "02:00:00:00:00:08"},
    {"iface-id": "vm9", "vm-uuid": "u", "attached-mac": "02:00:00:00:00:09", "flowlane-class": "heavy"},
    {"iface-id": "vm1", "iface-status": "inactive"},
    {"iface-id": "vm2", "attached-mac": "02:00:00:00:00:02", "flowlane-port": "ignore"},
    {"iface-id": "vm10", "attached-mac": "02:00:00:00:00:aa"},
    {"vm-uuid": "u", "attached-mac": "02:00:00:00:00:01"},
    {"attached-mac": "02:00:00:00:00:07"},
    {"flowlane-port": "link"},
    {},
)
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"tag": 5},
    {"trunks": (5, 6)},
    {"port": "bond"},
    {"queues": {0: QueueFacts(), 1: QueueFacts()}},
)
FRAMES = (RARP, ARP, udp(), udp(mac=0x020000000002), udp(mac=0x0200000000AA), udp(mac=0x020000000003))
ROLES = (None, Role.NIC, Role.VSWITCH, Role.SWITCH)

_dpid, _port = st.sampled_from((A, A, A, B)), st.sampled_from(VM_PORTS)
_NAMED = 13
"""How many of the identities have an ``iface-id``; they come first."""


def _step(
    what: str, value: st.SearchStrategy[int], more: st.SearchStrategy[int] | None = None
) -> st.SearchStrategy[tuple[str, int, int, int, int]]:
    return st.tuples(st.just(what), _dpid, _port, value, st.just(0) if more is None else more)


_OF_VMS = st.one_of(
    _step("plug", st.integers(0, _NAMED - 1), st.integers(0, 3)),
    _step("describe", st.integers(0, _NAMED - 1)),
    _step("link", st.integers(0, 1)),
    _step("unplug", st.integers(0, 2)),
    _step("send", st.integers(0, len(FRAMES) - 1), st.integers(0, 1)),
    _step("catch up", st.just(0)),
).map(tuple)
_OTHERS = st.one_of(
    _step("plug", st.integers(_NAMED, len(IDENTITIES) - 1), st.integers(0, len(SETTINGS) - 1)),
    _step("plug", st.integers(0, _NAMED - 1), st.integers(0, len(SETTINGS) - 1)),
    _step("report", st.integers(0, 1)),
    _step("queues", st.integers(0, 2)),
    _step("policy", st.integers(0, len(POLICIES) - 1)),
    _step("hint", st.integers(1, 3)),
    _step("cordon", st.integers(0, 2), st.integers(0, 3)),
    _step("wait", st.sampled_from((1, 6, 40))),
    _step("role", st.integers(0, len(ROLES) - 1)),
    _step("patch", st.integers(0, 1)),
    _step("again", st.integers(0, 1)),
).map(tuple)
STEPS = st.lists(st.one_of(_OF_VMS, _OF_VMS.map(tuple), _OF_VMS.map(tuple), _OTHERS), max_size=30)
Step = tuple[str, int, int, int, int]


class ChangingHosts:
    """Two hosts with an uplink and VMs; makes the events of a step."""

    def __init__(self, normal: bool = True, named_role: bool = True, named_uplink: bool = True) -> None:
        self.now = 100.0
        self.caps: Capabilities = replace(ABLE, normal=normal)
        self.role = "nic" if named_role else None
        self.facts: dict[int, dict[int, PortFacts]] = {}
        self.reports: dict[int, dict[int, PortReport]] = {}
        self.queues: dict[int, dict[int, tuple[int, ...]]] = {}
        for dpid in (A, B):
            kinds = {n: QueueFacts(QueueKind.PHYSICAL) for n in range(4)}
            ids = {"flowlane-port": "uplink"} if named_uplink else {}
            self.facts[dpid] = {UPLINK: PortFacts("up", ids, queues=kinds)}
            self.reports[dpid] = {UPLINK: PortReport(UPLINK, "up")}
            self.queues[dpid] = {UPLINK: (0, 1, 2, 3)}

    def first(self) -> list[ev.Event]:
        """Return the events by which the hosts connect, each with a VM of its own."""
        for dpid in (A, B):
            self._plug(dpid, 3, {"iface-id": f"own{dpid}", "attached-mac": f"02:00:00:00:01:0{dpid}"}, {})
        return [event for dpid in (A, B) for event in (self._described(dpid), self._up(dpid))]

    def events(self, step: Step) -> list[ev.Event]:
        """Return the events of a step; none for a catch-up."""
        what, dpid, port, value, more = step
        self.now += 0.1
        made: list[ev.Event] = getattr(self, f"_on_{what.replace(' ', '_')}")(dpid, port, value, more)
        return made

    def _up(self, dpid: int) -> ev.Event:
        return ev.DeviceUp(dpid, self.caps, tuple(self.reports[dpid].values()), dict(self.queues[dpid]))

    def _described(self, dpid: int) -> ev.Event:
        return ev.DeviceDescribed(dpid, f"br-{dpid}", self.role, {}, "system", dict(self.facts[dpid]), "host")

    def _plug(self, dpid: int, port: int, ids: dict[str, str], settings: dict[str, Any]) -> None:
        members = (port,) if "port" in settings else ()
        self.facts[dpid][port] = PortFacts(f"tap{port}", ids, members=members, **settings)
        self.reports[dpid][port] = PortReport(port, f"tap{port}")

    def _on_plug(self, dpid: int, port: int, value: int, more: int) -> list[ev.Event]:
        self._plug(dpid, port, IDENTITIES[value], SETTINGS[more])
        return [self._described(dpid), ev.PortChanged(dpid, self.reports[dpid][port])]

    def _on_describe(self, dpid: int, port: int, value: int, _more: int) -> list[ev.Event]:
        self.facts[dpid][port] = PortFacts(f"tap{port}", IDENTITIES[value])
        return [self._described(dpid)]

    def _on_report(self, dpid: int, port: int, value: int, _more: int) -> list[ev.Event]:
        self.reports[dpid][port] = PortReport(port, f"tap{port}", up=bool(value))
        return [ev.PortChanged(dpid, self.reports[dpid][port])]

    def _on_link(self, dpid: int, port: int, value: int, more: int) -> list[ev.Event]:
        return self._on_report(dpid, port, value, more) if port in self.facts[dpid] else []

    def _on_unplug(self, dpid: int, port: int, value: int, _more: int) -> list[ev.Event]:
        made: list[ev.Event] = []
        if value != 1 and port in self.facts[dpid]:
            del self.facts[dpid][port]
            made.append(self._described(dpid))
        if value != 2 and port in self.reports[dpid]:
            del self.reports[dpid][port]
            self.queues[dpid].pop(port, None)
            made.append(ev.PortRemoved(dpid, port))
        return made

    def _on_queues(self, dpid: int, port: int, value: int, _more: int) -> list[ev.Event]:
        self.queues[dpid][port] = tuple(range(value))
        return [ev.QueuesReported(dpid, dict(self.queues[dpid]))]

    def _on_policy(self, _dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        return [ev.PolicyReplaced(POLICIES[value])]

    def _on_hint(self, _dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        return [ev.HintGiven(Hint(f"h{value}", f"vm{value}", "heavy", Match(), HintSource.REST))]

    def _on_cordon(self, dpid: int, _port: int, value: int, more: int) -> list[ev.Event]:
        return [ev.QueueCordoned(dpid, UPLINK, more, Admission(value))]

    def _on_send(self, dpid: int, port: int, value: int, more: int) -> list[ev.Event]:
        return [ev.FlowSeen(dpid, UPLINK if more else port, FRAMES[value], None if more else UPLINK, None)]

    def _on_wait(self, _dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        self.now += value
        return [ev.Tick()]

    def _on_role(self, dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        return [ev.RoleGiven(dpid, ROLES[value])]

    def _on_patch(self, _dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        """Connect the two bridges by patch ports, or no longer."""
        made: list[ev.Event] = []
        for dpid, other in ((A, B), (B, A)):
            self.facts[dpid].pop(PATCH, None)
            if value:
                options = {"peer": f"patch{other}"}
                self.facts[dpid][PATCH] = PortFacts(f"patch{dpid}", interface_type="patch", options=options)
                self.reports[dpid][PATCH] = PortReport(PATCH, f"patch{dpid}")
                made.append(ev.PortChanged(dpid, self.reports[dpid][PATCH]))
            elif PATCH in self.reports[dpid]:
                del self.reports[dpid][PATCH]
                made.append(ev.PortRemoved(dpid, PATCH))
            made.append(self._described(dpid))
        return made

    def _on_again(self, dpid: int, _port: int, value: int, _more: int) -> list[ev.Event]:
        return [ev.DeviceDown(dpid)] if value else [self._up(dpid)]

    def _on_catch_up(self, _dpid: int, _port: int, _value: int, _more: int) -> list[ev.Event]:
        return []
