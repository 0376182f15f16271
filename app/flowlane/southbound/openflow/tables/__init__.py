"""What stands in a device, as data: pipeline, entries, standing rules, pins, differences. Imports no os-ken."""
