# shellcheck shell=sh
# The guest's NICs: names, the way to the host, the far end of the wire.

load_modules() {
    modprobe -a virtio_net igb veth openvswitch \
        sch_htb sch_ingress cls_basic cls_matchall em_meta act_skbedit sch_fq_codel
    case $LAB_LAYOUT in veth) ;; *) modprobe -a igbvf 8021q ;; esac
}

# Names by MAC, from lines "MAC NAME": the order in which the kernel finds NICs is not fixed.
name_nics() {
    while read -r mac name; do
        for nic in /sys/class/net/*; do
            [ "$(cat "$nic/address")" != "$mac" ] || echo "link set ${nic##*/} name $name"
        done
    done <"$1" | ip -batch -
    [ -d /sys/class/net/pf0 ] || {
        echo "no NIC with the uplink's address: did igb load?"
        return 1
    }
}

# QEMU's user network: the host is 10.0.2.2, its 127.0.0.1 is reached there.
connect_host() {
    ip -batch - <<-END
	addr add 10.0.2.15/24 dev mgmt
	link set mgmt up
	route add default via 10.0.2.2
	END
}

make_wire() {
    ip netns add wire
    ip link set wire0 netns wire
    ip -n wire -batch - <<-END
	link set lo up
	addr add 10.0.0.254/24 dev wire0
	link set wire0 up
	END
}

# A bridge port must not speak by itself: its own IPv6 multicast would be counted with the VMs' packets.
be_silent() {
    echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"
}

wait_for_carrier() {
    for _ in $(seq 100); do
        [ "$(cat "/sys/class/net/$1/carrier")" != 1 ] || return 0
        sleep 0.1
    done
    echo "$1 has no carrier after 10 s"
    return 1
}
