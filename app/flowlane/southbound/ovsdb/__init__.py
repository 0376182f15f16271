"""The Open vSwitch database as the controller reads it: bridges, ports, VM identities, queues."""

import warnings

with warnings.catch_warnings():
    # The OVS library imports eventlet where it is installed, and eventlet prints a warning at every import, about
    # which a user of `flowlane qos` can do nothing.
    warnings.simplefilter("ignore")
    import ovs.poller  # noqa: F401
