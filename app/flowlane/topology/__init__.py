"""Network files of ``topologies/``: read into a graph, checked, drawn, and written as JSON for ``mininet/lab.py``.

``python -m flowlane.topology FILE`` prints the network as JSON, or what is wrong with the file, each problem
with its line and a remedy. ``topologies/README.md`` describes the format.
"""

from __future__ import annotations

from flowlane.topology.checks import check, load
from flowlane.topology.files import Kind, TopologyError, read

__all__ = ["Kind", "TopologyError", "check", "load", "read"]
