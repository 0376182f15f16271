"""PUT, POST and DELETE handlers of REST: the policy, and the hints of VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from flowlane.closest import did_you_mean
from flowlane.core.classify.matching import MatchError, read_match
from flowlane.core.dry_run import dry_run
from flowlane.core.events import HintGiven, HintWithdrawn, PolicyReplaced
from flowlane.core.model import Hint, HintSource
from flowlane.northbound import types
from flowlane.northbound.openapi import schema_of
from flowlane.northbound.problems import JSON, ProblemError, empty, json_response, respond
from flowlane.northbound.read_handlers import hinted_vm, hints
from flowlane.northbound.routing import YAML, Call, etag_of, read_json, read_text
from flowlane.northbound.views import policy_change, policy_view

if TYPE_CHECKING:
    from webob import Response

MAX_HINTS = 64
"""Hints of one VM at most: each is compared with each of its new flows."""

MAX_LIFETIME = 30 * 86400.0
"""Seconds."""


def get_policy(call: Call) -> Response:
    """Answer with the policy in force, as JSON or as the YAML that it was made from."""
    policy = call.controller.state.policy
    best, _quality = call.request.accept.acceptable_offers([JSON, YAML])[0]
    as_yaml = best == YAML
    response = respond(policy.text.encode(), YAML) if as_yaml else json_response(policy_view(policy))
    response.etag = etag_of(policy.text)
    return response


def put_policy(call: Call) -> types.PolicyChange:
    """Replace the policy in force; with If-Match only if it is still the one that the client read."""
    old = call.controller.state.policy
    if etag_of(old.text) not in call.request.if_match:
        raise ProblemError(412, "the policy in force has changed; read it again", "If-Match")
    new = call.controller.compile_policy(read_text(call.request))
    call.controller.submit(PolicyReplaced(new))
    return policy_change(old, new, applied=True)


def check_policy(call: Call) -> types.PolicyChange:
    """Answer with the differences that a policy would make."""
    new = call.controller.compile_policy(read_text(call.request))
    state = call.controller.state
    total, reclassified, moved = dry_run(state, new)
    flows: types.FlowChange = {"total": total, "reclassified": reclassified, "moved": moved}
    return {**policy_change(state.policy, new, applied=False), "flows": flows}


def put_hints(call: Call) -> types.Hints:
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


def _read_hints(call: Call, vm_id: str) -> list[Hint]:
    body = read_json(call.request)
    errors = Draft202012Validator(schema_of(types.HintsInput)).iter_errors(body)
    if (error := best_match(errors)) is not None:
        raise ProblemError(422, error.message, error.json_path.removeprefix("$").removeprefix(".") or "body")
    given = cast("types.HintsInput", body)["hints"]
    if len(given) > MAX_HINTS:
        raise ProblemError(422, f"{len(given)} hints are too many; a VM may have {MAX_HINTS}", "hints")
    return [_read_hint(call, vm_id, place, item) for place, item in enumerate(given)]


def _read_hint(call: Call, vm_id: str, place: int, item: types.HintInput) -> Hint:
    where, name, lifetime = f"hints[{place}]", item["class"], item.get("lifetime")
    classes = [known.name for known in call.controller.state.policy.classes]
    if name not in classes:
        detail = f"the policy has no class {name!r}; {did_you_mean(name, classes)}"
        raise ProblemError(422, detail, f"{where}.class")
    if lifetime is not None and not 0 < lifetime <= MAX_LIFETIME:
        detail = f"lifetime {lifetime:g} is out of range; more than 0 and at most {MAX_LIFETIME:.0f} s"
        raise ProblemError(422, detail, f"{where}.lifetime")
    given = item.get("match", {})
    try:
        match = read_match(given)
    except MatchError as error:
        raise ProblemError(422, f"{error}; {error.remedy}", f"{where}.match") from error
    expires = None if lifetime is None else call.clock.now + lifetime
    return Hint(f"rest:{vm_id}:{place}", vm_id, name, match, HintSource.REST, expires, given)
