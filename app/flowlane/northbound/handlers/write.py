"""PUT, POST and DELETE handlers of REST: the policy, the hints of VMs, and databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from flowlane.closest import did_you_mean
from flowlane.core.classify.matching import MatchError, read_match
from flowlane.core.events import HintGiven, HintWithdrawn, PolicyReplaced
from flowlane.core.model import Hint, HintSource
from flowlane.core.policy import PolicyOrigin
from flowlane.errors import ConfigError, NotFoundError, RequestError
from flowlane.northbound import types
from flowlane.northbound.handlers.read import database, hinted_vm, hints
from flowlane.northbound.http.problems import JSON, ProblemError, empty, json_response, respond
from flowlane.northbound.http.routing import YAML, Call, etag_of, read_json, read_text
from flowlane.northbound.openapi import schema_of
from flowlane.northbound.types import databases as database_types
from flowlane.northbound.types import hints as hint_types
from flowlane.northbound.views import hint_id, policy_change, policy_view
from flowlane.policy.store import hash_of

if TYPE_CHECKING:
    from webob import Response

DATABASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

MAX_HINTS = 64
"""Hints of one VM at most: each is compared with each of its new flows."""

MAX_LIFETIME = 30 * 86400.0
"""Seconds."""


def get_policy(call: Call) -> Response:
    """Answer with the policy in force, as JSON or as the YAML that it was made from."""
    policy = call.controller.state.policy
    best, _quality = call.request.accept.acceptable_offers([JSON, YAML])[0]
    as_yaml = best == YAML
    view = policy_view(policy, call.controller.state.policy_origin, call.controller.is_policy_kept())
    response = respond(policy.text.encode(), YAML) if as_yaml else json_response(view)
    response.etag = etag_of(policy.text)
    return response


def put_policy(call: Call) -> types.PolicyChange:
    """Replace the policy in force; with If-Match only if it is still the one that the client read."""
    old = call.controller.state.policy
    new = call.controller.compile_policy(read_text(call.request))
    origin = PolicyOrigin("rest", hash_of(new.text), call.clock.wall, call.caller.name, call.caller.address)
    call.controller.submit(PolicyReplaced(new, origin))
    call.controller.wait_for_policy()
    kept = call.controller.keep_policy()
    return {**policy_change(old, new, applied=True), "hash": origin.hash, "kept": kept}


def check_policy(call: Call) -> types.PolicyChange:
    """Answer with the differences that a policy would make."""
    new = call.controller.compile_policy(read_text(call.request))
    change = policy_change(call.controller.state.policy, new, applied=False)
    total, reclassified, moved = call.controller.try_policy(new)
    flows: types.FlowChange = {"total": total, "reclassified": reclassified, "moved": moved}
    return {**change, "flows": flows}


def put_hints(call: Call) -> hint_types.Hints:
    """Replace the VM's hints that came over REST."""
    vm_id = hinted_vm(call)
    new_hints = _read_hints(call, vm_id)
    call.controller.submit(HintWithdrawn(vm_id))
    for hint in new_hints:
        call.controller.submit(HintGiven(hint))
    return hints(call)


def delete_hints(call: Call) -> Response:
    """Withdraw the VM's hints that came over REST."""
    call.controller.submit(HintWithdrawn(hinted_vm(call)))
    return empty()


def put_database(call: Call) -> Response:
    """Follow a database from now on: 201 where it is new or has another target, 200 where it is the same."""
    body = checked(read_json(call.request), database_types.DatabaseInput)
    given = cast("database_types.DatabaseInput", body)
    name, files = call.path["name"], given.get("tls")
    if not DATABASE_NAME.fullmatch(name):
        raise ProblemError(
            422, f"{name!r} is no name: letters, digits, '.', '_' and '-', 128 at most", "name"
        )
    tls = None if files is None else (files["private_key"], files["certificate"], files["ca_certificate"])
    try:
        is_new = call.controller.announce(name, given["target"], tls)
    except ConfigError as error:
        raise ProblemError(422, str(error), "target") from error
    except RequestError as error:
        raise ProblemError(409, str(error), "name") from error
    return json_response(database(call), 201 if is_new else 200)


def delete_database(call: Call) -> Response:
    """Follow a database that was announced no more."""
    try:
        call.controller.withdraw(call.path["name"])
    except NotFoundError as error:
        raise ProblemError(404, str(error), "name") from error
    except RequestError as error:
        raise ProblemError(409, str(error), "name") from error
    return empty()


def checked(body: object, kind: object) -> object:
    """Return a body that has the form of a type of REST; 422 otherwise."""
    errors = Draft202012Validator(schema_of(kind)).iter_errors(body)
    if (error := best_match(errors)) is not None:
        raise ProblemError(422, error.message, error.json_path.removeprefix("$").removeprefix(".") or "body")
    return body


def _read_hints(call: Call, vm_id: str) -> list[Hint]:
    body = checked(read_json(call.request), hint_types.HintsInput)
    given = cast("hint_types.HintsInput", body)["hints"]
    if len(given) > MAX_HINTS:
        raise ProblemError(422, f"{len(given)} hints are too many; a VM may have {MAX_HINTS}", "hints")
    return [read_hint(call, vm_id, str(place), item, f"hints[{place}].") for place, item in enumerate(given)]


def read_hint(call: Call, vm_id: str, place: str, item: hint_types.HintInput, where: str) -> Hint:
    """Make a hint of what a request gives.

    Args:
        place: the hint's name, or its place in the list.
        where: what stands before the key at fault in an error.

    Raises:
        ProblemError: the class, the lifetime or the match cannot be used.
    """
    name, lifetime = item["class"], item.get("lifetime")
    classes = [known.name for known in call.controller.state.policy.classes]
    if name not in classes:
        detail = f"the policy has no class {name!r}; {did_you_mean(name, classes)}"
        raise ProblemError(422, detail, f"{where}class")
    if lifetime is not None and not 0 < lifetime <= MAX_LIFETIME:
        detail = f"lifetime {lifetime:g} is out of range; more than 0 and at most {MAX_LIFETIME:.0f} s"
        raise ProblemError(422, detail, f"{where}lifetime")
    given = item.get("match", {})
    try:
        match = read_match(given)
    except MatchError as error:
        raise ProblemError(422, f"{error}; {error.remedy}", f"{where}match") from error
    expires = None if lifetime is None else call.clock.now + lifetime
    return Hint(hint_id(vm_id, place), vm_id, name, match, HintSource.REST, expires, given)
