"""The sample of ``/etc/flowlane/flowlane.conf``: every option with its default, commented out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from oslo_config import cfg

from flowlane import hub

hub.prepare(patch=False)
from flowlane import option_help, options  # noqa: E402  (they import os-ken, which chooses its hub at import)

_HEAD = """\
# Options of flowlane-manager, each with its default. flowlane.conf(5) has the same list.
#
# After a change: systemctl reload flowlane. The policy and the level of the log change at once; for other
# options the log says that a restart is needed.

[DEFAULT]
"""
_NOT_IN_FILE = frozenset(("user-flags",))
"""Options that are read from the command line only, before the file is."""

WIDTH = 110
"""Characters of a line."""

Described = tuple[str, str, str]
"""(name, default, about) of an option."""


def groups() -> Iterator[tuple[str, str, list[Described]]]:
    """Return (title, description, options) of each group."""
    for title, about, listed in option_help.groups():
        yield title, about, [_described(item.opt) for item in listed if item.opt.name not in _NOT_IN_FILE]


def names() -> frozenset[str]:
    """Return the names of the options that the file may have."""
    return frozenset(name for _, _, described in groups() for name, _, _ in described)


def sample(values: Mapping[str, str]) -> str:
    """Write the sample.

    Args:
        values: options that are not commented out, and their values.
    """
    lines = [_HEAD]
    for title, about, described in groups():
        lines += [f"# ---- {title}", *_comment(about), ""]
        for name, default, text in described:
            setting = f"{name} = {values[name]}" if name in values else f"#{name} = {default}".rstrip()
            lines += [*_comment(text), setting, ""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _described(opt: cfg.Opt) -> Described:
    default = options.default_of(opt)
    if isinstance(default, bool):
        text = "true" if default else "false"
    elif isinstance(default, list | tuple):
        text = ",".join(map(str, default))
    else:
        text = "" if default is None else str(default)
    return str(opt.dest), text, option_help.help_of(opt)
