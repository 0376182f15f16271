"""Types of the JSON objects of ``/v1/members``; see :mod:`flowlane.northbound.types`."""

from __future__ import annotations

from typing import Annotated, TypedDict

from flowlane.northbound.types import Seconds
from flowlane.northbound.types.forms import Dpid, Moment


class MemberView(TypedDict):
    """A controller of those that share a database."""

    name: Annotated[str, "its --member"]
    url: Annotated[str, "where its REST is; empty where others cannot reach it"]
    version: str
    started: Moment
    is_own: Annotated[bool, "whether it is the controller that answers"]
    age: Annotated[Seconds, "time since its last beat was seen"]
    connected: Annotated[int, "devices that are connected to it"]
    devices: Annotated[list[Dpid], "devices that it leads"]
