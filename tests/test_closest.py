"""Remedies for words that are not known."""

from __future__ import annotations

import pytest

from flowlane.closest import COMPARED, SHOWN, did_you_mean

WORDS = [chr(ord("a") + number) * 3 for number in range(SHOWN + 2)]


@pytest.mark.parametrize("number", [1, SHOWN, SHOWN + 1])
def test_few_words_are_all_named(number: int) -> None:
    assert did_you_mean("?", WORDS[:number] * 2) == f"known: {', '.join(WORDS[:number])}"


def test_of_more_words_the_first_are_named() -> None:
    assert did_you_mean("?", reversed(WORDS)) == f"known: {', '.join(WORDS[:SHOWN])}, ..."


def test_the_closest_word_none_and_too_many() -> None:
    assert did_you_mean("AAB", WORDS) == "did you mean aaa?"
    assert did_you_mean("?", []) == "none is defined"
    assert did_you_mean("?", map(str, range(COMPARED + 1))) == f"{COMPARED + 1} are known"
