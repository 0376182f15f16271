from __future__ import annotations

import pytest

from flowlane.southbound.openflow.session import requests
from flowlane.southbound.openflow.session.requests import NO_ANSWER, TOO_LONG, Answer, Inquiries


@pytest.fixture
def answers() -> list[Answer]:
    return []


def test_parts_make_one_answer(answers: list[Answer]) -> None:
    asked = Inquiries()
    asked.ask(7, "ports", 5.0, answers.append)
    assert asked.asks("ports")
    assert asked.part(7, "a", more=True)
    assert answers == []
    assert asked.part(7, "b")
    assert answers == [Answer(("a", "b"))]
    assert not asked.asks("ports")
    assert not asked.part(7, "c")


def test_error_is_an_answer(answers: list[Answer]) -> None:
    asked = Inquiries()
    asked.ask(7, "meters", 5.0, answers.append)
    assert asked.refuse(7, "OFPBRC_BAD_TYPE")
    assert answers == [Answer(refused="OFPBRC_BAD_TYPE")]
    assert not asked.refuse(7, "again")


def test_silence_is_an_answer_after_the_deadline(answers: list[Answer]) -> None:
    asked = Inquiries()
    asked.ask(7, "meters", 5.0, answers.append)
    asked.ask(8, "ports", 6.0, answers.append)
    asked.expire(4.9)
    assert answers == []
    asked.expire(5.0)
    assert answers == [Answer(refused=NO_ANSWER)]
    assert asked.asks("ports")


def test_part_of_an_answer_is_no_answer(answers: list[Answer]) -> None:
    asked = Inquiries()
    asked.ask(7, "flows", 5.0, answers.append)
    asked.part(7, "a", more=True)
    asked.expire(5.0)
    assert answers == [Answer(refused=NO_ANSWER)]


def test_parts_can_be_had_one_by_one(answers: list[Answer]) -> None:
    seen: list[object] = []
    asked = Inquiries()
    asked.ask(7, "counters", 5.0, answers.append, seen.append)
    asked.part(7, "a", more=True)
    assert seen == ["a"]
    asked.part(7, "b")
    assert (seen, answers) == (["a", "b"], [Answer(())])


def test_answer_without_end_is_given_up(answers: list[Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MAX_PARTS", 3)
    asked = Inquiries()
    asked.ask(7, "flows", 5.0, answers.append)
    for number in range(4):
        asked.part(7, number, more=True)
    assert answers == [Answer(refused=TOO_LONG)]


def test_asking_again_from_within_an_answer() -> None:
    asked = Inquiries()
    seen: list[Answer] = []
    asked.ask(1, "queues", 5.0, lambda _: asked.ask(2, "queues", 5.0, seen.append))
    asked.part(1, "a")
    asked.part(2, "b")
    assert seen == [Answer(("b",))]
