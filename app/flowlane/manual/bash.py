"""Completion for bash, of what a command and its subcommands have; it needs no other package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote

from flowlane.manual.commands import BRIDGES, FILES, Command, Option, Value

_FRAME = """\
_{function}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} at={name} words='' kind='' i
    # --option=value is three words here.
    if [[ $cur == '=' ]]; then
        cur=
    elif [[ $prev == '=' ]]; then
        prev=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
            {subcommands}) at="$at ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$at $prev" in
{values}
        *)
            case "$at" in
{words}
            esac
            [[ $cur == -* ]] && kind=
            [[ $cur == -* ]] || words=${{words##*$'\\n'}}
            ;;
    esac
    case $kind in
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        bridge) words="$words $(ovs-vsctl --timeout=2 list-br 2>/dev/null)" ;;
        value) words= ;;
    esac
    [[ $kind == file ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -F _{function} {name}
"""
"""``words`` has two lines: options, and what may stand without one. ``at`` is the subcommand so far."""


def script(command: Command) -> str:
    """Write the completion of a command."""
    every = list(_all(command))
    name = command.words[0]
    subcommands = "|".join(quote(" ".join(sub.words)) for sub in every[1:]) or "''"
    return _FRAME.format(
        name=name,
        function=name.replace("-", "_"),
        subcommands=subcommands,
        values="\n".join(line for sub in every for line in _values(sub)),
        words="\n".join(_words(sub) for sub in every),
    )


def _all(command: Command) -> Iterator[Command]:
    yield command
    for sub in command.subcommands:
        yield from _all(sub)


def _values(command: Command) -> Iterator[str]:
    """Write what comes after each option that takes a value."""
    kinds: dict[str, list[str]] = {}
    for option in command.options:
        # What an option may have or not is never completed: the next word is more likely something else.
        if option.value is not None and not option.value.optional:
            kinds.setdefault(_kind(option.value), []).extend(_places(command, option))
    for kind, places in kinds.items():
        yield f"        {'|'.join(places)}) {kind} ;;"


def _places(command: Command, option: Option) -> list[str]:
    return [quote(f"{' '.join(command.words)} {flag}") for flag in option.flags]


def _kind(value: Value) -> str:
    if value.choices:
        return f"words={quote(' '.join(value.choices))}"
    return f"kind='{value.completed or 'value'}'"


def _words(command: Command) -> str:
    """Write what may stand in the place of the next word."""
    options = _joined(flag for option in command.options for flag in option.flags)
    others = [sub.words[-1] for sub in command.subcommands]
    others += [choice for value in command.positionals for choice in value.choices]
    completed = {value.completed for value in command.positionals} & {FILES, BRIDGES}
    kind = f" kind='{min(completed)}'" if completed else ""
    words = f"{quote(options)}$'\\n'{quote(_joined(others))}"
    return f"                {quote(' '.join(command.words))}) words={words}{kind} ;;"


def _joined(words: Iterable[str]) -> str:
    return " ".join(words)
