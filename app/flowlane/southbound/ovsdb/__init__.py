"""The Open vSwitch databases as the controller reads them: bridges, ports, VM identities, queues."""
