from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowlane import hub, policy
from flowlane.core.policy import Policy, PolicyOrigin
from flowlane.core.state.device import State
from flowlane.policy import store
from flowlane.policy_keeper import PolicyKeeper

FIRST = PolicyOrigin("built-in", "0", 1.0)


def state_with(name: str) -> State:
    text = f"version: 1\nclasses: {{{name}: {{}}}}\ndefault: {name}\n"
    state = State(policy.load(text))
    state.policy_origin = PolicyOrigin("rest", store.hash_of(text), 2.0, "alice", "10.0.0.5")
    return state


def test_a_policy_is_kept_and_who_put_it_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    keeper, state = PolicyKeeper(tmp_path, FIRST), state_with("a")
    assert keeper.is_kept(FIRST)
    assert not keeper.is_kept(state.policy_origin)
    assert keeper.keep(state)
    assert keeper.is_kept(state.policy_origin)
    assert store.at_start(tmp_path, None, 5.0).origin == state.policy_origin
    assert (
        f"policy {state.policy_origin.hash[:12]} of alice from 10.0.0.5 is kept in {tmp_path}" in caplog.text
    )


def test_without_a_directory_it_is_lost_which_is_said(caplog: pytest.LogCaptureFixture) -> None:
    state = state_with("a")
    keeper = PolicyKeeper(None, FIRST)
    assert not keeper.keep(state)
    assert not keeper.is_kept(state.policy_origin)
    assert "is lost at a restart: there is no --state-dir" in caplog.text


def test_a_directory_that_is_not_writable_is_a_warning_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    PolicyKeeper(tmp_path, FIRST)
    assert caplog.text == ""
    monkeypatch.setattr(os, "access", lambda *_: False)  # Root may write everywhere.
    PolicyKeeper(tmp_path, FIRST)
    assert f"will be lost at a restart: {tmp_path} is not writable" in caplog.text


def test_a_disk_that_is_full_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = PolicyKeeper(tmp_path / "none", FIRST)
    assert not keeper.keep(state_with("a"))
    assert "is lost at a restart: it cannot be written" in caplog.text


def test_of_two_at_once_the_one_in_force_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, state, later = PolicyKeeper(tmp_path, FIRST), state_with("a"), state_with("b")
    save, saved = store.save, []

    def slow(directory: Path, policy_: Policy, origin: PolicyOrigin) -> None:
        saved.append(origin.hash)
        save(directory, policy_, origin)

    monkeypatch.setattr(store, "save", slow)
    first = hub.spawn(keeper.keep, state)
    hub.sleep(0)
    state.policy, state.policy_origin = later.policy, later.policy_origin
    assert keeper.keep(state)
    first.kill()
    assert len(saved) == 2
    assert store.at_start(tmp_path, None, 5.0).origin == later.policy_origin
