"""What is asked of a device when it connects, and what its answers make of it. No connection here.

A device may refuse any of the questions, or never answer: that is information (it has no meters, say), and no
reason to do without it. What it can do is found by asking and by trying, never by its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from flowlane.core.events import DeviceUp
from flowlane.core.model import Capabilities
from flowlane.southbound.openflow.session import decode, readback, requests
from flowlane.southbound.openflow.session.requests import Answer
from flowlane.southbound.openflow.tables import pipeline
from flowlane.southbound.openflow.tables.desired import (
    ENTRIES_BESIDE_PINS,
    controller_meter,
    learn_probe,
    port_mask_probe,
)
from flowlane.southbound.openflow.tables.entries import (
    Change,
    FlowEntry,
    Meter,
    MeterEntry,
    Op,
    Standing,
    UseGroup,
    WriteMetadata,
)
from flowlane.southbound.openflow.tables.pipeline import Priority, TableId
from flowlane.southbound.openflow.tables.young import track_probe
from flowlane.southbound.openflow.wire import fields
from flowlane.southbound.openflow.wire.constants import CONTROLLER_METER

QUESTIONS: Mapping[str, Callable[[Any], Any]] = {
    "ports": requests.ports_request,
    "queues": requests.queues_request,
    "meter features": requests.meter_features_request,
    "group features": requests.group_features_request,
    "table features": requests.table_features_request,
    "description": requests.description_request,
    "flows": requests.flows_request,
    "groups": requests.groups_request,
    "meters": requests.meters_request,
}
"""Name of a question -> the message that asks it."""

PROBE_COPY_RATE = 1000
"""Packets/s of the meter that is tried; the policy's default, so that it mostly stays as it is."""

METER_PROBE = Change(Op.ADD, controller_meter(PROBE_COPY_RATE))
MASK_PROBE = Change(Op.ADD, port_mask_probe())
LEARN_PROBE = Change(Op.ADD, learn_probe())
TRACK_PROBE = Change(Op.ADD, track_probe())
PROBES = (METER_PROBE, MASK_PROBE, LEARN_PROBE, TRACK_PROBE)
"""What is tried on the device, with a barrier behind: no error means that it can."""

_EXISTS = "OFPMMFC_METER_EXISTS"


class Greeting(NamedTuple):
    """A device as it introduced itself.

    ``present`` are our entries that stand there from before, ``pin_meters`` the meters that pins use. Other
    groups and meters are left alone: nothing says that they are ours. ``refused`` are the questions that got
    no answer, and why.
    """

    up: DeviceUp
    present: Standing
    pin_meters: Mapping[int, MeterEntry]
    refused: Mapping[str, str]


def greet(
    dpid: int, version: int, peer: str, answers: Mapping[str, Answer], refused_probes: Mapping[Change, str]
) -> Greeting:
    """Make of all answers what the engine needs to know of a device, and what stands there of ours.

    Args:
        version: the OpenFlow version on the wire.
        refused_probes: those of :data:`PROBES` that the device refused, and why.
    """
    parts = {name: answers.get(name, Answer()).parts for name in QUESTIONS}
    up = DeviceUp(
        dpid,
        capabilities(version, parts, refused_probes),
        decode.ports(parts["ports"]),
        decode.queues(parts["queues"]),
        readback.found_pins(parts["flows"]),
        peer,
        tuple(_hosts(readback.flow_entries(parts["flows"]))),
        readback.learned(parts["flows"]),
    )
    present, pin_meters = _ours(parts)
    if METER_PROBE not in refused_probes:
        kept = tuple(meter for meter in present.meters if meter.meter_id != CONTROLLER_METER)
        present = Standing(present.flows, present.groups, (*kept, controller_meter(PROBE_COPY_RATE)))
    refused = {name: answer.refused for name, answer in answers.items() if answer.refused}
    return Greeting(up, present, pin_meters, refused)


def capabilities(
    version: int, parts: Mapping[str, tuple[Any, ...]], refused_probes: Mapping[Change, str]
) -> Capabilities:
    """What the device can do, by its answers and by what it did not refuse."""
    meters = decode.meter_abilities(parts["meter features"])
    groups = decode.group_abilities(parts["group features"])
    sizes = decode.table_sizes(parts["table features"])
    return Capabilities(
        version=version,
        max_meters=meters.max_meters,
        meter_bands=meters.meter_bands,
        meter_burst=meters.meter_burst,
        meter_kbps=meters.meter_kbps,
        select_groups=groups.select_groups,
        max_groups=groups.max_groups,
        tables=len(sizes) or 254,
        controller_meter=refused_probes.get(METER_PROBE, _EXISTS) == _EXISTS,
        port_masks=MASK_PROBE not in refused_probes,
        learn=LEARN_PROBE not in refused_probes,
        conntrack=TRACK_PROBE not in refused_probes,
        description=_description(parts["description"]),
        pin_room=_pin_room(sizes.get(TableId.ASSIGN, 0)),
    )


def _pin_room(size: int) -> int | None:
    """Count the pins that a table of so many entries takes beside our own; None for a size of 0, which is unknown."""
    return max(size - ENTRIES_BESIDE_PINS, 0) if size else None


def _description(parts: tuple[Any, ...]) -> str:
    """Maker, hardware and software of a device in one line; at most 256 bytes each on the wire (7.3.5.1)."""
    for body in (getattr(part, "body", None) for part in parts):
        words = (getattr(body, name, b"") for name in ("mfr_desc", "hw_desc", "sw_desc"))
        texts = (word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in words)
        return ", ".join(text for text in texts if text and text != "None")
    return ""


def _hosts(entries: Iterable[FlowEntry]) -> Iterator[tuple[int, int]]:
    """Destinations that a former run had learnt: forgotten, they would be flooded to until they speak."""
    for entry in entries:
        if entry.table_id == TableId.FORWARD and entry.priority == Priority.HOST:
            mac = fields.values(entry.match).get("eth_dst")
            for step in entry.steps:
                if mac is not None and isinstance(step, WriteMetadata):
                    yield mac, pipeline.egress_of(step.value)


def _ours(parts: Mapping[str, tuple[Any, ...]]) -> tuple[Standing, dict[int, MeterEntry]]:
    """What stands there of ours. Groups and meters carry no owner: ours are those that our entries use."""
    found = readback.standing(parts["flows"], parts["groups"], parts["meters"])
    steps = {step for flow in found.flows for step in flow.steps}
    present = Standing(
        found.flows,
        tuple(group for group in found.groups if UseGroup(group.group_id) in steps),
        tuple(
            meter
            for meter in found.meters
            if Meter(meter.meter_id) in steps or meter.meter_id == CONTROLLER_METER
        ),
    )
    in_pins = {pin.meter_id for pin in readback.found_pins(parts["flows"])}
    there = {meter.meter_id: meter for meter in readback.meters(parts["meters"])}
    return present, {number: meter for number, meter in there.items() if number in in_pins}
