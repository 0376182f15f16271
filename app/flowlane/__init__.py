"""Flowlane: the brain of a virtual switch."""

__version__ = "0.1.0"
