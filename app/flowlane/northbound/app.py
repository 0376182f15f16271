"""The WSGI application of REST: the table of routes, and how a request is answered.

Every error is answered with a problem document (:mod:`flowlane.northbound.problems`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from importlib.resources import files
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from webob import Request, Response

from flowlane.northbound import (
    conditional,
    database_types,
    device_lists,
    device_types,
    event_types,
    hint_types,
    history_handlers,
    metrics,
    operator_handlers,
    operator_types,
    query,
    read_handlers,
    stream,
    topology_handlers,
    topology_types,
    types,
    vm_types,
    write_handlers,
)
from flowlane.northbound.access import OPEN, SAFE_METHODS, Access, Scope
from flowlane.northbound.exposition import MEDIA_TYPE
from flowlane.northbound.openapi import document
from flowlane.northbound.problems import JSON, ProblemError, empty, json_response, respond, response_of
from flowlane.northbound.routing import PATCH_TYPES, YAML, YAML_TYPES, Call, Route, keep_body

if TYPE_CHECKING:
    from flowlane.northbound.controller import Controller

HTML = "text/html"
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: it loads nothing, and connects to this server only."""

_ROUTE = "flowlane.route"
"""Key of the WSGI environment: the path of the request's route."""

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def page(call: Call) -> Response:  # noqa: ARG001
    """Answer with the page."""
    text = files("flowlane.northbound").joinpath("static/index.html").read_text("utf-8")
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
    return respond(text.encode(), f"{HTML}; charset=utf-8", headers=headers)


def openapi(call: Call) -> Response:
    """Answer with the OpenAPI document."""
    return respond(call.document, JSON)


def readyz(call: Call) -> Response:
    """Answer whether the controller is ready: 200 or 503."""
    return json_response(*read_handlers.readiness(call))


def prometheus(call: Call) -> Response:
    """Answer with the metrics."""
    text = metrics.exposition(call.controller)
    return respond(text.encode(), MEDIA_TYPE)


_FLOW_PAGE = (*query.PAGE, query.SORT, *query.FLOW_FILTERS)
_ASSIGNMENT_PAGE = (*query.PAGE, query.SORT, *query.ASSIGNMENT_FILTERS)
_R, _T, _W, _O, _L = read_handlers, topology_handlers, write_handlers, operator_handlers, device_lists

ROUTES = (
    Route(
        "GET",
        "/",
        page,
        "A page with live tables of devices, queues and assignments",
        produces=(HTML,),
        scope=Scope.PUBLIC,
    ),
    Route("GET", "/openapi.json", openapi, "This OpenAPI document", dict[str, Any], scope=Scope.PUBLIC),
    Route("GET", "/healthz", _R.healthz, "Liveness: the process answers", types.Health, scope=Scope.PUBLIC),
    Route(
        "GET",
        "/readyz",
        readyz,
        "Readiness: the controller has what it needs",
        types.Health,
        also=(503,),
        scope=Scope.PUBLIC,
    ),
    Route("GET", "/metrics", prometheus, "Metrics for Prometheus", produces=(MEDIA_TYPE,)),
    Route("GET", "/v1/status", _R.status, "The controller's own state", types.Status),
    Route(
        "GET", "/v1/databases", _R.databases, "Databases", types.Page[database_types.DatabaseView], query.PAGE
    ),
    Route("GET", "/v1/databases/{name}", _R.database, "A database", database_types.DatabaseView, also=(404,)),
    Route(
        "PUT",
        "/v1/databases/{name}",
        _W.put_database,
        "Follow a host's database from now on",
        database_types.DatabaseView,
        takes=database_types.DatabaseInput,
        accepts=(JSON,),
        also=(201, 409, 422),
    ),
    Route(
        "DELETE",
        "/v1/databases/{name}",
        _W.delete_database,
        "Follow a database that was announced no more",
        also=(204, 404, 409),
    ),
    Route("GET", "/v1/devices", _R.devices, "Devices", types.Page[types.DeviceView], query.PAGE),
    Route("GET", "/v1/devices/{dpid}", _R.device, "A device", types.DeviceView, also=(404,)),
    Route(
        "PATCH",
        "/v1/devices/{dpid}",
        _O.patch_device,
        "Give a device a role by hand",
        types.DeviceView,
        takes=operator_types.DeviceInput,
        accepts=PATCH_TYPES,
        also=(404, 409, 422),
    ),
    Route(
        "GET",
        "/v1/devices/{dpid}/ports",
        _R.ports,
        "The ports of a device, with roles and the reasons for them",
        types.Page[types.PortView],
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/devices/{dpid}/queues",
        _R.queues,
        "The queues of a device, with flows, load and class",
        types.Page[types.QueueView],
        (query.PORT,),
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/devices/{dpid}/queues/{port}/{queue}",
        _O.queue,
        "A queue",
        types.QueueView,
        also=(404,),
    ),
    Route(
        "PATCH",
        "/v1/devices/{dpid}/queues/{port}/{queue}",
        _O.patch_queue,
        "Cordon, drain or open a queue",
        types.QueueView,
        takes=operator_types.QueueInput,
        accepts=PATCH_TYPES,
        also=(404, 409, 422),
    ),
    Route(
        "GET",
        "/v1/devices/{dpid}/queues/history",
        history_handlers.queue_history,
        "Load, flows and moves of a device's queues within the last hour",
        event_types.QueueHistories,
        (query.PORT, query.SINCE, query.STEP),
        also=(404,),
    ),
    Route(
        "GET", "/v1/vms", _R.vms, "VMs", types.Page[vm_types.VmView], (*query.PAGE, query.DEVICE), also=(404,)
    ),
    Route("GET", "/v1/vms/{id}", _R.vm, "A VM", vm_types.VmView, also=(404,), scope=Scope.VM),
    Route(
        "GET",
        "/v1/vms/{id}/hints",
        _R.hints,
        "The hints of a VM",
        hint_types.Hints,
        also=(404,),
        scope=Scope.VM,
    ),
    Route(
        "PUT",
        "/v1/vms/{id}/hints",
        _W.put_hints,
        "Replace a VM's hints that came over REST",
        hint_types.Hints,
        takes=hint_types.HintsInput,
        accepts=(JSON,),
        also=(404, 422),
        scope=Scope.HINT,
    ),
    Route(
        "DELETE",
        "/v1/vms/{id}/hints",
        _W.delete_hints,
        "Withdraw the hints of a VM that came over REST",
        also=(204, 404),
        scope=Scope.HINT,
    ),
    Route(
        "GET",
        "/v1/vms/{id}/hints/{name}",
        _O.hint,
        "A hint that came over REST",
        hint_types.HintView,
        also=(404,),
        scope=Scope.VM,
    ),
    Route(
        "PUT",
        "/v1/vms/{id}/hints/{name}",
        _O.put_hint,
        "Give one hint, or replace it; the VM's others stay",
        hint_types.HintView,
        takes=hint_types.HintInput,
        accepts=(JSON,),
        also=(201, 404, 409, 422),
        scope=Scope.HINT,
    ),
    Route(
        "DELETE",
        "/v1/vms/{id}/hints/{name}",
        _O.delete_hint,
        "Withdraw one hint that came over REST",
        also=(204, 404),
        scope=Scope.HINT,
    ),
    Route("GET", "/v1/flows", _R.flows, "Flows", types.Page[types.FlowView], _FLOW_PAGE, also=(404,)),
    Route("GET", "/v1/flows/{id}", _R.flow, "A flow", types.FlowView, also=(404,)),
    Route(
        "GET",
        "/v1/flows/{id}/explain",
        _R.explain,
        "Why a flow is on its queue",
        types.Explanation,
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/flows/{id}/pin",
        _O.flow_pins,
        "To which queues operators have pinned a flow",
        operator_types.Pins,
        also=(404,),
    ),
    Route(
        "PUT",
        "/v1/flows/{id}/pin",
        _O.put_pin,
        "Pin a flow to a queue of a device, for a time",
        operator_types.Pins,
        takes=operator_types.PinInput,
        accepts=(JSON,),
        also=(404, 409, 422),
    ),
    Route(
        "DELETE",
        "/v1/flows/{id}/pin",
        _O.delete_pin,
        "Take the pins of a flow back",
        parameters=(query.DEVICE,),
        also=(204, 404),
    ),
    Route(
        "GET",
        "/v1/pins",
        _O.pins,
        "The flows that operators have pinned to queues",
        types.Page[operator_types.PinView],
        query.PAGE,
    ),
    Route(
        "GET",
        "/v1/assignments",
        _R.assignments,
        "Which flow is on which queue",
        types.Page[types.AssignmentView],
        _ASSIGNMENT_PAGE,
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/topology",
        _T.topology,
        "Devices, links and hosts as a graph; loops, and what differs from the expected network",
        topology_types.TopologyView,
    ),
    Route(
        "GET",
        "/v1/hosts",
        _T.hosts,
        "Machines with their bridges",
        types.Page[topology_types.HostView],
        query.PAGE,
    ),
    Route(
        "GET",
        "/v1/addresses",
        _T.addresses,
        "Where MAC addresses are attached",
        types.Page[topology_types.AddressView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/ports",
        _L.all_ports,
        "The ports of all devices, with roles and the reasons for them",
        types.Page[device_types.DevicePortView],
        (*query.PAGE, query.DEVICE, query.ROLE),
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/meters",
        _L.meters,
        "The meters of all devices: what each limits, and what it has dropped",
        types.Page[device_types.DeviceMeterView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/groups",
        _L.groups,
        "The groups by which devices spread new flows over queues",
        types.Page[device_types.GroupView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
    ),
    Route(
        "GET",
        "/v1/left-out",
        _L.left_out,
        "Parts of the policy that devices do not get, why, and what would help",
        types.Page[device_types.DeviceLeftOutView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
    ),
    Route("GET", "/v1/policy", _W.get_policy, "The policy in force", types.PolicyView, produces=(JSON, YAML)),
    Route(
        "PUT",
        "/v1/policy",
        _W.put_policy,
        "Replace the policy atomically",
        types.PolicyChange,
        accepts=YAML_TYPES,
        also=(412, 422),
    ),
    Route(
        "POST",
        "/v1/policy/check",
        _W.check_policy,
        "What a policy would change",
        types.PolicyChange,
        accepts=YAML_TYPES,
        also=(422,),
        scope=Scope.READ,
    ),
    Route(
        "GET",
        "/v1/events",
        stream.events,
        "What has happened: as server-sent events that go on, or as JSON what is kept",
        types.Page[event_types.EventView],
        (query.EVENT_KIND, query.LAST, query.SINCE),
        produces=(stream.MEDIA_TYPE, JSON),
        also=(503,),
    ),
)


class _Resource(NamedTuple):
    """The routes of one path, by method, and the values of the path's variables."""

    methods: Mapping[str, Route]
    path: Mapping[str, str]


def make_app(controller: Controller, access: Access = OPEN) -> WsgiApp:
    """Make the WSGI application over a controller."""
    text = json.dumps(document(ROUTES)).encode() + b"\n"

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request, began = Request(environ), perf_counter()
        try:
            response = conditional.finish(request, _answer(controller, access, request, text))
        except Exception as error:
            response = response_of(error)
        seconds = perf_counter() - began
        controller.telemetry.http.note(request.method, environ.get(_ROUTE), response.status_int, seconds)
        response.headers["X-Content-Type-Options"] = "nosniff"
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    return app


def _answer(controller: Controller, access: Access, request: Request, text: bytes) -> Response:
    access.check_host(request)
    resource = _find(_segments(request))
    methods = resource.methods
    request.environ[_ROUTE] = next(iter(methods.values())).path
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
    caller = access.admit(request, route.needs, controller.state, resource.path.get("id", ""))
    _negotiate(request, route)
    values = query.read_query(request, route.parameters)
    if method not in SAFE_METHODS and "GET" in methods and conditional.asks(request):
        # The body is read before, so that nobody else can change anything between the check and the change.
        keep_body(request)
        present = Call(controller, request, controller.clock(), resource.path, {}, text, caller)
        conditional.check(request, lambda: _validator(methods["GET"], present))
    return _response(
        route, Call(controller, request, controller.clock(), resource.path, values, text, caller)
    )


def _response(route: Route, call: Call) -> Response:
    answer = route.handler(call)
    return answer if isinstance(answer, Response) else json_response(answer)


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


def _find(segments: list[str]) -> _Resource:
    methods: dict[str, Route] = {}
    path: dict[str, str] = {}
    for route in ROUTES:
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
