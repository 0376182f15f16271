"""Types of the hints of VMs that come apart from their packets."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from flowlane.northbound.types import HintOrigin, OfClass
from flowlane.northbound.types.forms import Moment


class HintView(OfClass):
    """A hint of a VM, given apart from the flow."""

    id: str
    name: Annotated[str | None, "its name, or its place in the list; null: it did not come over REST"]
    vm: str
    match: Annotated[dict[str, Any], "the flows that it is for; empty: all flows of the VM"]
    source: HintOrigin
    expires: Annotated[Moment | None, "null: never"]
    ignored: Annotated[str | None, "why the policy in force ignores it; null: it does not"]


class Hints(TypedDict):
    """All hints of a VM."""

    vm: str
    hints: list[HintView]


class HintInput(OfClass):
    """A hint as it is sent."""

    match: NotRequired[
        Annotated[dict[str, Any], "keys of a policy rule about packets; empty: all flows of the VM"]
    ]
    lifetime: NotRequired[Annotated[float | None, "s; null or absent: it does not expire"]]


class HintsInput(TypedDict):
    """The hints of a VM; they replace all that came over REST."""

    hints: list[HintInput]
