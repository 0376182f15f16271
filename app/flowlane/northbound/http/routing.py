"""Routes and calls of REST: what a route declares, what a handler gets; readers of request bodies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane import hub
from flowlane.framing import ChunkTooLargeError
from flowlane.northbound.http.access import NOBODY, SAFE_METHODS, Caller, Scope
from flowlane.northbound.http.problems import JSON, ProblemError

if TYPE_CHECKING:
    from webob import Request

    from flowlane.northbound.controller import Clock, Controller
    from flowlane.northbound.query import Parameter

YAML = "application/yaml"
YAML_TYPES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", JSON)
"""Media types of a policy. JSON is YAML too (YAML 1.2, 1.2); RFC 9512 registers application/yaml."""

PATCH_TYPES = (JSON, "application/merge-patch+json")
"""Media types of a change of some fields (RFC 7396)."""

MAX_BODY = 4 << 20
"""Bytes of a request's body: room for a policy of some 20,000 rules."""


BODY_WITHIN = 30.0
"""Seconds in which a body has to be here, a byte at a time or all at once."""
MAX_JSON = 64 << 10
"""Bytes of a body that is JSON: room for all hints that a VM may have."""

_BODY = "flowlane.body"
"""Key of WSGI's environment: the body, where it was read before the handler is called."""


class Call(NamedTuple):
    """A request for a handler. ``path`` and ``query``: values from the URL. ``document``: the OpenAPI text.

    ``caller``: who sent it.
    """

    controller: Controller
    request: Request
    clock: Clock
    path: Mapping[str, str]
    query: Mapping[str, Any]
    document: bytes
    caller: Caller = NOBODY


Handler = Callable[[Call], object]
"""Returns a JSON-ready object, or a response."""


class Route(NamedTuple):
    """One method on one path. The application and the OpenAPI document are made from these.

    ``about``: a summary. ``gives``: type of the answer, None where it is not JSON. ``produces``: media types
    of the answer, the default first. ``takes``: type of the body, None where it is not JSON. ``accepts``:
    media types of the body, empty where there is none. ``also``: other HTTP statuses of answers. ``scope``: what it
    asks of a token; None: ``read`` where the method changes nothing, else ``operate``. ``is_partial``: the answer, a
    JSON object, is about all devices, and has those that this controller leads. ``is_apart``: the answer has nothing of
    devices, VMs and flows, so that it does not wait while one of them is taken in.
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
    scope: Scope | None = None
    is_partial: bool = False
    is_apart: bool = False

    @property
    def needs(self) -> Scope:
        """What it asks of a token."""
        return self.scope or (Scope.READ if self.method in SAFE_METHODS else Scope.OPERATE)


def read_body(request: Request) -> bytes:
    """Read a request's body, up to the limit.

    Raises:
        ProblemError: it is too large, too slow, or ends early.
    """
    kept: bytes | None = request.environ.get(_BODY)
    if kept is not None:
        return kept
    too_large = ProblemError(413, f"the body is too large; at most {MAX_BODY} bytes are read")
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    chunked = "chunked" in request.headers.get("Transfer-Encoding", "").lower()
    length = MAX_BODY + 1 if chunked else request.content_length or 0
    body = b""

    def read() -> None:
        nonlocal body
        body = request.environ["wsgi.input"].read(length)

    try:
        if length and not hub.within(BODY_WITHIN, read):
            raise ProblemError(
                408, f"the body was not here within {BODY_WITHIN:g} s", headers={"Connection": "close"}
            )
    except ChunkTooLargeError as error:
        raise too_large from error
    except (ValueError, OSError) as error:
        raise ProblemError(400, "the body ended early, or its chunks are wrong", "body") from error
    if len(body) > MAX_BODY:
        raise too_large
    if not chunked and len(body) < length:
        raise ProblemError(400, "the body ended early", "body")
    return body


def keep_body(request: Request) -> None:
    """Read a request's body now; the readers get it later.

    Raises:
        ProblemError: it is too large, or ends early.
    """
    request.environ[_BODY] = read_body(request)


def read_text(request: Request) -> str:
    """Read a request's body as UTF-8.

    Raises:
        ProblemError: it is too large, or not UTF-8.
    """
    try:
        return read_body(request).decode()
    except UnicodeDecodeError as error:
        raise ProblemError(400, f"the body is not UTF-8 at byte {error.start}", "body") from error


def read_json(request: Request) -> object:
    """Read a request's body as JSON.

    Raises:
        ProblemError: it is too large, or not JSON; the text has the place.
    """
    text = read_text(request)
    if len(text) > MAX_JSON:
        raise ProblemError(413, f"the body is too large; at most {MAX_JSON} bytes of JSON are read")
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
    """Make a strong validator of a text (RFC 9110, 8.8.3), without quotes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
