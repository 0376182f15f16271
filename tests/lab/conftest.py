"""Two kinds of tests live here: those that boot a guest, and (in guest/) those that run inside one."""

from __future__ import annotations

import os

INSIDE = os.environ.get("FLOWLANE_LAB") == "1"

collect_ignore_glob = ["test_*.py"] if INSIDE else ["guest/*"]
