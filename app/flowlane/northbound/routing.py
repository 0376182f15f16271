"""What a handler gets, and what a route declares of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane.northbound.problems import JSON, ProblemError

if TYPE_CHECKING:
    from webob import Request

    from flowlane.northbound.controller import Clock, Controller
    from flowlane.northbound.query import Parameter

YAML = "application/yaml"
YAML_TYPES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", JSON)
"""What a policy may be sent as: JSON is YAML too (YAML 1.2, 1.2); RFC 9512 registers application/yaml."""

MAX_BODY = 4 << 20
"""Bytes of a request's body: room for a policy of some 20,000 rules."""


class Call(NamedTuple):
    """One request on its way to a handler. ``path`` and ``query`` hold what was read out of the URL."""

    controller: Controller
    request: Request
    clock: Clock
    path: Mapping[str, str]
    query: Mapping[str, Any]
    document: bytes


Handler = Callable[[Call], object]
"""Gives a JSON-ready object, or a whole response."""


class Route(NamedTuple):
    """One method on one path: the server's table and the OpenAPI document are both made of these.

    ``gives`` is the shape of the answer, None where it is not JSON; ``produces`` the media types that it comes
    in, the first by default; ``takes`` the shape of the body, None where it is not JSON; ``accepts`` the
    body's media types, empty where there is no body; ``also`` are other statuses that the route answers with.
    """

    method: str
    path: str
    handler: Handler
    about: str
    gives: object = None
    parameters: tuple[Parameter, ...] = ()
    produces: tuple[str, ...] = (JSON,)
    takes: object = None
    accepts: tuple[str, ...] = ()
    also: tuple[int, ...] = ()


def read_body(request: Request) -> bytes:
    """Read a request's body, up to the limit.

    Raises:
        ProblemError: it is too large, or broke off.
    """
    too_large = ProblemError(413, f"a body may have {MAX_BODY} bytes at most")
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    wanted = MAX_BODY + 1 if chunked else request.content_length or 0
    try:
        body: bytes = request.environ["wsgi.input"].read(wanted) if wanted else b""
    except (ValueError, OSError) as error:
        raise ProblemError(400, "the body broke off, or its chunks are wrong", "body") from error
    if len(body) > MAX_BODY:
        raise too_large
    if not chunked and len(body) < wanted:
        raise ProblemError(400, "the body broke off", "body")
    return body


def read_text(request: Request) -> str:
    """Read a request's body as UTF-8.

    Raises:
        ProblemError: it is too large, or not UTF-8.
    """
    try:
        return read_body(request).decode()
    except UnicodeDecodeError as error:
        raise ProblemError(400, f"the body is not UTF-8: byte {error.start} is wrong", "body") from error


def read_json(request: Request) -> object:
    """Read a request's body as JSON.

    Raises:
        ProblemError: it is too large, or not JSON; the place is named.
    """
    text = read_text(request)
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ProblemError(400, f"the body is not JSON: {error.msg} at {place}", "body") from error
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"the body is not JSON that can be read: {error}", "body") from error
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value (RFC 8259, 6)")


def etag_of(text: str) -> str:
    """A strong validator of a text (RFC 9110, 8.8.3), without its quotes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
