# shellcheck shell=bash disable=SC2154 # variables of the other parts
# ./run bench: what a packet-in costs, beside other controllers.

# The C test controller of Open vSwitch, unpacked: its package would start a service on the controller's port.
testcontroller() {
    local unpacked=$state/testcontroller
    if [ ! -x "$unpacked/usr/bin/ovs-testcontroller" ]; then
        mkdir -p -- "$unpacked"
        (cd -- "$unpacked" && apt-get download -qq openvswitch-testcontroller && dpkg -x openvswitch-testcontroller_*.deb .) >&2
    fi
    echo "$unpacked/usr/bin/ovs-testcontroller"
}

bench_main() {
    local controller
    controller=$(testcontroller)
    .venv/bin/python -m bench.controller.packet_ins --testcontroller "$controller" "$@"
}
