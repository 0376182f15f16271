"""Long policies are compiled in a copy of the process."""

from __future__ import annotations

import pytest

from flowlane import hub, policy
from flowlane.errors import PolicyError
from flowlane.policy_compiler import RULES, SHORT, compile_text


def long_text(rules: int = 2 * RULES + 7) -> str:
    head = "version: 1\nclasses: {a: {}, b: {limit: 1Mbit/s}}\nrules:\n"
    text = head + "".join(
        f"  - {{name: r{n}, match: {{protocol: tcp, dst-port: {n}}}, class: {'ab'[n % 2]}}}\n"
        for n in range(1, rules + 1)
    )
    assert len(text) > SHORT
    return text


def test_a_long_policy_is_the_same_as_one_that_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    text = long_text()
    here = policy.load(text)
    monkeypatch.setattr(policy, "load", lambda _: pytest.fail("compiled in this process"))
    with pytest.raises(RuntimeError):  # The copy has the failing function, too.
        compile_text(text)
    monkeypatch.undo()
    assert compile_text(text) == here


def test_the_problems_of_a_long_policy_come_back() -> None:
    text = long_text() + "  - {name: wrong, class: c}\n"
    with pytest.raises(PolicyError) as here:
        policy.load(text)
    with pytest.raises(PolicyError) as apart:
        compile_text(text)
    assert apart.value.problems == here.value.problems
    assert str(apart.value) == str(here.value)


def test_a_policy_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object) -> bytes:
        raise TimeoutError

    monkeypatch.setattr(hub, "in_child", late)
    with pytest.raises(PolicyError, match="takes longer than 60 s to check"):
        compile_text(long_text())


def test_without_a_process_it_is_compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> bytes:
        raise BlockingIOError("no process can be made")

    monkeypatch.setattr(hub, "in_child", none)
    assert compile_text(long_text()) == policy.load(long_text())
    assert compile_text(long_text()).rules, "the turn of the first one is over"
