"""The Open vSwitch database: who hangs on which port, and which queues there are."""

import warnings

with warnings.catch_warnings():
    # The OVS library imports eventlet where it is installed, and eventlet warns of its age on every import;
    # the reader of `flowlane qos` can do nothing about it.
    warnings.simplefilter("ignore")
    import ovs.poller  # noqa: F401
