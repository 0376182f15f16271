"""Completion for zsh, by ``_arguments`` (zshcompsys(1)): a function for each command and subcommand."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from flowlane.manual.commands import BRIDGES, FILES, Command, Option, Value

_BRIDGES = """\
_flowlane_bridges() {
    local -a bridges
    bridges=(${(f)"$(ovs-vsctl --timeout=2 list-br 2>/dev/null)"})
    _describe bridge bridges
}
"""


def script(*commands: Command) -> str:
    """Write the completion of several commands as one file, which is loaded when one of them is completed."""
    names = [command.words[0] for command in commands]
    lines = [f"#compdef {' '.join(names)}", "", _BRIDGES]
    for command in commands:
        lines += _functions(command)
    cases = [f"        {command.words[0]}) {_function(command)} ;;" for command in commands]
    # The file is the body of this function until it has run once.
    lines += ["_flowlane() {", '    case "$service" in', *cases, "    esac", "}", "", '_flowlane "$@"', ""]
    return "\n".join(lines)


def _functions(command: Command) -> Iterator[str]:
    """Write the function of a command, and those of its subcommands."""
    specs = [spec for option in command.options for spec in _option(option)]
    yield f"{_function(command)}() {{"
    if command.subcommands:
        yield "    local context state line curcontext=$curcontext"
        yield "    typeset -A opt_args"
        specs += [quote("1: :->command"), quote("*:: :->rest")]
    else:
        specs += [_positional(value) for value in command.positionals]
    yield "    _arguments -C \\" if command.subcommands else "    _arguments \\"
    yield " \\\n".join(f"        {spec}" for spec in specs)
    if command.subcommands:
        yield "    case $state in"
        yield "        command)"
        yield "            local -a words_of_command=("
        yield from (f"                {quote(f'{sub.words[-1]}:{sub.about}')}" for sub in command.subcommands)
        yield "            )"
        yield f"            _describe {quote(' '.join(command.words))} words_of_command"
        yield "            ;;"
        yield "        rest)"
        yield "            case $line[1] in"
        yield from (f"                {sub.words[-1]}) {_function(sub)} ;;" for sub in command.subcommands)
        yield "            esac"
        yield "            ;;"
        yield "    esac"
    yield "}"
    yield ""
    for sub in command.subcommands:
        yield from _functions(sub)


def _function(command: Command) -> str:
    return "_complete_" + "__".join(word.replace("-", "_") for word in command.words)


def _option(option: Option) -> Iterator[str]:
    """Write the specification of each flag of an option: it excludes the others, unless it may be repeated."""
    for flag in option.flags:
        text = f"{'*' if option.repeated else ''}"
        if not option.repeated:
            text = f"({' '.join(option.flags)})"
        text += flag
        if option.value is not None and flag.startswith("--"):
            text += "=" if not option.value.optional else "=-"
        text += f"[{_escape(option.about)}]"
        if option.value is not None:
            text += f"{'::' if option.value.optional else ':'}{_escape(option.value.name)}:{_action(option.value)}"
        yield quote(text)


def _positional(value: Value) -> str:
    begin = "*:" if value.many else "::" if value.optional else ":"
    return quote(f"{begin}{_escape(value.name)}:{_action(value)}")


def _action(value: Value) -> str:
    if value.choices:
        return f"({' '.join(value.choices)})"
    return {FILES: "_files", BRIDGES: "_flowlane_bridges"}.get(value.completed, " ")


def _escape(text: str) -> str:
    for mark in "\\:[]":
        text = text.replace(mark, f"\\{mark}")
    return text
