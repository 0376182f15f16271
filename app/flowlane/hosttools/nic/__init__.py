"""What a NIC of this host has, read from sysfs, ethtool, tc and ip."""
