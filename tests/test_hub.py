from __future__ import annotations

import gc
import socket
import time
import weakref

import pytest

from flowlane import hub


def test_green_threads_that_are_ready_together_work_one_in_each_round() -> None:
    turns, rounds, worked = hub.Turns(), [0], list[int]()

    def count() -> None:
        while True:
            hub.sleep(0)
            rounds[0] += 1

    def work() -> None:
        turns.wait()
        worked.append(rounds[0])

    counter = hub.spawn(count)
    for _ in range(5):
        hub.spawn(work)
    for _ in range(30):
        hub.sleep(0)
    counter.kill()
    assert len(set(worked)) == len(worked) == 5


def test_a_green_thread_with_little_to_do_does_not_wait_for_those_with_much() -> None:
    turns, worked = hub.Turns(), list[str]()

    def work(name: str, light: bool) -> None:
        turns.wait(light=light)
        worked.append(name)

    for _ in range(20):
        hub.spawn(work, "much", False)
    for _ in range(3):
        hub.spawn(work, "little", True)
    for _ in range(60):
        hub.sleep(0)
    assert len(worked) == 23
    assert max(place for place, name in enumerate(worked) if name == "little") < 6


def test_a_copy_of_the_process_has_its_state_and_changes_nothing_here() -> None:
    state, rounds = {"a": 1}, [0]

    def work() -> bytes:
        state["a"] += 1
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
        return b"x" * 200_000 + str(state["a"]).encode()

    def count() -> None:
        while True:
            hub.sleep(0.01)
            rounds[0] += 1

    counter = hub.spawn(count)
    received = hub.in_child(work, 20)
    counter.kill()
    assert (len(received), received[-1:], state) == (200_001, b"2", {"a": 1})
    assert rounds[0] > 3, "others run meanwhile"


def slow(seconds: float) -> bytes:
    time.sleep(seconds)
    return b"done"


def test_a_copy_that_fails_or_takes_too_long_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="copy of the process failed"):
        hub.in_child(lambda: str(1 // 0).encode(), 20)
    assert "ZeroDivisionError" in capfd.readouterr().err
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        hub.in_child(lambda: slow(30), 0.2)
    assert time.monotonic() - begin < 10


def test_a_connection_that_is_closed_here_ends_although_a_copy_runs() -> None:
    near, far = socket.socketpair()
    far.settimeout(10)
    ended: list[float] = []

    def close() -> None:
        hub.sleep(0.3)
        near.close()
        begin = time.monotonic()
        assert far.recv(1) == b""
        ended.append(time.monotonic() - begin)

    hub.spawn(close)
    hub.in_child(lambda: slow(1.0), 20)
    assert ended
    far.close()


def test_a_green_thread_that_is_stopped_is_freed_at_once() -> None:
    """Of each connection that ends one is stopped; what is not freed then waits for a collection of all objects."""

    class Work:
        def run(self) -> None:
            hub.sleep(60)

    freed = list[str]()
    for name, begin in (("running", hub.spawn), ("later", lambda run: hub.spawn_after(60, run))):
        work = Work()
        weakref.finalize(work, freed.append, name)
        task = begin(work.run)
        hub.sleep(0)
        gc.disable()
        task.kill()
        hub.sleep(0)
        del work, task
        gc.enable()
    assert freed == ["running", "later"]
