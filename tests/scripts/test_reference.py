"""The reference pages are what the program has; ``python -m scripts.reference`` makes them anew."""

from __future__ import annotations

import pytest
from scripts import reference


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_page_is_up_to_date(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == reference.pages()[name]
