"""Names that others choose, on a terminal and in a log."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flowlane.escaping import escaped, escaped_lines

CLI = Path(__file__).parents[1] / "app" / "flowlane" / "cli"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("br-nic", "br-nic"),
        ("Zürich 東京", "Zürich 東京"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("vm\u202egnp.exe\u2066", r"vm\u202egnp.exe\u2066"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("lines\u2028\u2029\x85", r"lines\u2028\u2029\x85"),
        ("bytes\udc80", r"bytes\udc80"),
    ],
)
def test_what_cannot_be_printed_is_shown_as_its_escape(text: str, expected: str) -> None:
    assert escaped(text) == expected
    assert escaped(text).isprintable()
    escaped(text).encode()


def test_our_own_line_ends_stay() -> None:
    assert escaped_lines("one\n  two\x1b\n") == "one\n  two\\x1b\n"


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_only_one_module_makes_text_of_rich(path: Path) -> None:
    """So that nothing is printed that has not been escaped: ``tables.line`` is for all others."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    made = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "Text"]
    literal = [
        node for node in made if all(isinstance(value, ast.Constant | ast.BinOp) for value in node.args)
    ]
    assert path.stem in ("tables", "top_view") or made == literal == []
