"""The network files of this folder for Mininet's own command:

    mn --custom topologies/mn.py --topo leaf-spine --controller remote

Each file is a topology of its name. Bridges come with roles, VM identities, bonds, patch ports and queues, as
the file says. The files are checked by Flowlane (`./run setup` makes `.venv`).
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def _folder() -> Path:
    """Find this folder: Mininet runs the text of this file, which then has no name."""
    words = [part for word in sys.argv for part in word.replace("=", ",").split(",")]
    named = next(
        (Path(word) for word in words if word.endswith("mn.py")), Path(globals().get("__file__", "."))
    )
    return named.resolve().parent


FOLDER = _folder()
sys.path.insert(0, str(FOLDER.parent / "mininet"))

from networks import FileTopo  # type: ignore[import-not-found]  # noqa: E402  # found by the line above


def topology(path: Path, **parameters: Any) -> Any:
    """Read a network file and make its topology."""
    python = FOLDER.parent / ".venv" / "bin" / "python"
    if not python.exists():
        sys.exit(f"{python} is not there: run ./run setup first")
    read = subprocess.run(
        [str(python), "-m", "flowlane.topology", str(path)], check=False, capture_output=True, text=True
    )
    if read.returncode:
        sys.exit(read.stderr.strip())
    return FileTopo(json.loads(read.stdout), **parameters)


topos = {path.stem: functools.partial(topology, path) for path in sorted(FOLDER.glob("*.yaml"))}
