"""``/v1/topology``, ``/v1/hosts`` and ``/v1/addresses``."""

from __future__ import annotations

from typing import Any

from support.engine.controller import NIC, FakeController, world
from support.engine.links import LINK, UPLINK, Network, cable
from webob import Request

from flowlane.core.model import PortFacts
from flowlane.northbound.app import make_app


def get(controller: FakeController, path: str, status: int = 200) -> Any:
    answer = Request.blank(path).get_response(make_app(controller))
    assert answer.status_int == status, answer.text
    return answer.json


def controller_of(network: Network) -> FakeController:
    return FakeController(network.engine, now=100.0)


def test_a_link_is_one_way_until_probes_come_in_at_both_ends() -> None:
    network = Network()
    network.device(1, {1: cable("pf0", UPLINK)})
    network.device(2, {1: cable("down0", LINK)})
    network.connect((1, 1), (2, 1))
    (link,) = get(controller_of(network), "/v1/topology")["links"]
    assert (link["state"], link["kind"], link["one_way"]) == ("up", "cable", False)
    assert [end["port"] for end in link["ends"]] == ["pf0", "down0"]
    del network.state.links[1][1][0].probed[2, 1]
    (link,) = get(controller_of(network), "/v1/topology")["links"]
    assert link["one_way"] is True


def test_addresses_are_listed_where_they_are_attached_and_by_pages() -> None:
    network = Network()
    network.device(1, {1: PortFacts("vf0", {"iface-id": "vm1"}), 2: cable("pf0", UPLINK)})
    network.device(2, {1: cable("down0", LINK), 2: cable("up0", LINK)})
    network.connect((1, 2), (2, 1))
    network.state.devices[1].hosts = {(0x020000000001, None): 1, (0x020000000009, 5): 2}
    network.state.devices[2].hosts = {
        (0x020000000001, None): 1,
        (0x020000000009, 5): 2,
        (0x020000000009, 6): 2,
    }
    controller = controller_of(network)
    items = get(controller, "/v1/addresses")["items"]
    assert [
        (item["mac"][-2:], item["vlan"], item["device_name"], item["port"], item["vm"]) for item in items
    ] == [
        ("01", None, "d1", "vf0", "vm1"),
        ("09", 5, "d2", "up0", None),
        ("09", 6, "d2", "up0", None),
    ]
    paged: list[Any] = []
    path = "/v1/addresses?limit=1"
    while path:
        page = get(controller, path)
        paged += page["items"]
        path = f"/v1/addresses?limit=1&cursor={page['next']}" if page["next"] else ""
    assert paged == items
    assert get(controller, "/v1/addresses?device=d2")["items"] == items[1:]
    for text in ("x", "a/b/1", "0000000000000001/02:00:00:00:00:01/-2", "00/02:00:00:00:00:01/1"):
        get(controller, f"/v1/addresses?cursor={text}", 400)


def test_devices_in_no_database_are_on_no_host() -> None:
    topology = get(world(), "/v1/topology")
    assert [(device["dpid"], device["host"]) for device in topology["devices"]] == [
        (f"{NIC:016x}", "machine-1"),
        ("abcdef0123456789", None),
    ]
    assert topology["expected"] is None
    (host,) = get(world(), "/v1/hosts")["items"]
    assert (host["name"], host["devices"]) == ("compute1", [f"{NIC:016x}"])
    assert host["device_names"] == ["br-nic"]
    assert host["vms"] == ["ns/db", "uuid-web"]
