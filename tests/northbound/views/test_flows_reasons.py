"""The list of reasons in the documentation is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

from flowlane.core.explain import REASONS
from flowlane.northbound.views.flows import reason_word

PAGE = Path(__file__).parents[3] / "docs" / "operators" / "cli.md"


def test_every_reason_has_its_row() -> None:
    section = PAGE.read_text().split("## Reasons\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", section, re.MULTILINE)
    assert rows == sorted((reason_word(reason), text) for reason, text in REASONS.items())
