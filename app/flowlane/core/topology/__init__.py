"""Topology: devices and the links between them, as probes and OVSDB show them; a graph, and the way of a flow."""
