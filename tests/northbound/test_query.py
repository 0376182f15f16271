from __future__ import annotations

import pytest
from support.engine.controller import TOR, world
from webob import Request

from flowlane.northbound.app import make_app

WEB_HTTP, WEB_RSYNC, DB_UDP, DB_PING, DB_PTP = range(5)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("device=0000000000000001", [0, 1, 2, 3, 4]),
        ("device=br-nic", [0, 1, 2, 3, 4]),
        (f"device={TOR:016X}", [0]),
        ("device=0000000000000009", []),
        ("vm=web", [WEB_HTTP, WEB_RSYNC]),
        ("vm=uuid-web", [WEB_HTTP, WEB_RSYNC]),
        ("vm=nobody", []),
        ("class=capped", [WEB_RSYNC]),
        ("class=none", []),
        ("port=uplink&device=br-nic", [0, 1, 2, 3, 4]),
        ("port=9", [0, 1, 2, 3, 4]),
        ("port=5", [0]),
        ("queue=2", [WEB_RSYNC, DB_UDP]),
        ("queue=none&device=br-nic", [DB_PTP]),
        ("kind=software", [DB_PING]),
        ("kind=none&device=br-nic", [DB_PTP]),
        ("reason=exclusive", [WEB_HTTP]),
        ("proto=tcp&device=br-nic", [WEB_HTTP, WEB_RSYNC]),
        ("proto=17", [DB_UDP]),
        ("proto=icmpv6", [DB_PING]),
        ("proto=0x88f7", [DB_PTP]),
        ("proto=0x88F7", [DB_PTP]),
        ("proto=0", []),
        ("src=10.0.0.1&device=br-nic", [WEB_HTTP, WEB_RSYNC]),
        ("src=10.0.0.0/30&device=br-nic", [WEB_HTTP, WEB_RSYNC, DB_UDP]),
        ("src=0.0.0.0/0&proto=udp", [DB_UDP]),
        ("src=::1", [DB_PING]),
        ("dst=2001::/16", [DB_PING]),
        ("src=02:00:00:00:00:02", [DB_PTP]),
        ("dst=03:00:00:00:00:FF", [DB_PTP]),
        ("src=03:00:00:00:00:ff", []),
        ("src_port=53", [DB_UDP]),
        ("dst_port=873", [WEB_RSYNC]),
        ("src_port=35063", []),
        ("dst_port=80&vm=web&class=heavy&device=br-nic", [WEB_HTTP]),
        ("dst_port=80&vm=db", []),
    ],
)
def test_filters(query: str, wanted: list[int]) -> None:
    controller = world()
    keys = [key.hex() for key in controller.state.devices[1].flows.rows]
    items = Request.blank(f"/v1/assignments?{query}").get_response(make_app(controller)).json["items"]
    assert sorted({keys.index(item["flow"]) for item in items}) == wanted
