"""Desired entries, compared with what a device has, and sent as OpenFlow messages."""
