"""Responses. WebOb's own constructor drops the content type when it is given headers; this one does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from webob import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"


def respond(
    body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a body. Never cached unless the headers say otherwise, since the state moves on."""
    response = Response(body, status=status)
    response.headers["Content-Type"] = content_type
    response.headers.update({"Cache-Control": "no-store", **(headers or {})})
    return response


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return respond(json.dumps(value, allow_nan=False).encode() + b"\n", JSON, status)


def empty(headers: Mapping[str, str] | None = None) -> Response:
    """The answer 204: done, and nothing to say."""
    response = Response(status=204, content_type=None)
    response.headers.update(headers or {})
    return response
