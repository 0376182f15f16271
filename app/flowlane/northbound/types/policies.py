"""Types of the JSON objects of REST about the policy's origin; see :mod:`flowlane.northbound.types`."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from flowlane.northbound.types.forms import Moment

PolicySource = Literal["built-in", "file", "rest"]


class PolicyOriginView(TypedDict):
    """Where the policy in force came from."""

    source: Annotated[PolicySource, "file: the file given at start"]
    time: Annotated[Moment, "of the request, of the file's last change, or of the start"]
    by: Annotated[str | None, "name of the token or certificate of who sent it; null: none was needed"]
    address: Annotated[str | None, "IP address from which it was sent; null: it did not come over REST"]
    file: Annotated[str | None, "null: it came from no file"]
    kept: Annotated[bool, "it is in force again after a restart"]
