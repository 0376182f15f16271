from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.engine.controller import TOR, WEB, world
from webob import Request

import flowlane.core
from flowlane.core.effects import KINDS_OF_FLOW_EVENTS
from flowlane.northbound.app import make_app
from flowlane.northbound.query import EVENT_KINDS, selections, vms_of_several

PROTOCOLS = "tcp, udp, sctp, icmp, icmpv6, 0 to 255, or an ethertype such as arp or 0x88f7"

WEB_HTTP, WEB_RSYNC, DB_UDP, DB_PING, DB_PTP = range(5)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("device=0000000000000001", [0, 1, 2, 3, 4]),
        ("device=br-nic", [0, 1, 2, 3, 4]),
        (f"device={TOR:016X}", [0]),
        ("vm=web", [WEB_HTTP, WEB_RSYNC]),
        ("vm=uuid-web", [WEB_HTTP, WEB_RSYNC]),
        ("class=capped", [WEB_RSYNC]),
        ("port=uplink&device=br-nic", [0, 1, 2, 3, 4]),
        ("port=9", [0, 1, 2, 3, 4]),
        ("port=5", [0]),
        ("port=vf0", []),
        ("class=default&device=0000000000000001&vm=web", []),
        ("queue=0", []),
        ("queue=2", [WEB_RSYNC, DB_UDP]),
        ("queue=none&device=br-nic", [DB_PTP]),
        ("kind=software", [DB_PING]),
        ("kind=none&device=br-nic", [DB_PTP]),
        ("reason=exclusive", [WEB_HTTP]),
        ("proto=tcp&device=br-nic", [WEB_HTTP, WEB_RSYNC]),
        ("proto=17", [DB_UDP]),
        ("proto=icmpv6", [DB_PING]),
        ("proto=0x88f7", [DB_PTP]),
        ("proto=arp", []),
        ("proto=0x0806", []),
        ("proto=0x88F7", [DB_PTP]),
        ("proto=0X88F7", [DB_PTP]),
        ("proto=UDP", [DB_UDP]),
        ("proto=0x0600", []),
        ("proto=0", []),
        ("src=10.0.0.1&device=br-nic", [WEB_HTTP, WEB_RSYNC]),
        ("src=10.0.0.0/30&device=br-nic", [WEB_HTTP, WEB_RSYNC, DB_UDP]),
        ("src=0.0.0.0/0&proto=udp", [DB_UDP]),
        ("src=::1", [DB_PING]),
        ("dst=2001::/16", [DB_PING]),
        ("src=02:00:00:00:00:02", [DB_PTP]),
        ("dst=03:00:00:00:00:FF", [DB_PTP]),
        ("src=03:00:00:00:00:ff", []),
        ("address=10.0.0.1&device=br-nic", [WEB_HTTP, WEB_RSYNC]),
        ("address=192.0.2.1&device=br-nic", [WEB_HTTP, WEB_RSYNC, DB_UDP]),
        ("address=2001::/16", [DB_PING]),
        ("address=03:00:00:00:00:ff", [DB_PTP]),
        ("address=10.9.0.0/16", []),
        ("l4_port=53", [DB_UDP]),
        ("l4_port=5353", [DB_UDP]),
        ("l4_port=873&address=192.0.2.1", [WEB_RSYNC]),
        ("l4_port=35063", []),
        ("src_port=53", [DB_UDP]),
        ("dst_port=873", [WEB_RSYNC]),
        ("src_port=35063", []),
        ("dst_port=80&vm=web&class=heavy&device=br-nic", [WEB_HTTP]),
        ("dst_port=80&vm=db", []),
    ],
)
def test_filters(query: str, rows: list[int]) -> None:
    controller = world()
    keys = [key.hex() for key in controller.state.devices[1].flows.rows]
    items = Request.blank(f"/v1/assignments?{query}").get_response(make_app(controller)).json["items"]
    assert sorted({keys.index(item["flow"]) for item in items}) == rows


@pytest.mark.parametrize("path", ["/v1/flows", "/v1/assignments"])
@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("device=br-nik", 404, "there is no device 'br-nik'; did you mean br-nic?"),
        ("device=0000000000000009", 404, "there is no device '0000000000000009'; known: br-nic, tor \"1\""),
        ("vm=webb", 404, "there is no VM 'webb'; did you mean web?"),
        ("vm=nobody", 404, "there is no VM 'nobody'; known: db, web"),
        ("class=hevy", 404, "there is no class 'hevy'; did you mean heavy?"),
        *(
            (f"proto={text}", 400, f"'{text}' is not a value of 'proto': {PROTOCOLS}")
            for text in ("tpc", "256", "9999", "-1", "", "0x", "0xzz", "0x123456", "0x10000", "0x05ff", "0x6")
        ),
        *(
            (f"src={text}", 400, f"'{text}' is not a value of 'src': an address, a prefix or a MAC address")
            for text in ("10.0.0.300", "10.0.0.0/33", "zz:00:00:00:00:01", "1:2:3:4:5:6", "", "x")
        ),
        ("src_port=http", 400, "'http' is not a value of 'src_port': a number from 0 to 65535"),
        ("src_port=-1", 400, "'-1' is not a value of 'src_port': a number from 0 to 65535"),
        ("limit=nan", 400, "'nan' is not a value of 'limit': a number from 1 to 1000"),
    ],
)
def test_what_a_filter_names_has_to_be_known(path: str, query: str, status: int, detail: str) -> None:
    answer = Request.blank(f"{path}?{query}").get_response(make_app(world()))
    assert answer.status_code == status
    assert answer.json["detail"].startswith(detail)
    assert answer.json["field"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("path", "status", "detail", "field"),
    [
        ("/v1/assignments?port=uplnk", 404, "there is no port 'uplnk'; did you mean uplink?", "port"),
        (
            "/v1/assignments?port=up&device=br-nic",
            404,
            "there is no port 'up'; known: uplink, vf0, vf1",
            "port",
        ),
        ("/v1/assignments?port=99", 404, "there is no port '99'; known: up, uplink, vf0, vf1", "port"),
        ("/v1/assignments?queue=99", 404, "there is no queue '99'; known: 0, 1, 10, 2, 3", "queue"),
        ("/v1/assignments?queue=1&port=up", 404, "there is no queue '1'; none is defined", "queue"),
        ("/v1/assignments?queue=x", 400, "'x' is not a value of 'queue': ", "queue"),
        ("/v1/assignments?kind=fysical", 400, "'fysical' is not a value of 'kind': one of none, ", "kind"),
        ("/v1/assignments?reason=why", 400, "'why' is not a value of 'reason': one of ", "reason"),
        ("/v1/vms?device=br-nik", 404, "there is no device 'br-nik'; did you mean br-nic?", "device"),
        ("/v1/devices/0000000000000001/queues?port=x", 404, "there is no port 'x'; known: uplink, ", "port"),
        (
            "/v1/events?kind=foo",
            400,
            "'foo' is not a value of 'kind': it is no kind of event; known",
            "kind",
        ),
        ("/v1/events?kind=hint,flows", 400, "'hint,flows' is not a value of 'kind': 'flows' is no", "kind"),
        ("/v1/events?kind=", 400, "'' is not a value of 'kind': it is no kind of event; ", "kind"),
    ],
)
def test_what_other_filters_name_has_to_be_known(path: str, status: int, detail: str, field: str) -> None:
    answer = Request.blank(path).get_response(make_app(world()))
    assert answer.status_code == status
    assert answer.json["detail"].startswith(detail)
    assert answer.json["field"] == field


def test_a_vm_that_goes_away_between_two_pages_ends_the_list() -> None:
    controller = world()
    app = make_app(controller)
    first = Request.blank("/v1/flows?vm=web&limit=1").get_response(app).json
    del controller.state.vms[0xAAAA0001]
    rest = Request.blank(f"/v1/flows?vm=web&limit=1&cursor={first['next']}").get_response(app)
    assert (rest.status_code, rest.json) == (200, {"items": [], "next": None})


@pytest.mark.parametrize(
    ("query", "conditions"), [({}, 1), ({"vm": "web"}, 1), ({"class": "heavy"}, 1), ({"port": "up"}, 1)]
)
def test_devices_for_which_a_query_means_the_same_have_one_condition(
    query: dict[str, str], conditions: int
) -> None:
    """One for each of 500 devices would be thousands of objects for the garbage collector, with each list."""
    chosen = selections(world().state, query)
    assert len({condition for _, condition in chosen}) == conditions
    assert len(chosen) == (1 if "port" in query else 2)


def test_only_vms_with_flows_on_several_devices_are_looked_up_for_each_flow() -> None:
    state = world().state
    devices = [device for device, _ in selections(state, {})]
    assert vms_of_several(devices) == {WEB: devices}


def test_every_kind_of_report_is_a_kind_of_event() -> None:
    """A kind that the engine reports and REST does not name could not be asked for."""
    sources = (Path(flowlane.core.__file__).parent).rglob("*.py")
    kinds = {kind for path in sources for kind in re.findall(r"\bReport\(\s*\"(\w+)\"", path.read_text())}
    assert kinds
    assert kinds | set(KINDS_OF_FLOW_EVENTS.values()) == set(EVENT_KINDS)
