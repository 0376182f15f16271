"""The WSGI application of REST: the table of routes, and how a request is answered.

Every error is answered with a problem document (:mod:`flowlane.northbound.http.problems`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from time import perf_counter
from typing import TYPE_CHECKING, Any

from webob import Request, Response

from flowlane.northbound import page, query, types
from flowlane.northbound.handlers import device_lists
from flowlane.northbound.handlers import history as history_handlers
from flowlane.northbound.handlers import operators as operator_handlers
from flowlane.northbound.handlers import read as read_handlers
from flowlane.northbound.handlers import topology as topology_handlers
from flowlane.northbound.handlers import write as write_handlers
from flowlane.northbound.http import conditional, stream
from flowlane.northbound.http.access import OPEN, Access, Scope
from flowlane.northbound.http.dispatch import ROUTE, answer
from flowlane.northbound.http.problems import JSON, json_response, respond, response_of
from flowlane.northbound.http.routing import PATCH_TYPES, YAML, YAML_TYPES, Call, Route
from flowlane.northbound.monitoring import metrics
from flowlane.northbound.monitoring.exposition import MEDIA_TYPE
from flowlane.northbound.openapi import document
from flowlane.northbound.types import databases as database_types
from flowlane.northbound.types import devices as device_types
from flowlane.northbound.types import events as event_types
from flowlane.northbound.types import hints as hint_types
from flowlane.northbound.types import members as member_types
from flowlane.northbound.types import operators as operator_types
from flowlane.northbound.types import topology as topology_types
from flowlane.northbound.types import vms as vm_types

if TYPE_CHECKING:
    from flowlane.northbound.controller import Controller


WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


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
        page.page,
        "The page: queues, flows, topology, events and policy",
        produces=(page.HTML,),
        scope=Scope.PUBLIC,
        is_apart=True,
    ),
    Route(
        "GET",
        "/page/{asset}",
        page.asset,
        "A file that the page loads",
        produces=tuple(page.MEDIA_TYPES.values()),
        also=(404,),
        scope=Scope.PUBLIC,
        is_apart=True,
    ),
    Route(
        "GET",
        "/openapi.json",
        openapi,
        "This OpenAPI document",
        dict[str, Any],
        scope=Scope.PUBLIC,
        is_apart=True,
    ),
    Route(
        "GET",
        "/healthz",
        _R.healthz,
        "Liveness: the process answers",
        types.Health,
        scope=Scope.PUBLIC,
        is_apart=True,
    ),
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
    Route(
        "GET",
        "/v1/members",
        _R.members,
        "Controllers that share a database",
        types.Page[member_types.MemberView],
        query.PAGE,
    ),
    Route(
        "GET",
        "/v1/devices",
        _R.devices,
        "Devices",
        types.Page[types.DeviceView],
        query.PAGE,
        is_partial=True,
    ),
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
        "GET",
        "/v1/vms",
        _R.vms,
        "VMs",
        types.Page[vm_types.VmView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
        is_partial=True,
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
    Route(
        "GET",
        "/v1/flows",
        _R.flows,
        "Flows",
        types.Page[types.FlowView],
        _FLOW_PAGE,
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/flows/{id}",
        _R.flow,
        "A flow",
        types.FlowAnswer,
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/flows/{id}/explain",
        _R.explain,
        "Why a flow is on its queue",
        types.Explanation,
        also=(404,),
        is_partial=True,
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
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/assignments",
        _R.assignments,
        "Which flow is on which queue",
        types.Page[types.AssignmentView],
        _ASSIGNMENT_PAGE,
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/topology",
        _T.topology,
        "Devices, links and hosts as a graph; loops, and what differs from the expected network",
        topology_types.TopologyView,
        is_partial=True,
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
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/ports",
        _L.all_ports,
        "The ports of all devices, with roles and the reasons for them",
        types.Page[device_types.DevicePortView],
        (*query.PAGE, query.DEVICE, query.ROLE),
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/meters",
        _L.meters,
        "The meters of all devices: what each limits, and what it has dropped",
        types.Page[device_types.DeviceMeterView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/groups",
        _L.groups,
        "The groups by which devices spread new flows over queues",
        types.Page[device_types.GroupView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/left-out",
        _L.left_out,
        "Parts of the policy that devices do not get, why, and what would help",
        types.Page[device_types.DeviceLeftOutView],
        (*query.PAGE, query.DEVICE),
        also=(404,),
        is_partial=True,
    ),
    Route(
        "GET",
        "/v1/policy",
        _W.get_policy,
        "The policy in force",
        types.PolicyView,
        produces=(JSON, YAML),
        is_apart=True,
    ),
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
        is_apart=True,
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


@cache
def _document() -> bytes:
    """Return the OpenAPI document as JSON; it depends on the code only."""
    return json.dumps(document(ROUTES)).encode() + b"\n"


def make_app(controller: Controller, access: Access = OPEN) -> WsgiApp:
    """Make the WSGI application over a controller."""
    text = _document()

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request, began = Request(environ), perf_counter()
        try:
            response = conditional.finish(request, answer(ROUTES, controller, access, request, text))
        except Exception as error:
            response = response_of(error)
        seconds = perf_counter() - began
        controller.telemetry.http.note(request.method, environ.get(ROUTE), response.status_int, seconds)
        response.headers["X-Content-Type-Options"] = "nosniff"
        body: Iterable[bytes] = response(environ, start_response)
        return body

    return app
