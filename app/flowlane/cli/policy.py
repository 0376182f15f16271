"""``flowlane policy show|schema``: the built-in policy and the language's JSON Schema, to read and to copy."""

from __future__ import annotations

import argparse
import json

from flowlane.policy import default_text
from flowlane.policy.structure import schema


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "what",
        choices=("show", "schema"),
        nargs="?",
        default="show",
        help="show: the built-in policy, which is in force when no other is given; schema: JSON Schema for editors",
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command; return its exit status."""
    print(default_text() if args.what == "show" else json.dumps(schema(), indent=2), end="")
    return 0
