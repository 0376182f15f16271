"""Types of what an answer says about other controllers of those that share a database."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flowlane.northbound.types.forms import Dpid


class MemberAddress(TypedDict):
    """Another controller of those that share a database."""

    name: Annotated[str, "its --member"]
    url: Annotated[str, "where its REST is; empty where others cannot reach it"]


class MemberReference(MemberAddress):
    """Another controller, and the devices about which it has to be asked."""

    devices: Annotated[list[Dpid], "devices that it leads: the answer has nothing of them that counts"]


Members = Annotated[
    list[MemberReference],
    "other controllers that lead devices, of several; absent where all that there is is in this answer",
]
