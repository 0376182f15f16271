"""OpenFlow: entries as data, their bytes, the connections to devices, and every patch of os-ken."""
