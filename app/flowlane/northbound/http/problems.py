"""HTTP responses of REST, and the problem documents (RFC 9457) of its errors."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from webob import Response

from flowlane.errors import FlowlaneError, PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.northbound.types import Problem, ProblemPlace
    from flowlane.northbound.types.referrals import MemberAddress

JSON = "application/json"


def respond(
    body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Make a response with a body; it is not cached, unless the headers allow it.

    WebOb's own constructor drops the content type when it gets headers.
    """
    response = Response(body, status=status)
    response.headers["Content-Type"] = content_type
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response


def json_response(value: object, status: int = 200) -> Response:
    """Make a JSON response."""
    return respond(json.dumps(value, allow_nan=False).encode() + b"\n", JSON, status)


def empty(headers: Mapping[str, str] | None = None) -> Response:
    """Make a response without a body (204)."""
    response = Response(status=204, content_type=None)
    response.headers.update(headers or {})
    return response


MEDIA_TYPE = "application/problem+json"
POLICY_REFUSED = "tag:flowlane,2026:policy-refused"
"""The only problem type of its own: ``errors`` has every place in the document (RFC 9457, 3.1.1; RFC 4151)."""

_LOG = logging.getLogger(__name__)


class ProblemError(FlowlaneError):
    """A request that fails. ``field`` is the query parameter, header or key at fault.

    ``members``: other controllers that may have what is not here.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        field: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.field = field
        self.headers = dict(headers or {})
        self.members: Sequence[MemberAddress] = ()


def bad_field(field: str, detail: str) -> ProblemError:
    """Make the error for a wrong value of a query parameter, header or key."""
    return ProblemError(400, detail, field)


def response_of(error: Exception) -> Response:
    """Make the response to a request that ended with an exception; an unexpected one is logged, and not shown."""
    if isinstance(error, ProblemError):
        return _answer(error.status, str(error), error.field, error.headers, error.members)
    if isinstance(error, PolicyError):
        return _policy_refused(error)
    _LOG.error("a request ended with an unexpected exception", exc_info=error)
    return _answer(500, "the controller failed to answer because of a bug; look into its log")


def _answer(
    status: int,
    detail: str,
    field: str = "",
    headers: Mapping[str, str] | None = None,
    members: Sequence[MemberAddress] = (),
) -> Response:
    problem: Problem = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if field:
        problem["field"] = field
    if members:
        problem["members"] = list(members)
    return _response(problem, headers)


def _policy_refused(error: PolicyError) -> Response:
    count = len(error.problems)
    places: list[ProblemPlace] = [
        {"line": p.line, "column": p.column, "path": p.path, "detail": p.message, "remedy": p.remedy}
        for p in error.problems
    ]
    return _response(
        {
            "type": POLICY_REFUSED,
            "title": "Policy refused",
            "status": 422,
            "detail": f"the policy has {count} mistake{'s' * (count != 1)}; nothing was changed",
            "errors": places,
        }
    )


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(problem).encode() + b"\n"
    return respond(body, MEDIA_TYPE, problem["status"], headers)
