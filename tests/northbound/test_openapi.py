from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from support.engine.controller import FLOWS, NIC, furnished, world
from webob import Request

from flowlane.core.effects import Report
from flowlane.northbound.app import ROUTES, make_app
from flowlane.northbound.http.access import Scope
from flowlane.northbound.http.routing import Route
from flowlane.northbound.openapi import document, schema_of
from flowlane.northbound.types import Page
from flowlane.northbound.types.hints import HintsInput
from flowlane.northbound.types.vms import VmView

DOCUMENT = document(ROUTES)
IDS = {"/v1/vms": "uuid-web", "/v1/flows": FLOWS[0][0].hex()}
NAMES = {"/v1/databases": "host1", "/v1/vms": "backup"}


def concrete(path: str) -> str:
    """Fill in the variables of a path with what there is in the world."""
    root = "/".join(path.split("/")[:3])
    texts = {"dpid": f"{NIC:016x}", "port": "uplink", "queue": "1"}
    texts |= {"id": IDS.get(root, ""), "name": NAMES.get(root, "")}
    return path.format_map(texts)


def test_the_document_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_in_it() -> None:
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}


def test_operation_ids_are_unique() -> None:
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_every_contracted_path_is_there() -> None:
    paths = (
        "/v1/databases /v1/databases/{name} "
        "/v1/status /healthz /readyz /metrics /v1/devices /v1/devices/{dpid} /v1/devices/{dpid}/ports "
        "/v1/devices/{dpid}/queues /v1/devices/{dpid}/queues/{port}/{queue} /v1/devices/{dpid}/queues/history "
        "/v1/vms /v1/vms/{id}/hints/{name} "
        "/v1/vms/{id} /v1/flows /v1/flows/{id} /v1/assignments /v1/flows/{id}/explain /v1/policy /v1/policy/check "
        "/v1/vms/{id}/hints /v1/events "
        "/v1/ports /v1/meters /v1/groups /v1/left-out /v1/pins /v1/flows/{id}/pin / /page/{asset} /openapi.json "
        "/v1/topology /v1/hosts /v1/addresses /v1/members"
    )
    assert set(paths.split()) == set(DOCUMENT["paths"])


JSON_ROUTES = [route for route in ROUTES if route.method == "GET" and "application/json" in route.produces]


@pytest.mark.parametrize("route", JSON_ROUTES, ids=lambda route: route.path)
def test_every_field_answered_is_described(route: Route) -> None:
    """The schemas are closed, so a field that is not in the document fails as well as one that is missing."""
    controller = furnished()
    controller.feed.publish(Report("device", "br-nic is connected", {"device": f"{NIC:016x}"}), 1.0)
    answer = Request.blank(concrete(route.path), accept="application/json").get_response(make_app(controller))
    content = DOCUMENT["paths"][route.path]["get"]["responses"]["200"]["content"]
    schema = {**content[answer.content_type]["schema"], "components": DOCUMENT["components"]}
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer.json)
    items = answer.json.get("items")
    assert items is None or items, "an empty list would prove nothing"


@pytest.mark.parametrize("path", ["/nothing", "/v1/flows?x=1", "/v1/vms/none"])
def test_problems_are_described(path: str) -> None:
    answer = Request.blank(path).get_response(make_app(world()))
    schema = {"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(json.loads(answer.text))


def test_path_parameters_are_described() -> None:
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            given = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert given == set(re.findall(r"{(\w+)}", path))


def test_what_is_served_is_this_document() -> None:
    assert Request.blank("/openapi.json").get_response(make_app(world())).json == json.loads(
        json.dumps(DOCUMENT)
    )


class Leaf(TypedDict):
    """A leaf."""

    size: Annotated[int | None, "bytes"]
    kind: Literal["a", "b"]
    extra: NotRequired[list[str]]


def test_an_object_is_closed_and_says_what_is_optional() -> None:
    assert schema_of(Leaf) == {
        "type": "object",
        "description": "A leaf.",
        "properties": {
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "bytes"},
            "kind": {"type": "string", "enum": ["a", "b"]},
            "extra": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["kind", "size"],
        "additionalProperties": False,
    }


def test_components_are_shared_and_generic_shapes_are_filled() -> None:
    components: dict[str, Any] = {}
    assert schema_of(Page[VmView], components) == {"$ref": "#/components/schemas/PageVmView"}
    assert components["PageVmView"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/VmView"}
    assert "macs" in components["VmView"]["properties"]


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON schema"):
        schema_of(bytes)


@pytest.mark.parametrize(
    ("body", "sound"),
    [
        ({"hints": [{"class": "a"}]}, True),
        ({"hints": [{"class": "a", "match": {"src": ["::1"]}, "lifetime": None}]}, True),
        ({"hints": [{"match": {}}]}, False),
        ({"hints": [{"class": "a", "x": 1}]}, False),
    ],
)
def test_bodies_are_checked_with_it(body: object, sound: bool) -> None:
    assert Draft202012Validator(schema_of(HintsInput)).is_valid(body) is sound


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, item in DOCUMENT["paths"].items() for method, op in item.items()]


def test_every_example_fits_its_schema() -> None:
    count = 0
    for path, method, operation in operations():
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (content for body in bodies for content in body.get("content", {}).values()):
            if "example" in content:
                schema = {**content["schema"], "components": DOCUMENT["components"]}
                errors = Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(
                    content["example"]
                )
                assert not [error.message for error in errors], (path, method)
                count += 1
    assert count >= len(JSON_ROUTES)


def test_every_change_says_that_it_takes_conditions_and_every_read_that_it_has_a_validator() -> None:
    for path, method, operation in operations():
        headers = {item["name"] for item in operation["parameters"] if item["in"] == "header"}
        is_read = "get" in DOCUMENT["paths"][path]
        if method == "get" and path != "/v1/events":
            assert headers == {"If-None-Match"} and "304" in operation["responses"], path
            assert "ETag" in operation["responses"]["200"]["headers"], path
        elif method != "get":
            assert headers == ({"If-Match", "If-None-Match"} if is_read else set()), path
            assert ("412" in operation["responses"]) or not is_read


def test_what_needs_a_token_says_so() -> None:
    assert DOCUMENT["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, method, operation in operations():
        route = next(route for route in ROUTES if (route.path, route.method) == (path, method.upper()))
        needs = operation["security"] != []
        assert needs == (route.needs is not Scope.PUBLIC) and (("401" in operation["responses"]) == needs)


def test_times_ids_and_words_have_their_forms() -> None:
    placement = DOCUMENT["components"]["schemas"]["Placement"]["properties"]
    assert placement["since"]["format"] == "date-time"
    assert placement["device"]["pattern"] == "^[0-9a-f]{16}$"
    assert placement["kind"] == {"type": "string", "enum": ["physical", "software", "none"]}
    expires = DOCUMENT["components"]["schemas"]["HintView"]["properties"]["expires"]["anyOf"]
    assert expires[0]["format"] == "date-time" and expires[1] == {"type": "null"}
