"""Commands that list what a controller has: ``flowlane databases``, ``devices``, ``queues``, ``vms`` and so on.

Each is a :class:`ListCommand`: a REST path, columns, and filters, which are the options of the command and the
query parameters of REST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from flowlane.cli import pin
from flowlane.cli.arguments import LARGEST_COUNT, add_output, whole_number
from flowlane.cli.client import Answer, Client, RefusedError, client_of, get, pages
from flowlane.cli.tables import Column, age, flow_text, rate, show, show_json, table, text, turns
from flowlane.closest import did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

ROWS = 1000
"""Rows of a table without ``--limit``."""

BAR = 10
"""Cells of the bar that shows a queue's load."""

FILTERS = {
    "device": "on this device: its dpid or name",
    "vm": "of this VM: its id or name",
    "class": "of this class",
    "proto": "of this protocol: tcp, udp, sctp, icmp, icmpv6, a number, or an ethertype (arp, 0x88f7)",
    "src": "from this address or prefix",
    "dst": "to this address or prefix",
    "src-port": "from this port",
    "dst-port": "to this port",
    "port": "out of this port: its name or number",
    "queue": "on this queue id, or none",
    "kind": "on this kind of queue: physical, software or none",
    "reason": "placed for this reason, such as exclusive or overflow-to-software",
}
"""Filter -> help. As a query parameter it has an underscore for its hyphen."""


class ListCommand(NamedTuple):
    """A command that lists what a REST path gives.

    ``read`` gets the client, ``path``, the query and the number of items at most (None: all); it returns the
    list as REST does, with ``items`` and ``next``. A list that is not ``paged`` has no ``--limit``.
    """

    path: str
    columns: tuple[Column, ...]
    filters: tuple[str, ...] = ()
    read: Callable[[Client, str, Mapping[str, Any], int | None], Answer] = pages
    paged: bool = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add_output(parser)
        for name in self.filters:
            parser.add_argument(f"--{name}", dest=f"filter_{name}", metavar=name.upper(), help=FILTERS[name])
        if self.paged:
            parser.add_argument(
                "--limit",
                type=whole_number(0, LARGEST_COUNT),
                help=f"items at most; 0: all (default: all with --json, else {ROWS})",
            )

    def run(self, args: argparse.Namespace) -> int:
        """Print the list, once or again and again."""
        client = client_of(args)
        options = {name: getattr(args, f"filter_{name}") for name in self.filters}
        query = {name.replace("-", "_"): value for name, value in options.items() if value is not None}
        limit = args.limit if self.paged else None
        at_most = (limit if limit is not None or args.json else ROWS) or None
        if args.json:
            for _ in turns(args.watch):
                show_json(self.read(client, self.path, query, at_most))
        else:
            show(
                lambda width: _table(self.read(client, self.path, query, at_most), self.columns, width),
                args.watch,
            )
        return 0


def _table(answer: Answer, columns: Sequence[Column], width: int) -> RenderableType:
    """Make a table of a list; a last line says where more may follow."""
    rows = table(columns, answer["items"], width)
    notes = [Text(note, style="yellow") for item in answer["items"] for note in _notes(item)]
    if answer["next"] is not None:
        foot = f"{len(answer['items'])} shown, there may be more: --limit 0 shows all"
        notes.append(Text(foot, style="dim"))
    return Group(rows, *notes) if notes else rows


def _notes(item: Answer) -> list[str]:
    """Write why a device is unusable, where entries of others conflict with Flowlane's there; conflicts of a VM."""
    if "target" in item:
        return []
    if "claims" in item:
        return [
            f"{item['name']}: {one['key']} is claimed by {', '.join(one['others'])}, too; {one['holder']} has it"
            for one in item["conflicts"]
        ]
    texts = [f"unusable: {item['unusable']}"] if item.get("unusable") else []
    return [f"{item['name']}: {text}" for text in (*texts, *item.get("conflicts", ()))]


def _devices(client: Client, path: str, name: str | None) -> list[Answer]:
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
    devices = _devices(client, path, query.get("device"))
    items = [
        Answer(port, device_name=device["name"], ambiguous=_ambiguity(device, port["name"]))
        for device in devices
        for port in device["ports"]
    ]
    return Answer(items=items, next=None)


def _ambiguity(device: Answer, port: str) -> str | None:
    """Say why the role of a port is a guess; None when it is none."""
    return next((item["why"] for item in device["ambiguous"] if port in item["ports"]), None)


def _read_queues(client: Client, path: str, query: Mapping[str, Any], _at_most: int | None) -> Answer:
    """Read the queues of all devices, or of the one that the query names: REST has them by device."""
    chosen = _devices(client, path, query.get("device"))
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


def _load_bar(item: Answer) -> str:
    """Draw load over the queue's maximum rate; a dash where that rate is unknown."""
    if not item["max_rate"]:
        return "-"
    cells = round(min(float(item["load"]) / float(item["max_rate"]), 1.0) * BAR)
    return "█" * cells + "░" * (BAR - cells)


def _state(item: Answer) -> str:
    if item["declared"]:
        return "declared"
    return "up" if item["connected"] else "down"


def _free_queues(kind: str) -> Callable[[Answer], str]:
    """Make a column's text: free queues of all of a kind, such as ``2/4``."""
    return lambda item: f"{item['queues'][kind]['free']}/{item['queues'][kind]['total']}"


def _problems(item: Answer) -> str:
    refused = sum(item["refusals"].values())
    parts = [
        "unusable" if item["unusable"] else "",
        f"{refused} refused" if refused else "",
        f"{len(item['left_out'])} left out" if item["left_out"] else "",
        f"{len(item['conflicts'])} conflicts" if item["conflicts"] else "",
        f"{len(item['vms_in_conflict'])} VMs in conflict" if item["vms_in_conflict"] else "",
        f"{_guesses(item)} roles guessed" if item["ambiguous"] else "",
    ]
    return ", ".join(part for part in parts if part) or "-"


def _guesses(item: Answer) -> int:
    return sum(len(ambiguity["ports"]) for ambiguity in item["ambiguous"])


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
    ignored = [f"{len(item['ignored'])} values ignored"] if item["ignored"] else []
    return "; ".join([*([item["problem"]] if item["problem"] else []), *conflicts, *ignored]) or "-"


def _admission(item: Answer) -> str:
    """Write which flows a queue takes; of one that is drained, how many flows are left."""
    word: str = item["admission"]
    return f"draining {item['flows']}/{item['cordoned_flows']}" if word == "draining" else word


DATABASES = ListCommand(
    "/v1/databases",
    (
        Column("NAME", lambda item: item["name"]),
        Column("HOST", lambda item: text(item["hostname"] or item["system_id"]), 3),
        Column("TARGET", lambda item: text(item["target"]), 4),
        Column("STATE", lambda item: item["state"]),
        Column("SINCE", lambda item: age(item["since"]), 2),
        Column("OVS", lambda item: text(item["ovs_version"]), 6),
        Column("BRIDGES", lambda item: str(item["bridges"]), 5, right=True),
        Column("PROBLEMS", _database_problems, 1),
    ),
)

DEVICES = ListCommand(
    "/v1/devices",
    (
        Column("DPID", lambda item: item["dpid"]),
        Column("NAME", lambda item: text(item["name"])),
        Column("ROLE", lambda item: item["role"], 2),
        Column("STATE", _state),
        Column("SINCE", lambda item: age(item["since"]), 5),
        Column("OPENFLOW", lambda item: item["version"], 6),
        Column("FORWARDING", lambda item: item["forwarding"], 7),
        Column("PORTS", lambda item: str(len(item["ports"])), 6, right=True),
        Column("FREE PHYS", _free_queues("physical"), 2, right=True),
        Column("FREE SOFT", _free_queues("software"), 3, right=True),
        Column("FLOWS", lambda item: str(item["flows"]), 1, right=True),
        Column("PINNED", lambda item: str(item["pinned"]), 4, right=True),
        Column(
            "METERS", lambda item: f"{item['meters']}/{item['capabilities']['max_meters']}", 4, right=True
        ),
        Column("PROBLEMS", _problems, 3),
    ),
)

PORTS = ListCommand(
    "/v1/devices",
    (
        Column("DEVICE", lambda item: text(item["device_name"]), 2),
        Column("PORT", lambda item: item["name"]),
        Column("NUMBER", lambda item: str(item["port_no"]), 6, right=True),
        Column("ROLE", lambda item: item["role"]),
        Column("LINK", _link, 3),
        Column("RATE", lambda item: rate(item["rate"]), 4, right=True),
        Column("QUEUES", lambda item: str(len(item["queues"])), 3, right=True),
        Column("BOND", _bond, 5),
        Column("VLAN", _vlan, 5),
        Column("WHY", _role_reason, 1),
    ),
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
        Column("FLOWS", lambda item: str(item["flows"]), right=True),
        Column("LOAD", lambda item: rate(item["load"]), right=True),
        Column("FILL", _load_bar, 4),
        Column("MIN", lambda item: rate(item["min_rate"]), 6, right=True),
        Column("MAX", lambda item: rate(item["max_rate"]), 5, right=True),
        Column("CLASS", lambda item: text(item["class"]), 3),
        Column("EXCLUSIVE", lambda item: "yes" if item["exclusive"] else "-", 3),
        Column("ADMISSION", _admission, 2),
        Column("SENT", lambda item: text(item["tx_packets"]), 7, right=True),
    ),
    filters=("device", "port"),
    read=_read_queues,
    paged=False,
)


def _other_claims(item: Any) -> str:
    """Return the other ports that claim a VM, and what they are to it."""
    others = (claim for claim in item["claims"] if claim["state"] != "current")
    return text(" ".join(f"{claim['device']}/{claim['port']} ({claim['state']})" for claim in others))


VMS = ListCommand(
    "/v1/vms",
    (
        Column("NAME", lambda item: item["name"]),
        Column("ID", lambda item: item["id"], 4),
        Column("DEVICE", lambda item: item["device"], 3),
        Column("PORT", lambda item: item["port"]),
        Column("MACS", lambda item: text(" ".join(item["macs"])), 2),
        Column("OTHER MACS", lambda item: text(" ".join(item["other_macs"])), 3),
        Column("ALSO AT", _other_claims, 2),
        Column("ID FROM", lambda item: item["source"], 5),
        Column("FLOWS", lambda item: str(item["flows"]), right=True),
        Column("HINTS", lambda item: str(item["hints"]), 4, right=True),
    ),
    filters=("device",),
)

HOSTS = ListCommand(
    "/v1/hosts",
    (
        Column("NAME", lambda item: text(item["name"])),
        Column("ID", lambda item: item["id"], 2),
        Column("DEVICES", lambda item: " ".join(item["device_names"])),
        Column("VMS", lambda item: str(len(item["vms"])), right=True),
    ),
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
    filters=("device",),
)

PINS = ListCommand("/v1/pins", pin.COLUMNS)

FLOWS = ListCommand(
    "/v1/flows",
    (
        Column("FLOW", flow_text),
        Column("VM", lambda item: text(item["vm_name"]), 3),
        Column("CLASS", lambda item: item["class"], 2),
        Column("RATE", lambda item: rate(item["rate"]), 1, right=True),
        Column("LIMIT", lambda item: rate(item["limit"]), 4, right=True),
        Column("HINT", _hint, 6),
        Column("QUEUE", _queue_by_port),
        Column("AGE", lambda item: age(item["first_seen"]), 5, right=True),
        Column("IDLE", lambda item: age(item["last_active"]), 6, right=True),
        Column("ID", lambda item: item["id"], 7),
    ),
    filters=("device", "vm", "class", "proto", "src", "dst", "src-port", "dst-port"),
)

ASSIGNMENTS = ListCommand(
    "/v1/assignments",
    (
        Column("FLOW", flow_text),
        Column("VM", lambda item: text(item["vm_name"]), 3),
        Column("CLASS", lambda item: item["class"], 2),
        Column("DEVICE", lambda item: item["device"], 7),
        Column("PORT", lambda item: text(item["port"]), 4),
        Column("QUEUE", lambda item: text(item["queue_id"]), right=True),
        Column("KIND", lambda item: item["kind"], 3),
        Column("METER", _meter, 3),
        Column("RATE", lambda item: rate(item["rate"]), 2, right=True),
        Column("REASON", lambda item: item["reason"], 2),
        Column("SINCE", lambda item: age(item["since"]), 5, right=True),
        Column("ID", lambda item: item["flow"], 8),
    ),
    filters=(*FLOWS.filters, "port", "queue", "kind", "reason"),
)
