"""A flow's life on a device: seen, classified, placed, measured, pinned, ended."""
