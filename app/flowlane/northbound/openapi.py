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
from flowlane.northbound import problems, types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.northbound.routing import Route

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
    return {**schema_of(arguments[0], components), "description": arguments[1]}


def _literal(arguments: Arguments, components: Components) -> Schema:  # noqa: ARG001
    return {"enum": list(arguments)}


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


PATH_PARAMETERS = {
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
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, components)
    schema_of(types.Problem, components)
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
    no_content = 204 in route.also
    schema = {"type": "string"} if route.gives is None else schema_of(route.gives, components)
    content = {kind.partition(";")[0]: {"schema": _for_media(kind, schema)} for kind in route.produces}
    answers: dict[str, Any] = (
        {"204": {"description": "done"}}
        if no_content
        else {"200": {"description": route.about, "content": content}}
    )
    for status in route.also:
        if status == 503 and route.gives is types.Health:
            answers["503"] = {"description": HTTPStatus(503).phrase, "content": content}
        elif status == 201:
            answers["201"] = {"description": HTTPStatus(201).phrase, "content": content}
        elif status != 204:
            answers[str(status)] = _problem(HTTPStatus(status).phrase)
    answers["default"] = _problem("the request failed")
    return answers


def _for_media(kind: str, schema: Schema) -> Schema:
    return schema if kind == "application/json" else {"type": "string"}


def _problem(text: str) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
