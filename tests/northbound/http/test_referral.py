"""Answers of one of several controllers, which name those that have the rest."""

from __future__ import annotations

from typing import Any

import pytest
from support.engine.controller import NIC, world
from webob import Request, Response

from flowlane.cluster.membership import MemberView
from flowlane.northbound.app import ROUTES, make_app

OTHER = f"{0x77:016x}"
REFERENCE = {"name": "b", "url": "http://b:8080", "devices": [OTHER]}
OTHERS = [
    MemberView("a", "http://a:8080", "1", 1.0, True, 0.1, 2, (NIC,)),
    MemberView("b", "http://b:8080", "1", 1.0, False, 0.1, 2, (0x77,)),
    MemberView("idle", "http://idle:8080", "1", 1.0, False, 0.1, 2, ()),
]


def ask(path: str, others: list[MemberView] = OTHERS, method: str = "GET", **options: Any) -> Response:
    controller = world()
    controller.others = others
    return Request.blank(path, method=method, **options).get_response(make_app(controller))


@pytest.mark.parametrize(
    "path", sorted(route.path for route in ROUTES if route.is_partial and "{" not in route.path)
)
def test_lists_name_the_other_controllers_that_lead_devices(path: str) -> None:
    answer = ask(path).json
    assert answer.pop("members") == [REFERENCE]
    assert answer == ask(path, []).json, "nothing else is another, and nobody is named where this one has all"


def test_lists_that_are_the_same_everywhere_name_nobody() -> None:
    for path in ("/v1/members", "/v1/databases", "/v1/hosts"):
        assert "members" not in ask(path).json


def test_a_flow_may_be_on_devices_of_others() -> None:
    flow = ask("/v1/flows").json["items"][0]["id"]
    for path in (f"/v1/flows/{flow}", f"/v1/flows/{flow}/explain"):
        assert ask(path).json["members"] == [REFERENCE]
        assert ask(path).etag != ask(path, []).etag


def test_what_is_not_here_may_be_at_others() -> None:
    unknown = f"/v1/flows/{'ab' * 20}"
    body: dict[str, Any] = {"body": b'{"hints": []}', "content_type": "application/json"}
    for answer in (ask(unknown), ask("/v1/flows?device=x"), ask("/v1/vms/x/hints", method="PUT", **body)):
        assert answer.status_int == 404
        assert answer.json["members"] == [{"name": "b", "url": "http://b:8080"}]
    assert "members" not in ask(unknown, []).json
    assert "members" not in ask("/v1/flows?limit=x").json, "only where something is not here"
