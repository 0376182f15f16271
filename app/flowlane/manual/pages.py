"""Manual pages of both commands and of the configuration file, in the man(7) macros of roff."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable

from flowlane import __version__
from flowlane.manual.commands import Command, Option, Value

WIDTH = 79
"""Characters of a line."""

Section = tuple[str, list[str]]
"""Title and lines of roff."""


def escape(text: str) -> str:
    r"""Escape a text for roff: ``\`` and ``-``, and what is special at the beginning of a line (groff_man(7))."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha")
    text = text.replace("~", "\\(ti").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def prose(text: str) -> list[str]:
    """Write a text in lines that are not too long; each sentence begins a line (mandoc(1), STYLE)."""
    sentences = escape(text).replace(". ", ".\n").splitlines()
    lines = [
        line
        for sentence in sentences
        for line in textwrap.wrap(sentence, WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    return [f"\\&{line}" if line.startswith(".") else line for line in lines]


def bold(text: str) -> str:
    """Write a text in bold: what is typed as it stands."""
    return f"\\fB{escape(text)}\\fR"


def italic(text: str) -> str:
    """Write a text in italics: what stands for something else."""
    return f"\\fI{escape(text)}\\fR"


def page(name: str, number: int, about: str, sections: Iterable[Section]) -> str:
    """Write a page.

    Args:
        number: the section of the manual.
        about: what the page's subject is, for the line that whatis(1) shows.
    """
    # SOURCE_DATE_EPOCH makes what is built twice the same (reproducible-builds.org).
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    lines = [
        f'.TH {escape(name.upper())} {number} {date} "Flowlane {__version__}"',
        ".SH NAME",
        f"{escape(name)} \\- {escape(about)}",
    ]
    for title, text in sections:
        lines += [f".SH {title}", *text]
    return "\n".join(lines) + "\n"


def flowlane(command: Command) -> str:
    """Write the page flowlane(1), with a part for each subcommand."""
    usage = synopsis(command, "COMMAND [ARGUMENT ...]")
    sections: list[Section] = [
        ("SYNOPSIS", [usage]),
        ("DESCRIPTION", paragraphs(_ABOUT_FLOWLANE)),
        ("OPTIONS", of_options(command)),
        ("COMMANDS", [line for sub in command.subcommands for line in of_command(sub)]),
        ("ENVIRONMENT", definitions(_ENVIRONMENT)),
        ("EXIT STATUS", definitions(_EXIT_CODES)),
        ("EXAMPLES", examples(_EXAMPLES)),
        ("SEE ALSO", see_also(("flowlane-manager", 8), ("flowlane.conf", 5), ("ovs-vsctl", 8))),
    ]
    return page("flowlane", 1, "show and change what the controller Flowlane does", sections)


def flowlane_manager(command: Command) -> str:
    """Write the page flowlane-manager(8)."""
    sections: list[Section] = [
        ("SYNOPSIS", [synopsis(command)]),
        ("DESCRIPTION", paragraphs(_ABOUT_MANAGER)),
        ("OPTIONS", of_options(command)),
        ("SIGNALS", definitions(_SIGNALS)),
        ("FILES", definitions(_FILES)),
        ("EXIT STATUS", definitions(_MANAGER_EXIT_CODES)),
        ("SEE ALSO", see_also(("flowlane", 1), ("flowlane.conf", 5), ("ovs-vswitchd", 8))),
    ]
    return page("flowlane-manager", 8, "the OpenFlow controller that places flows of VMs on queues", sections)


def flowlane_conf(options: Iterable[tuple[str, str, list[tuple[str, str, str]]]]) -> str:
    """Write the page flowlane.conf(5).

    Args:
        options: (title, description, options) of each group; an option is (name, default, about).
    """
    lines: list[str] = []
    for title, about, listed in options:
        lines += [f".SS {escape(title)}", *prose(about)]
        for name, default, text in listed:
            lines += [".TP", f"{bold(name)} = {italic(default)}", *prose(text)]
    sections: list[Section] = [
        ("DESCRIPTION", paragraphs(_ABOUT_CONFIGURATION)),
        ("OPTIONS", lines),
        ("FILES", definitions(_FILES)),
        ("SEE ALSO", see_also(("flowlane-manager", 8), ("flowlane", 1))),
    ]
    return page("flowlane.conf", 5, "options of flowlane-manager", sections)


# ---- parts of a page


def synopsis(command: Command, rest: str = "") -> str:
    """Write the line of a command with its arguments."""
    needed = [
        f"{bold(option.flags[-1])} {_value(option)}".strip() for option in command.options if option.required
    ]
    words = [bold(" ".join(command.words)), *needed, "[" + italic("OPTION") + " ...]"]
    words += [_positional(value) for value in command.positionals]
    words += (
        ["|".join(bold(sub.words[-1]) for sub in command.subcommands)]
        if command.subcommands and not rest
        else []
    )
    return " ".join([*words, *([rest] if rest else [])])


def _positional(value: Value) -> str:
    word = "|".join(map(bold, value.choices)) if value.choices else italic(value.name)
    word += " ..." if value.many else ""
    return f"[{word}]" if value.optional else word


def _value(option: Option) -> str:
    if option.value is None:
        return ""
    word = italic(option.value.name)
    return f"[{word}]" if option.value.optional else word


def of_command(command: Command) -> list[str]:
    """Write the part of a subcommand, and of the subcommands that it has."""
    lines = [f".SS {escape(' '.join(command.words[1:]))}", synopsis(command), ".PP"]
    lines += prose(sentence(command.about))
    for value in command.positionals:
        if value.about:
            lines += [".TP", _positional(value), *prose(value.about)]
    lines += of_options(command, but=("-h", "--help"))
    return lines + [line for sub in command.subcommands for line in of_command(sub)]


def of_options(command: Command, but: tuple[str, ...] = ()) -> list[str]:
    """Write the options of a command, each with its text."""
    lines = []
    for title, about, options in command.groups:
        lines += [f".SS {escape(title)}"] if title else []
        lines += prose(about)
        for option in options:
            if set(option.flags).isdisjoint(but):
                flags = ", ".join(bold(flag) for flag in option.flags)
                lines += [".TP", f"{flags} {_value(option)}".strip(), *prose(option.about)]
    return lines


def sentence(text: str) -> str:
    """Begin a text with a capital letter, and end it with a full stop."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Write paragraphs."""
    lines: list[str] = []
    for text in texts:
        lines += [".PP"] if lines else []
        lines += prose(text)
    return lines


def definitions(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Write terms, each with its text."""
    return [line for term, text in pairs for line in (".TP", bold(term), *prose(text))]


def examples(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Write commands, each under what it does."""
    lines: list[str] = []
    for about, text in pairs:
        lines += [
            *([".PP"] if lines else []),
            escape(about),
            ".PP",
            ".RS 4",
            ".EX",
            escape(text),
            ".EE",
            ".RE",
        ]
    return lines


def see_also(*pages: tuple[str, int]) -> list[str]:
    """Write the names of other pages."""
    ends = [","] * (len(pages) - 1) + [""]
    return [f".BR {escape(name)} ({number}){end}" for (name, number), end in zip(pages, ends, strict=True)]


# ---- texts

_ABOUT_FLOWLANE = (
    "Flowlane is an OpenFlow controller that decides which flow of a VM uses which queue of a device.",
    "Most commands ask a running flowlane-manager over REST, and print what it answers. The commands check, plan and "
    "simulate try a policy without a controller; qos, attach, detach and doctor work on this host's Open vSwitch.",
)
_ABOUT_MANAGER = (
    "flowlane-manager waits for switches that connect by OpenFlow 1.3 to 1.5, reads ports, queues and VMs from "
    "Open vSwitch databases, and places each flow of a VM on a queue by the operator's policy. It answers REST, by "
    "default on 127.0.0.1 port 8080.",
    "Without APP it runs flowlane.app. Other os-ken apps may run beside it.",
)
_ABOUT_CONFIGURATION = (
    "The file has one section, [DEFAULT], with lines NAME = VALUE. An option of the command line wins over the file. "
    "A line that begins with # is a comment. An option that takes a list has commas between its values; one that may "
    "be repeated on the command line may be repeated here.",
    "On SIGHUP flowlane-manager reads the file again. The level of the log and the policy change at once; of other "
    "options whose value has changed it logs that a restart is needed.",
)
_SIGNALS = (
    ("SIGINT, SIGTERM", "Stop. The entries in the switches stay, and go on placing flows."),
    (
        "SIGHUP",
        "Read the configuration and the policy file again. A policy that is refused leaves the old one in force; the "
        "log says what is wrong with it.",
    ),
)
_FILES = (
    ("/etc/flowlane/flowlane.conf", "Options; read where no --config-file is given."),
    ("/var/lib/flowlane", "What the controller keeps across restarts, where it runs as a service."),
    ("/run/openvswitch/db.sock", "The database of this host's Open vSwitch."),
)
_ENVIRONMENT = (
    ("FLOWLANE_URL", "The controller, where --url is not given."),
    ("OVS_RUNDIR", "The directory of Open vSwitch's sockets, for qos, attach, detach and doctor."),
    ("NO_COLOR", "No colours, whatever its value."),
)
_EXIT_CODES = (
    ("0", "Done."),
    ("1", "Refused, not found, or not ready."),
    (
        "2",
        "The command line is wrong, or a Python package is missing; check: a file or the controller cannot be read.",
    ),
    ("3", "No controller answers at the URL."),
    ("130", "After Ctrl-C."),
)
_MANAGER_EXIT_CODES = (
    ("0", "Stopped by a signal."),
    ("1", "Something could not start; standard error has one line about it."),
    ("2", "The command line is wrong."),
)
_EXAMPLES = (
    (
        "Put Flowlane on a bridge, and see what it does:",
        "flowlane attach br0\nflowlane devices\nflowlane assignments",
    ),
    ("Check a policy before it is used:", "flowlane check policy.yaml\nflowlane policy check policy.yaml"),
    ("Ask why a flow is where it is:", "flowlane explain 10.0.0.1:5001-10.0.0.254:5201"),
)
