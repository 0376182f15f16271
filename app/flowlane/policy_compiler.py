"""Compilation of a long policy in a copy of the process, so that switches are served meanwhile.

A policy of 20,000 rules takes seconds to read and check, and one that is made to hurt as much memory as it can.
In a copy of the process (fork(2)) neither costs anybody else anything. The policy comes back in pieces, with others
served in between.
"""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

from flowlane import hub, policy
from flowlane.errors import PolicyError, Problem

if TYPE_CHECKING:
    from flowlane.core.policy import Policy

_LOG = logging.getLogger(__name__)
_TURN = hub.Turn()

SHORT = 4096
"""Characters of a policy that is compiled in this process: some 50 rules, which take 10 ms."""

WITHIN = 60.0
"""Seconds that a policy may take."""

RULES = 200
"""Rules of a piece."""


def compile_text(text: str) -> Policy:
    """Compile a policy document.

    Raises:
        PolicyError: the document is refused, or takes too long.
    """
    if len(text) <= SHORT:
        return policy.load(text)
    try:
        return _joined(_in_turn(text))
    except TimeoutError as error:
        problem = Problem(
            1, 1, "", f"the policy takes longer than {WITHIN:g} s to check", "give it fewer rules"
        )
        raise PolicyError([problem], "policy") from error
    except OSError as error:
        _LOG.warning("a policy is checked in this process, which serves nobody else meanwhile: %s", error)
        return policy.load(text)


def _in_turn(text: str) -> bytes:
    """Compile a policy in a copy of the process, one at a time."""
    with _TURN:
        return hub.in_child(lambda: _compiled(text), WITHIN)


def _compiled(text: str) -> bytes:
    """Return the policy in pieces, or the problems: for :func:`_joined`."""
    try:
        made = policy.load(text)
    except PolicyError as error:
        return pickle.dumps((error.problems, error.source))
    rules = [made.rules[place : place + RULES] for place in range(0, len(made.rules), RULES)]
    pieces = [replace(made, rules=(), text=""), *rules]
    return b"".join(map(pickle.dumps, (len(rules), *pieces))) + text.encode()


def _joined(data: bytes) -> Policy:
    file, time_slice = BytesIO(data), hub.TimeSlice()
    first = pickle.load(file)  # noqa: S301  # it comes from a copy of this process
    if not isinstance(first, int):
        raise PolicyError(*first)
    made: Policy = pickle.load(file)  # noqa: S301
    rules = []
    for _ in range(first):
        rules += pickle.load(file)  # noqa: S301
        time_slice.check()
    return replace(made, rules=tuple(rules), text=file.read().decode())
