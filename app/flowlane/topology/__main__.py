"""``python -m flowlane.topology``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from flowlane.topology import TopologyError, load


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a network file as JSON; return 1, and print what is wrong to stderr, when it is refused."""
    parser = argparse.ArgumentParser(prog="flowlane.topology", description=main.__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args(arguments).file
    try:
        network = load(path)
    except TopologyError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(network) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
