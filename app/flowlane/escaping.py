"""Text that others choose, made harmless for a terminal and for a line of a log.

Names of VMs, bridges and ports come from OVSDB, from switches and from whoever runs a VM. An escape sequence in one
of them would be carried out by a terminal, a line end would forge a line of a log, and a mark of direction (U+202E)
would show a name backwards.
"""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""Replace what cannot be printed by its escape in Python, such as ``\x1b``, ``\n`` or ``\u202e``.

    That is what ``str.isprintable`` says: controls, line ends, marks of direction and other invisible characters,
    lone surrogates (bytes that were not UTF-8).
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def escaped_lines(text: str) -> str:
    """Escape each line of a text whose line ends are our own."""
    return "\n".join(map(escaped, text.split("\n")))
