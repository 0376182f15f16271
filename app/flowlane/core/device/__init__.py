"""What a device is and what should stand in it: ports, VMs, hosts, the rules it gets, its plan."""
