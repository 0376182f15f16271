"""The host's side of the lab: gets QEMU and a kernel, boots a throw-away guest, runs a command in it."""
