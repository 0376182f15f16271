"""The Open vSwitch database: who hangs on which port, and which queues there are."""
