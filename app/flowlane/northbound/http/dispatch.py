"""How a request finds its route: host, path, method, access, media types, parameters, conditions."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from webob import Response

from flowlane import pauses
from flowlane.escaping import escaped
from flowlane.northbound import query
from flowlane.northbound.http import conditional, referral
from flowlane.northbound.http.access import SAFE_METHODS, Scope
from flowlane.northbound.http.problems import ProblemError, empty, json_response
from flowlane.northbound.http.routing import Call, keep_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from webob import Request

    from flowlane.northbound.controller import Controller
    from flowlane.northbound.http.access import Access, Caller
    from flowlane.northbound.http.routing import Route

ROUTE = "flowlane.route"
"""Key of the WSGI environment: the path of the request's route."""


_CHANGES = {Scope.OPERATE: logging.INFO, Scope.HINT: logging.DEBUG}
"""Scopes of routes that change something -> level at which that is logged; VMs may give hints all the time."""

_SHOWN = 200
"""Characters of a path that the log has."""

_LOG = logging.getLogger(__name__)


class _Resource(NamedTuple):
    """The routes of one path, by method, and the values of the path's variables."""

    methods: Mapping[str, Route]
    path: Mapping[str, str]


def answer(
    routes: Sequence[Route], controller: Controller, access: Access, request: Request, text: bytes
) -> Response:
    """Answer a request, once it is clear who sent it and what it asks for; ``text``: the OpenAPI document.

    Raises:
        ProblemError: it fails.
    """
    access.check_host(request)
    resource = _find(routes, _segments(request))
    methods = resource.methods
    request.environ[ROUTE] = next(iter(methods.values())).path
    method = "GET" if request.method == "HEAD" else request.method
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"}))
    if method == "OPTIONS":
        return empty({"Allow": allow})
    route = methods.get(method)
    if route is None:
        raise ProblemError(
            405, f"method {request.method} is not allowed here; allowed: {allow}", headers={"Allow": allow}
        )
    access.check_origin(request, bool(route.accepts))
    with _reading(route, resource.path):
        pauses.WORK.wait()
        return _answer(route, resource, controller, access, request, text)


def _reading(route: Route, path: Mapping[str, str]) -> AbstractContextManager[None]:
    """Make the context in which a request waits for long work on what its answer is about, and for no other."""
    if route.is_apart:
        return pauses.WORK.reading(None)
    dpid = path.get("dpid", "")
    return pauses.WORK.reading(int(dpid, 16)) if referral.DPID.fullmatch(dpid) else nullcontext()


def _answer(
    route: Route,
    resource: _Resource,
    controller: Controller,
    access: Access,
    request: Request,
    text: bytes,
) -> Response:
    methods = resource.methods
    caller = access.admit(request, route.needs, controller.state, resource.path.get("id", ""))
    if "dpid" in resource.path:
        referral.check_leader(controller, request, resource.path["dpid"])
    _negotiate(request, route)
    values = query.read_query(request, route.parameters)
    if conditional.asks(request) and route.method not in SAFE_METHODS and "GET" in methods:
        # The body is read before, so that nobody else can change anything between the check and the change.
        keep_body(request)
        present = Call(controller, request, controller.clock(), resource.path, {}, text, caller)
        conditional.check(request, lambda: _validator(methods["GET"], present))
    made = _response(
        route, Call(controller, request, controller.clock(), resource.path, values, text, caller)
    )
    if route.needs in _CHANGES:
        _log_change(request, caller, made.status_int, _CHANGES[route.needs])
    return made


def _log_change(request: Request, caller: Caller, status: int, level: int) -> None:
    """Log who changed what, from where."""
    whom = f" by {caller.name}" if caller.name else ""
    path = escaped(request.path_info)[:_SHOWN]
    _LOG.log(level, "REST: %s %s%s from %s: %d", request.method, path, whom, caller.address or "-", status)


def _response(route: Route, call: Call) -> Response:
    try:
        made = route.handler(call)
    except ProblemError as error:
        referral.name_members(call.controller, error)
        raise
    response = made if isinstance(made, Response) else json_response(made)
    if route.is_partial:
        referral.add_members(call.controller, response)
    return response


def _validator(route: Route, call: Call) -> str | None:
    """Return the validator of what a path has now; None: there is nothing."""
    try:
        return conditional.validator(_response(route, call))
    except ProblemError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


def _segments(request: Request) -> list[str]:
    """Split the path into segments, each decoded on its own: an id may contain an encoded slash.

    The server has the path as it came in ``RAW_PATH_INFO``; WSGI's ``PATH_INFO`` is already decoded.
    """
    raw = request.environ.get("RAW_PATH_INFO")
    try:
        if raw is None:
            return str(request.path_info).split("/")[1:]
        return [unquote(part, errors="strict") for part in raw.partition("?")[0].split("/")[1:]]
    except UnicodeDecodeError as error:
        raise ProblemError(400, "the path is not UTF-8", "path") from error


def _find(routes: Sequence[Route], segments: list[str]) -> _Resource:
    methods: dict[str, Route] = {}
    path: dict[str, str] = {}
    for route in routes:
        variables = _match(route.path.split("/")[1:], segments)
        if variables is not None:
            methods[route.method] = route
            path = variables
    if not methods:
        raise ProblemError(404, "there is no such path; /openapi.json lists all paths")
    return _Resource(methods, path)


def _match(template: list[str], segments: list[str]) -> dict[str, str] | None:
    if len(template) != len(segments):
        return None
    variables = {}
    for part, segment in zip(template, segments, strict=True):
        if part.startswith("{") and segment:
            variables[part[1:-1]] = segment
        elif part != segment:
            return None
    return variables


def _negotiate(request: Request, route: Route) -> None:
    """Refuse a request whose Accept (406) or Content-Type (415) the route does not support."""
    plain = [kind.partition(";")[0] for kind in route.produces]
    if 204 not in route.also and not request.accept.acceptable_offers(plain):
        raise ProblemError(406, f"this is available as {' or '.join(plain)} only", "Accept")
    if route.accepts and request.content_type not in route.accepts:
        raise ProblemError(415, f"the body has to be {route.accepts[0]}", "Content-Type")
