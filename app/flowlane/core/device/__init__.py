"""Devices: their ports, VMs, hosts and policy, their plan, and what they refuse.

For the arguments ``state``, ``device``, ``row`` and ``out`` see :mod:`flowlane.core.state`.
"""
