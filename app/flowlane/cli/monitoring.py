"""``flowlane monitoring``: write the alert rules for Prometheus and the dashboards for Grafana to a directory."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

SUFFIXES = (".json", ".yml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "directory", metavar="DIRECTORY", type=Path, help="made where it is missing; its files are replaced"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files, and print where they are."""
    for place, source in monitoring_files():
        target = args.directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        print(target)
    return 0


def monitoring_files() -> Iterator[tuple[Path, Traversable]]:
    """List the files: the place of each below the directory, and the file."""
    for folder in files("flowlane.monitoring").iterdir():
        if folder.is_dir():
            inside = sorted(folder.iterdir(), key=lambda item: item.name)
            yield from (
                (Path(folder.name, item.name), item) for item in inside if item.name.endswith(SUFFIXES)
            )
