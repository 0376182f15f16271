"""The commands as data: what an argparse parser has, for manual pages and completions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from flowlane import hub
from flowlane.cli import main as command_line

FILES = "file"
"""What a value is completed with: names of files."""

BRIDGES = "bridge"
"""What a value is completed with: names of bridges of this host's Open vSwitch."""

_COMPLETED = {
    **dict.fromkeys(("FILE", "DIRECTORY", "POLICY", "PATH"), FILES),
    "BRIDGE": BRIDGES,
}
"""Metavar -> what it is completed with."""


class Value(NamedTuple):
    """The value of an option, or a positional argument.

    ``choices``: the words that it may be, if these are all. ``completed``: FILES, BRIDGES, or nothing. ``optional``:
    it may be left out. ``many``: there may be several.
    """

    name: str
    about: str
    choices: tuple[str, ...] = ()
    completed: str = ""
    optional: bool = False
    many: bool = False


class Option(NamedTuple):
    """An option. ``value`` is None where it takes none; ``repeated``: it may be given several times."""

    flags: tuple[str, ...]
    about: str
    value: Value | None
    repeated: bool
    required: bool


class Command(NamedTuple):
    """A command, or a subcommand with the words that lead to it: ``("flowlane", "policy", "check")``."""

    words: tuple[str, ...]
    about: str
    groups: tuple[tuple[str, str, tuple[Option, ...]], ...]
    """(title, description, options) of each group of options."""
    positionals: tuple[Value, ...]
    subcommands: tuple[Command, ...]

    @property
    def options(self) -> tuple[Option, ...]:
        """All its options."""
        return tuple(option for _, _, options in self.groups for option in options)


def flowlane() -> Command:
    """Return the command ``flowlane`` with all its subcommands."""
    return read(command_line.parser(*command_line.COMMANDS))


def manager() -> Command:
    """Return the command ``flowlane-manager``."""
    hub.prepare(patch=False)
    from flowlane import option_help  # noqa: PLC0415  (it imports os-ken, which chooses its hub at import)

    return read(option_help.parser())


def read(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Command:
    """Read a parser. argparse lists what it has nowhere in public."""
    words = words or (parser.prog,)
    subcommands: list[Command] = []
    positionals: list[Value] = []
    groups = []
    for group in parser._action_groups:
        options = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                subcommands += [read(sub, (*words, name)) for name, sub in action.choices.items()]
            elif action.help == argparse.SUPPRESS:
                continue
            elif action.option_strings:
                options.append(_option(action, parser))
            else:
                positionals.append(_value(action, parser))
        if options:
            groups.append((_title(group), group.description or "", tuple(options)))
    return Command(words, parser.description or "", tuple(groups), tuple(positionals), tuple(subcommands))


def _title(group: argparse._ArgumentGroup) -> str:
    return "" if group.title == "options" else group.title or ""


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> Option:
    value = None if action.nargs == 0 else _value(action, parser)
    repeated = isinstance(action, argparse._AppendAction)
    return Option(tuple(action.option_strings), _help(action, parser), value, repeated, action.required)


def _value(action: argparse.Action, parser: argparse.ArgumentParser) -> Value:
    formatter = parser._get_formatter()
    metavar = action.metavar if isinstance(action.metavar, str) else None
    choices = tuple(str(choice) for choice in action.choices or ())
    default = action.dest.upper().replace("_", "-") if action.option_strings else action.dest
    completed = FILES if action.type is Path else _COMPLETED.get((metavar or action.dest).upper(), "")
    return Value(
        metavar or ("|".join(choices) if choices else default),
        _help(action, parser, formatter),
        choices,
        completed,
        action.nargs in ("?", "*"),
        action.nargs in ("*", "+"),
    )


def _help(
    action: argparse.Action, parser: argparse.ArgumentParser, formatter: argparse.HelpFormatter | None = None
) -> str:
    return (
        " ".join((formatter or parser._get_formatter())._expand_help(action).split()) if action.help else ""
    )
