"""No collection looks at many objects: what is new is collected by processor time, what is old is excluded."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from flowlane import garbage, hub


class Cycle:
    """What reference counts do not free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the collector as it was, and have nothing collected by itself meanwhile."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def is_looked_at(wanted: object) -> bool:
    """Whether a collection of all objects looks at this one: those that are excluded are not listed."""
    return any(item is wanted for item in gc.get_objects())


def work() -> None:
    """Use so much processor time that a collection is due."""
    until = time.thread_time() + garbage.BETWEEN
    while time.thread_time() < until:
        pass


def test_what_is_new_is_collected_once_some_work_was_done() -> None:
    work()
    garbage.collect_new()
    made = weakref.ref(Cycle())
    garbage.collect_new()
    assert made() is not None, "no work was done since the last time"
    work()
    garbage.collect_new()
    assert made() is None


def test_little_that_is_old_stays_as_it_is() -> None:
    few = [Cycle() for _ in range(100)]
    gc.collect(garbage.NEW)
    garbage.collect_old()
    assert any(item is few[0] for item in gc.get_objects(2))


def test_much_that_is_old_is_collected_and_what_is_left_excluded() -> None:
    many = [Cycle() for _ in range(garbage.MOST_OLD)]
    made = Cycle()
    gc.collect(garbage.NEW)
    cycle = weakref.ref(made)
    del made
    assert is_looked_at(many[0])
    garbage.collect_old()
    assert cycle() is None
    assert not is_looked_at(many[0])
    assert len(gc.get_objects(2)) < garbage.MOST_OLD


@pytest.fixture
def started() -> Iterator[None]:
    task = garbage.start()
    yield
    task.kill()


def waited(done: Callable[[], bool]) -> bool:
    """Work, and wait for a condition."""
    for _ in range(20):
        work()
        hub.sleep(garbage.EVERY)
        if done():
            return True
    return False


def test_what_is_there_at_the_start_is_excluded_and_nothing_collects_all_objects() -> None:
    there = Cycle()
    assert is_looked_at(there)
    task = garbage.start()
    task.kill()
    assert not is_looked_at(there)
    assert gc.get_threshold()[2] > 1_000_000, "the collector would go through all objects by itself"


@pytest.mark.usefixtures("started")
def test_what_is_new_is_collected_all_the_time() -> None:
    made = weakref.ref(Cycle())
    assert waited(lambda: made() is None)


@pytest.mark.usefixtures("started")
def test_while_there_is_little_work_nobody_looks_at_what_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(garbage, "collect_old", lambda: looks.append(1))
    for _ in range(10):
        hub.sleep(garbage.EVERY)
    assert len(looks) <= 2


@pytest.mark.usefixtures("started")
def test_what_has_grown_old_is_excluded_all_the_time() -> None:
    many = [Cycle() for _ in range(2 * garbage.MOST_OLD)]
    gc.collect(garbage.NEW)
    assert waited(lambda: not is_looked_at(many[0]))
