"""Two kinds of tests live here: those that boot a guest, and (in guest/) those that run inside one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSIDE = os.environ.get("FLOWLANE_LAB") == "1"

sys.path.insert(0, str(ROOT / "lab"))
collect_ignore_glob = ["test_*.py"] if INSIDE else ["guest/*"]
