"""The OpenAPI 3.1 document, made of the server's own table of routes and of the shapes."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import flowlane
from flowlane.northbound import problems, shapes
from flowlane.northbound.schemas import Schema, schema_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.northbound.calls import Route

PATH_PARAMETERS = {
    "dpid": "a device's datapath id: 16 hex digits",
    "id": "the id, as the list gives it",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Describe every route."""
    components: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
    schema_of(shapes.Problem, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flowlane",
            "version": flowlane.__version__,
            "summary": "Which VM flow is on which queue of which device, and why",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items()))},
    }


def _operation(route: Route, components: dict[str, Schema]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.about,
        "parameters": _path_parameters(route) + _query_parameters(route),
        "responses": _responses(route, components),
    }
    if route.accepts:
        operation["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": _body_schema(route, components)} for kind in route.accepts},
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name],
            "schema": {"type": "string"},
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": item.name, "in": "query", "description": item.about, "schema": dict(item.schema)}
        for item in route.parameters
    ]


def _body_schema(route: Route, components: dict[str, Schema]) -> Schema:
    return {"type": "string"} if route.takes is None else schema_of(route.takes, components)


def _responses(route: Route, components: dict[str, Schema]) -> dict[str, Any]:
    gone = 204 in route.also
    schema = {"type": "string"} if route.gives is None else schema_of(route.gives, components)
    content = {kind.partition(";")[0]: {"schema": _for_media(kind, schema)} for kind in route.produces}
    answers: dict[str, Any] = (
        {"204": {"description": "done"}}
        if gone
        else {"200": {"description": route.about, "content": content}}
    )
    for status in route.also:
        if status == 503 and route.gives is shapes.Health:
            answers["503"] = {"description": HTTPStatus(503).phrase, "content": content}
        elif status != 204:
            answers[str(status)] = _problem(HTTPStatus(status).phrase)
    answers["default"] = _problem("the request was not carried out")
    return answers


def _for_media(kind: str, schema: Schema) -> Schema:
    return schema if kind == "application/json" else {"type": "string"}


def _problem(text: str) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
