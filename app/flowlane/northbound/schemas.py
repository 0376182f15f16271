"""JSON Schemas (2020-12) out of the shapes: what the views' types say is what is published and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import (
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
    """The schema of a type. With ``components`` the schemas of objects are put there, and referred to.

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
    """A field's type with the type variables of a generic shape filled in, and NotRequired taken off."""
    if get_origin(kind) is NotRequired:
        return get_args(kind)[0]
    if kind in variables:
        return variables[kind]
    return kind[tuple(variables.values())] if getattr(kind, "__parameters__", None) else kind
