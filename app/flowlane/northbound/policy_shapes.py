"""Objects that REST takes and answers about policy and hints: see :mod:`flowlane.northbound.shapes`."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flowlane.northbound.shapes import HintOrigin, OfClass


class HintView(OfClass):
    """A VM's suggestion, handed over apart from the flow."""

    id: str
    vm: str
    match: Annotated[dict[str, Any], "flows that it is about; empty: all of the VM's"]
    source: HintOrigin
    expires: Annotated[str | None, "RFC 3339; null: it stays"]


class Hints(TypedDict):
    """All suggestions of a VM."""

    vm: str
    hints: list[HintView]


class HintInput(OfClass):
    """A suggestion as it is handed over."""

    match: NotRequired[Annotated[dict[str, Any], "keys as in a policy rule's packet part; empty: all flows"]]
    lifetime: NotRequired[Annotated[float | None, "s; null or absent: it stays"]]


class HintsInput(TypedDict):
    """All suggestions of a VM that REST shall know from now on."""

    hints: list[HintInput]


class ClassView(TypedDict):
    """A class of the policy in force."""

    name: str
    priority: int
    qos: str
    rate_limit: Annotated[int | None, "bit/s"]
    min_rate: Annotated[int | None, "bit/s"]
    exclusive: bool
    road: str


class PolicyView(TypedDict):
    """The policy in force."""

    text: Annotated[str, "the YAML document"]
    classes: list[ClassView]
    rules: list[str]
    strategy: str


class FlowChange(TypedDict):
    """What a policy would do to the flows of all devices, at the rates that they have now."""

    total: int
    reclassified: Annotated[int, "would be of another class"]
    moved: Annotated[int, "would be on another queue after ten seconds"]


class PolicyChange(TypedDict):
    """What a policy document changes against the one in force."""

    applied: bool
    classes_added: list[str]
    classes_removed: list[str]
    classes_changed: list[str]
    rules_added: list[str]
    rules_removed: list[str]
    rules_changed: list[str]
    flows: NotRequired[Annotated[FlowChange, "of a check: what it would do to the flows that there are"]]
