"""Towards the devices: OpenFlow and the Open vSwitch database."""
