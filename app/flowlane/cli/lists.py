"""Commands that list what a controller has: ``flowlane databases``, ``devices``, ``queues``, ``vms`` and so on.

Each is a :class:`flowlane.cli.list_command.ListCommand`: a REST path, columns, and filters, which are the options of
the command and the query parameters of REST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowlane.cli import pin
from flowlane.cli.client import Answer, Client, RefusedError, get, pages
from flowlane.cli.list_command import ListCommand
from flowlane.cli.output import unique_names
from flowlane.cli.tables import Column, age, flow_text, rate, seconds_since, text
from flowlane.closest import did_you_mean
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BAR = 10
"""Cells of the bar that shows a queue's load."""


def find_devices(client: Client, path: str, name: str | None) -> list[Answer]:
    """Read the devices, or the one of that name or dpid.

    Raises:
        RefusedError: there is no such device.
    """
    devices = pages(client, path, {}, None)["items"]
    chosen = [item for item in devices if name in (None, item["name"]) or name.lower() == item["dpid"]]
    if name is not None and not chosen:
        names = [item["name"] or item["dpid"] for item in devices]
        raise RefusedError(f"there is no device {name!r}; {did_you_mean(name, names)}", 404)
    return chosen


def _read_ports(client: Client, path: str, query: Mapping[str, Any], _at_most: int | None) -> Answer:
    """Read the ports of all devices, or of the one that the query names; each with its device's name."""
    devices = find_devices(client, path, query.get("device"))
    items = [
        Answer(
            port,
            device=device["dpid"],
            device_name=device["name"],
            ambiguous=_ambiguity(device, port["name"]),
        )
        for device in devices
        for port in device["ports"]
    ]
    return Answer(items=items, next=None)


def _ambiguity(device: Answer, port: str) -> str | None:
    """Say why the role of a port is a guess; None when it is none."""
    return next((item["why"] for item in device["ambiguous"] if port in item["ports"]), None)


def _read_queues(client: Client, path: str, query: Mapping[str, Any], _at_most: int | None) -> Answer:
    """Read the queues of all devices, or of the one that the query names: REST has them by device."""
    chosen = find_devices(client, path, query.get("device"))
    port = {"port": query["port"]} if "port" in query else {}
    if port:
        chosen = _devices_with_port(chosen, query["port"])
    items: list[Answer] = []
    refusals: list[RefusedError] = []
    for device in chosen:
        try:
            queues = get(client, f"{path}/{device['dpid']}/queues", port)["items"]
            items += [Answer(queue, device_name=device["name"]) for queue in queues]
        except RefusedError as error:
            refusals.append(error)
    if refusals and len(refusals) == len(chosen):
        raise refusals[0]
    return Answer(items=items, next=None)


def _devices_with_port(devices: Sequence[Answer], name: str) -> list[Answer]:
    """Select the devices that have a port, by its name or number.

    Raises:
        RefusedError: no device has it.
    """
    selected = [device for device in devices if any(name in _names_of(port) for port in device["ports"])]
    if not selected:
        names = [port["name"] for device in devices for port in device["ports"]]
        raise RefusedError(f"there is no port {name!r}; {did_you_mean(name, names)}", 404)
    return selected


def _names_of(port: Answer) -> tuple[str, ...]:
    """List by what a port may be called: its name, its number, the name of its bond."""
    bond = (port["bond"]["name"],) if port["bond"] else ()
    return port["name"], str(port["port_no"]), *bond


def _field(name: str) -> Callable[[Answer], float | None]:
    """Make a reader of a number, or of null."""
    return lambda item: item[name]


def _age(name: str) -> Callable[[Answer], float | None]:
    """Make a reader of the seconds since a moment."""
    return lambda item: seconds_since(item[name])


def _leads(item: Answer) -> float:
    """Count the devices that a controller leads."""
    return len(item["devices"])


def _load_part(item: Answer) -> float | None:
    """Return load over the queue's maximum rate; None where that rate is not known."""
    return float(item["load"]) / float(item["max_rate"]) if item["max_rate"] else None


def _load_bar(item: Answer) -> str:
    """Draw load over the queue's maximum rate; a dash where that rate is not known."""
    part = _load_part(item)
    if part is None:
        return "-"
    cells = round(min(part, 1.0) * BAR)
    return "█" * cells + "░" * (BAR - cells)


def _state(item: Answer) -> str:
    if item["declared"]:
        return "declared"
    if item["waits_for"]:
        return f"waiting for its {item['waits_for']}"
    return "up" if item["connected"] else "down"


def _free_queues(kind: str) -> Callable[[Answer], str]:
    """Make a column's text: free queues of all of a kind, such as ``2/4``."""
    return lambda item: f"{item['queues'][kind]['free']}/{item['queues'][kind]['total']}"


def _problems(item: Answer) -> str:
    refused, sharing = sum(item["refusals"].values()), len(item["dpid_shared_by"])
    guessed = sum(len(ambiguity["ports"]) for ambiguity in item["ambiguous"])
    parts = [
        "unusable" if item["unusable"] else "",
        f"dpid of {counted(sharing, 'switch', 'switches')}" if sharing else "",
        f"{refused} refused" if refused else "",
        f"{len(item['left_out'])} left out" if item["left_out"] else "",
        counted(len(item["conflicts"]), "conflict") if item["conflicts"] else "",
        f"{counted(len(item['vms_in_conflict']), 'VM')} in conflict" if item["vms_in_conflict"] else "",
        f"{counted(guessed, 'role')} guessed" if guessed else "",
    ]
    return ", ".join(part for part in parts if part) or "-"


def _link(item: Answer) -> str:
    return "-" if item["up"] is None else "up" if item["up"] else "down"


def _bond(item: Answer) -> str:
    return f"{item['bond']['name']} ({item['bond']['mode']})" if item["bond"] else "-"


def _vlan(item: Answer) -> str:
    """Write a port's VLANs: ``access 100``, ``trunk 100,200``; a dash for all."""
    vlan = item["vlan"]
    if vlan is None or (vlan["tag"] is None and not vlan["trunks"]):
        return "-"
    tag = [str(vlan["tag"])] if vlan["tag"] is not None else []
    trunks = [",".join(map(str, vlan["trunks"]))] if vlan["trunks"] else []
    return " ".join((vlan["mode"], *tag, *trunks))


def _role_reason(item: Answer) -> str:
    return (
        f"{item['role_reason']} (a guess: {item['ambiguous']})" if item["ambiguous"] else item["role_reason"]
    )


def _queue_by_port(item: Answer) -> str:
    """Write where each device has a flow: ``uplink:3`` for queue 3 of that port."""
    return " ".join(f"{place['port']}:{text(place['queue_id'])}" for place in item["assignments"])


def _hint(item: Answer) -> str:
    return f"{item['hint']['class']} ({item['hint']['source']})" if item["hint"] else "-"


def _meter(item: Answer) -> str:
    return f"{item['meter']['id']} ({rate(item['meter']['rate'])})" if item["meter"] else "-"


def _database_problems(item: Answer) -> str:
    conflicts = [f"{it['device']} is described by {it['described_by']} first" for it in item["conflicts"]]
    ignored = [f"{counted(len(item['ignored']), 'value')} ignored"] if item["ignored"] else []
    return "; ".join([*([item["problem"]] if item["problem"] else []), *conflicts, *ignored]) or "-"


def _admission(item: Answer) -> str:
    """Write which flows a queue takes: how many a drain has left, and whether no other queue of its port takes any."""
    draining = f"draining {item['flows']}/{item['cordoned_flows']}"
    is_open = "open" if item["other_open_queues"] else "open, last"
    return str({"draining": draining, "open": is_open}.get(item["admission"], item["admission"]))


def _named(identity: str) -> Callable[[Sequence[Answer]], list[str]]:
    """Make a reader of the names of items, or of this field where a name is missing or not unique."""
    return lambda items: unique_names(items, lambda item: item["name"], lambda item: str(item[identity]))


def _all_of(field: str) -> Callable[[Sequence[Answer]], list[str]]:
    """Make a reader of a field that names the items by itself."""
    return lambda items: [str(item[field]) for item in items]


def _numbered(field: str) -> Callable[[Sequence[Answer]], list[str]]:
    """Make a reader of a field that names the items of one device."""
    return lambda items: [f"{item['device_name'] or item['device']}/{item[field]}" for item in items]


def _port_names(items: Sequence[Answer]) -> list[str]:
    return [f"{item['device_name'] or item['device']}/{item['name']}" for item in items]


def _queue_names(items: Sequence[Answer]) -> list[str]:
    return [f"{item['device_name'] or item['device']}/{item['port']}/{item['queue_id']}" for item in items]


def _buckets(item: Answer) -> str:
    """Write the queues of a group, with their weights."""
    return " ".join(f"{text(bucket['queue_id'])}:{bucket['weight']}" for bucket in item["buckets"])


DATABASES = ListCommand(
    "/v1/databases",
    (
        Column("NAME", lambda item: item["name"]),
        Column("HOST", lambda item: text(item["hostname"] or item["system_id"]), 3),
        Column("TARGET", lambda item: text(item["target"]), 4),
        Column("STATE", lambda item: item["state"]),
        Column("SINCE", lambda item: age(item["since"]), 2, amount=_age("since")),
        Column("OVS", lambda item: text(item["ovs_version"]), 6),
        Column("BRIDGES", lambda item: str(item["bridges"]), 5, right=True, amount=_field("bridges")),
        Column("PROBLEMS", _database_problems, 1),
    ),
    names=_all_of("name"),
)

MEMBERS = ListCommand(
    "/v1/members",
    (
        Column("NAME", lambda item: f"{item['name']}{' *' if item['is_own'] else ''}"),
        Column("REST", lambda item: text(item["url"]), 3),
        Column("VERSION", lambda item: item["version"], 5),
        Column("UP", lambda item: age(item["started"]), 4, amount=_age("started")),
        Column("BEAT", lambda item: f"{item['age']:.1f} s", 2, right=True, amount=_field("age")),
        Column("CONNECTED", lambda item: str(item["connected"]), 1, right=True, amount=_field("connected")),
        Column("LEADS", lambda item: str(len(item["devices"])), right=True, amount=_leads),
    ),
    names=_all_of("name"),
)

DEVICES = ListCommand(
    "/v1/devices",
    (
        Column("DPID", lambda item: item["dpid"]),
        Column("NAME", lambda item: text(item["name"])),
        Column("ROLE", lambda item: item["role"], 2),
        Column("STATE", _state),
        Column("SINCE", lambda item: age(item["since"]), 5, amount=_age("since")),
        Column("OPENFLOW", lambda item: item["version"], 6),
        Column("FORWARDING", lambda item: item["forwarding"], 7),
        Column(
            "PORTS",
            lambda item: str(len(item["ports"])),
            6,
            right=True,
            amount=lambda item: len(item["ports"]),
        ),
        Column(
            "FREE PHYS",
            _free_queues("physical"),
            2,
            right=True,
            amount=lambda item: float(item["queues"]["physical"]["free"]),
        ),
        Column(
            "FREE SOFT",
            _free_queues("software"),
            3,
            right=True,
            amount=lambda item: float(item["queues"]["software"]["free"]),
        ),
        Column("FLOWS", lambda item: str(item["flows"]), 1, right=True, amount=_field("flows")),
        Column("PINNED", lambda item: str(item["pinned"]), 4, right=True, amount=_field("pinned")),
        Column(
            "METERS",
            lambda item: f"{item['meters']}/{item['capabilities']['max_meters']}",
            4,
            right=True,
            amount=_field("meters"),
        ),
        Column("PROBLEMS", _problems, 3),
    ),
    names=_named("dpid"),
)

PORTS = ListCommand(
    "/v1/devices",
    (
        Column("DEVICE", lambda item: text(item["device_name"]), 2),
        Column("PORT", lambda item: item["name"]),
        Column("NUMBER", lambda item: str(item["port_no"]), 6, right=True),
        Column("ROLE", lambda item: item["role"]),
        Column("LINK", _link, 3),
        Column("RATE", lambda item: rate(item["rate"]), 4, right=True, amount=_field("rate")),
        Column(
            "QUEUES",
            lambda item: str(len(item["queues"])),
            3,
            right=True,
            amount=lambda item: len(item["queues"]),
        ),
        Column("BOND", _bond, 5),
        Column("VLAN", _vlan, 5),
        Column("WHY", _role_reason, 1),
    ),
    names=_port_names,
    filters=("device",),
    read=_read_ports,
    paged=False,
)

QUEUES = ListCommand(
    "/v1/devices",
    (
        Column("DEVICE", lambda item: item["device_name"] or item["device"], 3),
        Column("PORT", lambda item: item["port"]),
        Column("QUEUE", lambda item: str(item["queue_id"]), right=True),
        Column("KIND", lambda item: item["kind"], 2),
        Column("MARK", lambda item: text(item["mark"]), 8, right=True),
        Column("FLOWS", lambda item: str(item["flows"]), right=True, amount=_field("flows")),
        Column("LOAD", lambda item: rate(item["load"]), right=True, amount=_field("load")),
        Column("FILL", _load_bar, 4, amount=_load_part),
        Column("MIN", lambda item: rate(item["min_rate"]), 6, right=True, amount=_field("min_rate")),
        Column("MAX", lambda item: rate(item["max_rate"]), 5, right=True, amount=_field("max_rate")),
        Column("CLASS", lambda item: text(item["class"]), 3),
        Column("EXCLUSIVE", lambda item: "yes" if item["exclusive"] else "-", 3),
        Column("ADMISSION", _admission, 2),
        Column("SENT", lambda item: text(item["tx_packets"]), 7, right=True, amount=_field("tx_packets")),
    ),
    names=_queue_names,
    filters=("device", "port"),
    read=_read_queues,
    paged=False,
)


def _other_claims(item: Any) -> str:
    """Return the other ports that claim a VM, and what they are to it."""
    others = (claim for claim in item["claims"] if claim["state"] != "current")
    return text(
        " ".join(
            f"{claim['device_name'] or claim['device']}/{claim['port']} ({claim['state']})"
            for claim in others
        )
    )


VMS = ListCommand(
    "/v1/vms",
    (
        Column("NAME", lambda item: item["name"]),
        Column("ID", lambda item: item["id"], 4),
        Column("DEVICE", lambda item: item["device_name"] or item["device"], 3),
        Column("PORT", lambda item: item["port"]),
        Column("MACS", lambda item: text(" ".join(item["macs"])), 2),
        Column("OTHER MACS", lambda item: text(" ".join(item["other_macs"])), 3),
        Column("ALSO AT", _other_claims, 2),
        Column("ID FROM", lambda item: item["source"], 5),
        Column("FLOWS", lambda item: str(item["flows"]), right=True, amount=_field("flows")),
        Column("HINTS", lambda item: str(item["hints"]), 4, right=True, amount=_field("hints")),
    ),
    names=_named("id"),
    filters=("device",),
)

HOSTS = ListCommand(
    "/v1/hosts",
    (
        Column("NAME", lambda item: text(item["name"])),
        Column("ID", lambda item: item["id"], 2),
        Column("DEVICES", lambda item: " ".join(item["device_names"])),
        Column("VMS", lambda item: str(len(item["vms"])), right=True, amount=lambda item: len(item["vms"])),
    ),
    names=_named("id"),
)

ADDRESSES = ListCommand(
    "/v1/addresses",
    (
        Column("MAC", lambda item: item["mac"]),
        Column("VLAN", lambda item: "any" if item["vlan"] is None else str(item["vlan"]), right=True),
        Column("DEVICE", lambda item: item["device_name"] or item["device"]),
        Column("PORT", lambda item: item["port"]),
        Column("ROLE", lambda item: item["role"], 2),
        Column("VM", lambda item: text(item["vm"])),
    ),
    names=_all_of("mac"),
    filters=("device",),
)

METERS = ListCommand(
    "/v1/meters",
    (
        Column("DEVICE", lambda item: item["device_name"] or item["device"]),
        Column("METER", lambda item: str(item["meter_id"]), right=True),
        Column("CLASS", lambda item: text(item["class"])),
        Column("RATE", lambda item: rate(item["rate"]), right=True, amount=_field("rate")),
        Column("BURST", lambda item: f"{item['burst'] // 8000} kB", 4, right=True),
        Column("LIMITS", lambda item: item["limits"], 2),
        Column("OF", lambda item: text(item["flow"] or item["vm"]), 3),
        Column("FLOWS", lambda item: str(item["flows"]), 2, right=True, amount=_field("flows")),
        Column(
            "DROPPED",
            lambda item: text(item["packets_dropped"]),
            2,
            right=True,
            amount=_field("packets_dropped"),
        ),
    ),
    names=_numbered("meter_id"),
    filters=("device",),
)

GROUPS = ListCommand(
    "/v1/groups",
    (
        Column("DEVICE", lambda item: item["device_name"] or item["device"]),
        Column("GROUP", lambda item: str(item["group_id"]), right=True),
        Column("SELECT BY", lambda item: text(item["select_by"]), 2),
        Column("QUEUE:WEIGHT", _buckets),
    ),
    names=_numbered("group_id"),
    filters=("device",),
)

LEFT_OUT = ListCommand(
    "/v1/left-out",
    (
        Column("DEVICE", lambda item: item["device_name"] or item["device"]),
        Column("WHAT", lambda item: item["what"]),
        Column("WHY", lambda item: item["why"]),
        Column("REMEDY", lambda item: text(item["remedy"]), 2),
    ),
    names=_numbered("what"),
    filters=("device",),
)

PINS = ListCommand("/v1/pins", pin.COLUMNS, names=_all_of("flow"))

FLOWS = ListCommand(
    "/v1/flows",
    (
        Column("FLOW", flow_text),
        Column("VM", lambda item: text(item["vm_name"]), 3),
        Column("CLASS", lambda item: item["class"], 2),
        Column("RATE", lambda item: rate(item["rate"]), 1, right=True, amount=_field("rate")),
        Column("LIMIT", lambda item: rate(item["limit"]), 4, right=True, amount=_field("limit")),
        Column("HINT", _hint, 6),
        Column("QUEUE", _queue_by_port),
        Column("AGE", lambda item: age(item["first_seen"]), 5, right=True, amount=_age("first_seen")),
        Column("IDLE", lambda item: age(item["last_active"]), 6, right=True, amount=_age("last_active")),
        Column("ID", lambda item: item["id"], 7),
    ),
    names=_all_of("id"),
    filters=("device", "vm", "class", "proto", "src", "dst", "src-port", "dst-port"),
    sorts={"RATE": "-rate", "AGE": "first_seen", "IDLE": "last_active"},
)

ASSIGNMENTS = ListCommand(
    "/v1/assignments",
    (
        Column("FLOW", flow_text),
        Column("VM", lambda item: text(item["vm_name"]), 3),
        Column("CLASS", lambda item: item["class"], 2),
        Column("DEVICE", lambda item: item["device_name"] or item["device"], 7),
        Column("PORT", lambda item: text(item["port"]), 4),
        Column("QUEUE", lambda item: text(item["queue_id"]), right=True),
        Column("KIND", lambda item: item["kind"], 3),
        Column("METER", _meter, 3, amount=lambda item: item["meter"]["rate"] if item["meter"] else None),
        Column("RATE", lambda item: rate(item["rate"]), 2, right=True, amount=_field("rate")),
        Column("REASON", lambda item: item["reason"], 2),
        Column("SINCE", lambda item: age(item["since"]), 5, right=True, amount=_age("since")),
        Column("ID", lambda item: item["flow"], 8),
    ),
    names=_all_of("flow"),
    filters=(*FLOWS.filters, "port", "queue", "kind", "reason"),
    sorts={"RATE": "-rate", "SINCE": "since"},
)
