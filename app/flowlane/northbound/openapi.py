"""OpenAPI 3.1 document, made from the table of routes and the types of the answers.

:func:`schema_of` makes a JSON Schema (2020-12) of a type of :mod:`flowlane.northbound.types`; request bodies
are checked against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import flowlane
from flowlane.northbound import types
from flowlane.northbound.http import conditional, problems, stream
from flowlane.northbound.http.access import SAFE_METHODS, Scope
from flowlane.northbound.http.problems import JSON
from flowlane.northbound.openapi_examples import example_of
from flowlane.northbound.types.forms import Form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.northbound.http.routing import Route

Schema = dict[str, Any]
Components = dict[str, Schema] | None
Arguments = tuple[Any, ...]

_PLAIN: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    NoneType: {"type": "null"},
    Any: {},
}


def schema_of(shape: object, components: Components = None) -> Schema:
    """Make the JSON Schema of a type. With ``components`` the schemas of objects are put there, and referenced.

    Raises:
        TypeError: the type has no JSON counterpart.
    """
    origin = get_origin(shape)
    if shape in _PLAIN:
        return dict(_PLAIN[shape])
    if is_typeddict(shape) or is_typeddict(origin):
        return _object(shape, components)
    if origin not in _COMPOSED:
        raise TypeError(f"{shape!r} has no JSON schema")
    return _COMPOSED[origin](get_args(shape), components)


def _annotated(arguments: Arguments, components: Components) -> Schema:
    schema = schema_of(arguments[0], components)
    for more in arguments[1:]:
        schema |= more.schema() if isinstance(more, Form) else {"description": more}
    return schema


def _literal(arguments: Arguments, components: Components) -> Schema:  # noqa: ARG001
    return {"type": "string", "enum": list(arguments)}


def _list(arguments: Arguments, components: Components) -> Schema:
    return {"type": "array", "items": schema_of(arguments[0], components)}


def _dict(arguments: Arguments, components: Components) -> Schema:
    return {"type": "object", "additionalProperties": schema_of(arguments[1], components)}


def _union(arguments: Arguments, components: Components) -> Schema:
    return {"anyOf": [schema_of(argument, components) for argument in arguments]}


_COMPOSED: Mapping[object, Callable[[Arguments, Components], Schema]] = {
    Annotated: _annotated,
    Literal: _literal,
    list: _list,
    dict: _dict,
    Union: _union,
    UnionType: _union,
}


def _object(shape: Any, components: Components) -> Schema:
    declared = get_origin(shape) or shape
    if components is None:
        return _properties(declared, get_args(shape), None)
    name = declared.__name__ + "".join(argument.__name__ for argument in get_args(shape))
    if name not in components:
        components[name] = {}
        components[name] = _properties(declared, get_args(shape), components)
    return {"$ref": f"#/components/schemas/{name}"}


def _properties(declared: Any, arguments: Arguments, components: Components) -> Schema:
    parameters: Arguments = getattr(declared, "__parameters__", ())
    variables: dict[TypeVar, object] = dict(zip(parameters, arguments, strict=True))
    hints = get_type_hints(declared, include_extras=True)
    optional = declared.__optional_keys__ | {
        n for n, kind in hints.items() if get_origin(kind) is NotRequired
    }
    return {
        "type": "object",
        "description": (declared.__doc__ or "").strip(),
        "properties": {name: schema_of(_filled(kind, variables), components) for name, kind in hints.items()},
        "required": sorted(set(hints) - optional),
        "additionalProperties": False,
    }


def _filled(kind: Any, variables: dict[TypeVar, object]) -> object:
    """Return a field's type without NotRequired, and with the type variables of a generic type filled in."""
    if get_origin(kind) is NotRequired:
        return get_args(kind)[0]
    if kind in variables:
        return variables[kind]
    return kind[tuple(variables.values())] if getattr(kind, "__parameters__", None) else kind


MERGE_PATCH = "application/merge-patch+json"

PATH_FORMS: Mapping[str, Schema] = {
    "dpid": {"type": "string", "pattern": "^[0-9a-fA-F]{16}$", "examples": ["0000000000000001"]},
    "queue": {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFE},
}
PATH_PARAMETERS = {
    "asset": "the file's name",
    "dpid": "a device's datapath id: 16 hex digits",
    "id": "the id, as in the list",
    "name": "the name, as in the list",
    "port": "the egress port's name or number",
    "queue": "the queue's id",
}


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Make the OpenAPI document of all routes."""
    components: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    schema_of(types.Problem, components)
    read = {route.path for route in routes if route.method == "GET"}
    for route in routes:
        operation = _operation(route, components, route.path in read)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    _add_links(paths)
    _add_examples(paths, components)
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
        "components": {
            "schemas": dict(sorted(components.items())),
            "headers": HEADERS,
            "securitySchemes": {"token": TOKEN},
        },
    }


TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "a token of flowlane token add; none is needed while the controller has no file of tokens",
}

HEADERS: Mapping[str, Schema] = {
    "ETag": {"description": "validator of what is shown", "schema": {"type": "string"}},
    "Cache-Control": {"description": "no-cache: ask again, with If-None-Match", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "RFC 6750, 3", "schema": {"type": "string"}},
    "Retry-After": {"description": "s", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
}

_VALIDATORS = {"type": "string", "pattern": conditional.VALIDATORS, "examples": ["*"]}

CONDITIONS = {
    "If-Match": "change only what has one of these validators; *: what is there",
    "If-None-Match": "change only what has none of these validators; *: what is not there yet",
}
UNLESS = {"If-None-Match": "answer 304 where what is shown has one of these validators"}
RESUME = {"Last-Event-ID": "id of the last event that the reader got"}

SCOPES: Mapping[Scope, str] = {
    Scope.PUBLIC: "Needs no token.",
    Scope.READ: "Needs a token of scope read, where tokens are needed.",
    Scope.VM: "Needs a token of scope read, or hint for the VM, where tokens are needed.",
    Scope.HINT: "Needs a token of scope operate, or hint for the VM, where tokens are needed.",
    Scope.OPERATE: "Needs a token of scope operate, where tokens are needed.",
}


def _operation(route: Route, components: dict[str, Schema], is_read: bool) -> dict[str, Any]:
    """Describe an operation; ``is_read``: its path has a GET, so that changes may have conditions."""
    is_public = route.needs is Scope.PUBLIC
    headers = UNLESS if route.method in SAFE_METHODS else CONDITIONS if is_read else {}
    if stream.MEDIA_TYPE in route.produces:
        headers = RESUME
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.about,
        "description": SCOPES[route.needs],
        "parameters": _path_parameters(route) + _query_parameters(route) + _header_parameters(headers),
        "responses": _responses(route, components, headers),
        "security": [] if is_public else [{}, {"token": []}],
    }
    if route.accepts:
        operation["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": _body_schema(route, kind, components)} for kind in route.accepts},
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name],
            "schema": PATH_FORMS.get(name, {"type": "string", "minLength": 1}),
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "in": "query",
            "description": item.about,
            "schema": dict(item.schema),
            # A list is written with commas.
            **({"style": "form", "explode": False} if item.schema.get("type") == "array" else {}),
        }
        for item in route.parameters
    ]


def _header_parameters(headers: Mapping[str, str]) -> list[dict[str, Any]]:
    forms = {"Last-Event-ID": {"type": "string", "pattern": "^[0-9a-f]+-[0-9]{1,19}$"}}
    return [
        {"name": name, "in": "header", "description": about, "schema": forms.get(name, _VALIDATORS)}
        for name, about in headers.items()
    ]


LINKS: Mapping[str, Mapping[str, str]] = {
    "/v1/devices": {"dpid": "/items/0/dpid"},
    "/v1/devices/{dpid}/queues": {
        "dpid": "/items/0/device",
        "port": "/items/0/port",
        "queue": "/items/0/queue_id",
    },
    "/v1/vms": {"id": "/items/0/id"},
    "/v1/vms/{id}/hints": {"id": "/vm", "name": "/hints/0/name"},
    "/v1/flows": {"id": "/items/0/id"},
    "/v1/databases": {"name": "/items/0/name"},
}
"""List -> where its answer has the variables of the paths of what is in it (JSON pointers)."""


def _add_links(paths: Mapping[str, Any]) -> None:
    """Link lists with what is in them, and with their next page."""
    for listed, operation in ((path, item["get"]) for path, item in paths.items() if "get" in item):
        links = {
            other["operationId"]: {
                "operationId": other["operationId"],
                "parameters": {f"path.{name}": f"$response.body#{at}" for name, at in LINKS[listed].items()},
            }
            for path, item in (paths.items() if listed in LINKS else ())
            for other in item.values()
            if path.startswith(f"{listed}/") and set(re.findall(r"{(\w+)}", path)) == set(LINKS[listed])
        }
        if any(item["name"] == "cursor" for item in operation["parameters"]):
            links["next"] = {
                "operationId": operation["operationId"],
                "parameters": {"query.cursor": "$response.body#/next"},
            }
        if links:
            operation["responses"]["200"]["links"] = links


def _add_examples(paths: Mapping[str, Any], components: Mapping[str, Any]) -> None:
    """Give each body and each answer in JSON an example."""
    for operation in (operation for item in paths.values() for operation in item.values()):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for kind, content in ((k, c) for body in bodies for k, c in body.get("content", {}).items()):
            if kind in (JSON, MERGE_PATCH) and content["schema"] != {"type": "object"}:
                content["example"] = example_of(content["schema"], components)


def _body_schema(route: Route, kind: str, components: dict[str, Schema]) -> Schema:
    if route.takes is not None:
        return schema_of(route.takes, components)
    # JSON is YAML, too (YAML 1.2, 1.2).
    return {"type": "object"} if kind == JSON else {"type": "string"}


def _responses(route: Route, components: dict[str, Schema], conditions: Mapping[str, str]) -> dict[str, Any]:
    no_content = 204 in route.also
    schema = {"type": "string"} if route.gives is None else schema_of(route.gives, components)
    content = {kind.partition(";")[0]: {"schema": _for_media(kind, schema)} for kind in route.produces}
    answers: dict[str, Any] = (
        {"204": {"description": "done"}}
        if no_content
        else {"200": {"description": route.about, "content": content}}
    )
    if "{dpid}" in route.path:
        answers["307"] = _problem("another controller leads the device, at Location")
        answers["421"] = _problem("another controller leads the device, which has no address")
    for status in route.also:
        if status == 503 and route.gives is types.Health:
            answers["503"] = {"description": HTTPStatus(503).phrase, "content": content}
        elif status == 201:
            answers["201"] = {"description": HTTPStatus(201).phrase, "content": content}
        elif status != 204:
            answers[str(status)] = _problem(HTTPStatus(status).phrase)
    if route.method == "GET" and "200" in answers:
        answers["200"]["headers"] = _headers("Cache-Control", *(("ETag",) if conditions is UNLESS else ()))
    if conditions is UNLESS:
        answers["304"] = {"description": "the client has what is shown", "headers": _headers("ETag")}
    if conditions is CONDITIONS:
        answers["412"] = _problem("a condition of the request does not hold")
    if route.parameters or conditions is RESUME:
        answers["400"] = _problem("a parameter or a header cannot be read; field names it")
    if route.needs is not Scope.PUBLIC:
        answers["401"] = _problem("a token is needed") | {"headers": _headers("WWW-Authenticate")}
        answers["403"] = _problem("the token may not do this, or a page of another site asks for a change")
    if stream.MEDIA_TYPE in route.produces:
        answers["503"]["headers"] = _headers("Retry-After")
    answers["default"] = _problem("the request failed")
    return answers


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _for_media(kind: str, schema: Schema) -> Schema:
    return schema if kind == "application/json" else {"type": "string"}


def _problem(text: str) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
