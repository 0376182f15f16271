"""``python -m flowlane.topology``: a network file as JSON or as a picture; and files made by a rule."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from flowlane.topology import TopologyError, load
from flowlane.topology.files import read
from flowlane.topology.generate import leaf_spine


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a network file as JSON; return 1, and print what is wrong to stderr, when it is refused."""
    parser = argparse.ArgumentParser(prog="flowlane.topology", description=main.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", type=Path, nargs="?")
    what.add_argument(
        "--leaf-spine",
        metavar="LEAVESxSPINESxVMS",
        help="print the network file of a leaf-spine network, such as 4x2x8: 8 VMs at each of 4 leaves",
    )
    parser.add_argument("--draw", type=Path, metavar="PICTURE", help="draw the network (.svg or .png)")
    given = parser.parse_args(arguments)
    try:
        if given.leaf_spine is not None:
            sys.stdout.write(leaf_spine(*_numbers(given.leaf_spine)))
            return 0
        network = load(given.file)
        if given.draw is None:
            sys.stdout.write(json.dumps(network) + "\n")
        else:
            _draw(given.file, given.draw)
    except (TopologyError, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _numbers(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})x(\d{1,9})", text)
    if found is None:
        raise ValueError(f"--leaf-spine: {text!r} is not LEAVESxSPINESxVMS, such as 4x2x8")
    leaves, spines, vms = found.groups()
    return int(leaves), int(spines), int(vms)


def _draw(file: Path, picture: Path) -> None:
    try:
        from flowlane.topology.drawing import draw  # noqa: PLC0415  # matplotlib is needed for this alone
    except ModuleNotFoundError as error:
        raise ValueError(f"--draw needs {error.name}: pip install 'flowlane[plan]'") from error
    draw(read(file), picture)


if __name__ == "__main__":
    sys.exit(main())
