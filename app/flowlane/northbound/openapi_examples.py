"""Examples of answers and bodies for OpenAPI, made of their schemas: each fits its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BY_NAME: Mapping[str, object] = {
    "vm": "vm3",
    "vm_name": "web",
    "name": "br-nic",
    "device_name": "br-nic",
    "port": "uplink",
    "port_no": 9,
    "queue_id": 3,
    "class": "heavy",
    "protocol": "tcp",
    "src": "10.0.0.2",
    "dst": "10.0.0.254",
    "src_port": 40000,
    "dst_port": 80,
    "rate": 4158,
    "limit": 8000000,
    "lifetime": 3600,
    "match": {"dst-port": 80},
    "target": "tcp:192.0.2.10:6640",
    "text": "version: 1\n",
    "reason": "grouped",
    "hostname": "compute1",
}
"""Field -> its example, where the field's type allows it."""

_PLAIN: Mapping[str, object] = {"string": "", "integer": 1, "number": 1.5, "boolean": True, "null": None}

LONGEST = 6
"""Levels of an object that have an example; what is deeper is left out where it may be."""


def example_of(
    schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0
) -> Any:
    """Make an example of a schema.

    Args:
        schema: what the example is to fit.
        components: the schemas that it refers to.
        name: of the field, by which a telling value is found.
        depth: levels of objects around it.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
    for word in ("examples", "enum"):
        if word in schema:
            return schema[word][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], components, name, depth)
    kind = schema.get("type", "")
    known = BY_NAME.get(name)
    if known is not None and _fits(known, kind):
        return known
    return _composed(kind, schema, components, name, depth)


def _composed(
    kind: str, schema: Mapping[str, Any], components: Mapping[str, Any], name: str, depth: int
) -> Any:
    if kind == "object":
        required = schema.get("required", ())
        return {
            field: example_of(of_field, components, field, depth + 1)
            for field, of_field in schema.get("properties", {}).items()
            if field in required or depth < LONGEST
        }
    if kind == "array":
        return [] if depth >= LONGEST else [example_of(schema["items"], components, name, depth + 1)]
    return schema.get("minimum", _PLAIN.get(kind, {}))


def _fits(value: object, kind: str) -> bool:
    kinds = {"string": str, "integer": int, "number": int, "object": dict}
    return kind in kinds and isinstance(value, kinds[kind])
