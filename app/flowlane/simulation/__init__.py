"""Trying a policy without a switch: flows from a file, a capture or a generator through the controller's own engine."""
