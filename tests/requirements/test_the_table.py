"""The table of requirements in the documentation names tests and policies that are there and are about them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
LINE = re.compile(
    r"^\| M(\d+) \| [^|]+ \| `(\S+)` \| `(\S+)` \| \[(\S+)\]\(../policies/(\S+)\) \|$", re.MULTILINE
)
TABLE = {int(row[0]): row[1:] for row in LINE.findall((DOCS / "engineers" / "testing.md").read_text())}
REQUIREMENTS = {2, *range(4, 13)}
"""Those that rules, classification and allocation answer for."""


def test_every_requirement_is_in_the_table() -> None:
    assert set(TABLE) == REQUIREMENTS


@pytest.mark.parametrize("number", sorted(REQUIREMENTS))
def test_what_the_table_names_is_about_the_requirement(number: int) -> None:
    test, on_a_switch, shown, policy = TABLE[number]
    word = re.compile(rf"\bM{number}\b|_m{number:02}_")
    assert word.search((HERE / test).read_text())
    text = (HERE / on_a_switch).read_text()
    assert word.search(text)
    assert "pytest.mark.mininet" in text, "it runs in the tier that has a real switch"
    assert shown == policy
    assert (DOCS / "policies" / policy).read_text().startswith(f"# M{number}: ")


def test_every_example_policy_is_loaded_by_a_test_of_its_requirement() -> None:
    for number, (test, *_, policy) in TABLE.items():
        assert f'"m{number:02}"' in (HERE / test).read_text(), f"{test} does not try {policy}"
