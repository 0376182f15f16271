"""What the engine knows: devices, their flows in columns, their meters."""
