"""Flowlane: an OpenFlow controller that places the flows of many VMs on the few queues that a device has."""

__version__ = "0.1.0"
