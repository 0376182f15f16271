"""The reference in the documentation is the one that the schema makes."""

from pathlib import Path

from flowlane.policy.reference import SECTIONS, reference
from flowlane.policy.structure import schema

PAGE = Path(__file__).parent.parent.parent / "docs" / "operators" / "policy.md"


def test_the_documentation_has_the_tables_of_the_schema() -> None:
    """When it fails: put what `flowlane policy reference` prints between the two marks."""
    inside = PAGE.read_text().split("<!-- reference: begin -->\n")[1].split("<!-- reference: end -->")[0]
    assert inside.strip() == reference().strip()


def test_every_key_has_its_meaning_and_its_value() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert all(
        cell.strip() for row in rows for cell in (row.split(" | ")[1], row.rstrip("| ").split(" | ")[-1])
    )
    assert len(set(rows)) > 50


def test_no_part_of_the_schema_is_left_out() -> None:
    with_keys = {name for name, one in schema()["$defs"].items() if "properties" in one}
    assert with_keys == {place[0] for _, place in SECTIONS if place}
