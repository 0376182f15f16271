"""Completion for fish: one ``complete`` for each option and subcommand, where it may stand."""

from __future__ import annotations

from collections.abc import Iterator

from flowlane.manual.commands import BRIDGES, FILES, Command, Option, Value

_FRAME = """\
function __{function}_at
    set -l at {name}
    set -l typed (commandline -opc)
    for word in $typed[2..-1]
        if contains -- "$at $word" {subcommands}
            set at "$at $word"
        end
    end
    test "$at" = "$argv"
end

complete -c {name} -f
"""
"""The function checks which subcommand has been typed so far."""


def script(command: Command) -> str:
    """Write the completion of a command."""
    every = list(_all(command))
    name = command.words[0]
    lines = [
        _FRAME.format(
            name=name,
            function=_function(name),
            subcommands=" ".join(_quote(" ".join(sub.words)) for sub in every[1:]),
        )
    ]
    for sub in every:
        lines += _lines(sub)
    return "\n".join([*lines, ""])


def _all(command: Command) -> Iterator[Command]:
    yield command
    for sub in command.subcommands:
        yield from _all(sub)


def _function(name: str) -> str:
    return name.replace("-", "_")


def _lines(command: Command) -> Iterator[str]:
    name = command.words[0]
    here = _quote(f"__{_function(name)}_at {' '.join(command.words)}")
    begin = f"complete -c {name} -n {here}"
    for sub in command.subcommands:
        yield f"{begin} -a {_quote(sub.words[-1])} -d {_quote(sub.about)}"
    for value in command.positionals:
        if values := _values(value):
            yield f"{begin} {values}"
    for option in command.options:
        yield f"{begin} {_flags(option)} -d {_quote(option.about)}{_value_of(option)}"


def _flags(option: Option) -> str:
    return " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)


def _value_of(option: Option) -> str:
    """Write that an option needs a value (-r), or may have one; -x has no files offered for it."""
    value = option.value
    if value is None or value.optional:
        return ""
    return f" -r {_values(value)}" if _values(value) else " -x"


def _values(value: Value) -> str:
    if value.choices:
        return f"-f -a {_quote(' '.join(value.choices))}"
    return {FILES: "-F", BRIDGES: "-f -a '(ovs-vsctl --timeout=2 list-br 2>/dev/null)'"}.get(
        value.completed, ""
    )


def _quote(text: str) -> str:
    r"""Quote for fish, whose single quotes know \' and \\ only."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
