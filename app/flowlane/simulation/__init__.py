"""Simulation without a switch: flows from a file, a capture or a generator, run through the controller's engine."""
