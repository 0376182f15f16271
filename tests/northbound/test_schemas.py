from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator

from flowlane.northbound.policy_shapes import HintsInput
from flowlane.northbound.schemas import schema_of
from flowlane.northbound.shapes import Page, VmView


class Leaf(TypedDict):
    """A leaf."""

    size: Annotated[int | None, "bytes"]
    kind: Literal["a", "b"]
    extra: NotRequired[list[str]]


def test_an_object_is_closed_and_says_what_is_optional():
    assert schema_of(Leaf) == {
        "type": "object",
        "description": "A leaf.",
        "properties": {
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "bytes"},
            "kind": {"enum": ["a", "b"]},
            "extra": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["kind", "size"],
        "additionalProperties": False,
    }


def test_components_are_shared_and_generic_shapes_are_filled():
    components: dict[str, Any] = {}
    assert schema_of(Page[VmView], components) == {"$ref": "#/components/schemas/PageVmView"}
    assert components["PageVmView"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/VmView"}
    assert "macs" in components["VmView"]["properties"]


def test_what_json_has_not_is_refused():
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
def test_bodies_are_checked_with_it(body, sound):
    assert Draft202012Validator(schema_of(HintsInput)).is_valid(body) is sound
