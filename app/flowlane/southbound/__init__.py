"""The side towards the devices: OpenFlow connections and the Open vSwitch database."""
