"""``flowlane completion``: print the completion of ``flowlane`` and ``flowlane-manager`` for a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete the commands")


def run(args: argparse.Namespace) -> int:
    """Print the completion."""
    # Imported only now, as every command would be imported with it.
    from flowlane.manual import bash, commands, fish, zsh  # noqa: PLC0415

    both = commands.flowlane(), commands.manager()
    if args.shell == "zsh":
        print(zsh.script(*both), end="")
    else:
        write = {"bash": bash.script, "fish": fish.script}[args.shell]
        print("\n".join(write(command) for command in both), end="")
    return 0
