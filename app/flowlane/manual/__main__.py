"""``python -m flowlane.manual PREFIX``: write manual pages, completions and the sample configuration below a prefix."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from flowlane.manual import bash, commands, configuration, fish, pages, zsh


def files(values: Mapping[str, str]) -> dict[str, str]:
    """Return what is written: path below the prefix -> text.

    Args:
        values: what the sample of the configuration sets; all other options are commented out.
    """
    flowlane, manager = commands.flowlane(), commands.manager()
    return {
        "man/man1/flowlane.1": pages.flowlane(flowlane),
        "man/man5/flowlane.conf.5": pages.flowlane_conf(configuration.groups()),
        "man/man8/flowlane-manager.8": pages.flowlane_manager(manager),
        "bash-completion/completions/flowlane": bash.script(flowlane),
        "bash-completion/completions/flowlane-manager": bash.script(manager),
        "zsh/site-functions/_flowlane": zsh.script(flowlane, manager),
        "fish/vendor_completions.d/flowlane.fish": fish.script(flowlane),
        "fish/vendor_completions.d/flowlane-manager.fish": fish.script(manager),
        "doc/flowlane/flowlane.conf": configuration.sample(values),
    }


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in configuration.names():
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE with the name of an option, such as wsapi_port"
        )
    return name, value


def main() -> int:
    """Write the files; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flowlane.manual", description=(__doc__ or "").partition(": ")[2]
    )
    parser.add_argument(
        "prefix", type=Path, metavar="PREFIX", help="such as /usr/local/share or ~/.local/share"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="NAME=VALUE",
        help="an option that the sample of flowlane.conf sets; may be repeated",
    )
    args = parser.parse_args()
    try:
        for name, text in files(dict(args.set)).items():
            path = args.prefix / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error.filename}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
