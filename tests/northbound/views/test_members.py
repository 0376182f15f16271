"""Controllers that share a database: their list, and requests about devices that another one leads."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.controller import NIC, world
from webob import Request, Response

from flowlane.cluster.membership import MemberView
from flowlane.northbound.app import make_app

OTHER = 0x77
PATH = f"/v1/devices/{OTHER:016x}"


def ask(others: list[MemberView], path: str, method: str = "GET", **options: Any) -> Response:
    controller = world()
    controller.others = others
    return Request.blank(path, method=method, **options).get_response(make_app(controller))


def member(
    name: str, url: str = "", leads: tuple[int, ...] = (), started: float = 1_800_000_000.0
) -> MemberView:
    return MemberView(name, url, "0.1", started, False, 0.12345, 3, leads)


def test_members_are_listed_two_of_one_name_as_well() -> None:
    others = [member("b", "http://b:8080", (OTHER,)), member("b", started=1_800_000_001.0)]
    items = ask(others, "/v1/members").json["items"]
    assert [(item["name"], item["url"], item["devices"]) for item in items] == [
        ("b", "http://b:8080", [f"{OTHER:016x}"]),
        ("b", "", []),
    ]
    assert items[0]["age"] == 0.123
    assert ask([], "/v1/members").json == {"items": [], "next": None}


@pytest.mark.parametrize("path", ["", "/queues?port=1", "/queues/uplink/1"])
def test_a_request_about_a_device_goes_on_to_its_leader(path: str) -> None:
    answer = ask([member("b", "http://b:8080", (OTHER,))], PATH + path)
    assert (answer.status_int, answer.headers["Location"]) == (307, f"http://b:8080{PATH}{path}")
    assert "controller b leads device" in answer.json["detail"]


def test_a_change_goes_on_as_well() -> None:
    answer = ask(
        [member("b", "http://b:8080", (OTHER,))],
        PATH,
        "PATCH",
        body=b"{}",
        content_type="application/merge-patch+json",
    )
    assert answer.status_int == 307


def test_a_leader_without_an_address_is_named() -> None:
    answer = ask([member("b", "", (OTHER,))], PATH)
    assert answer.status_int == 421
    assert "controller b" in answer.json["detail"]


def test_a_device_of_ones_own_is_answered_here() -> None:
    assert ask([member("b", "http://b", (OTHER,))], f"/v1/devices/{NIC:016x}").status_int == 200
