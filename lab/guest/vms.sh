# shellcheck shell=sh
# VMs are network namespaces vm1..vmN with one NIC, eth0, MAC 02:00:00:00:00:0N.

vm_mac() {
    printf '02:00:00:00:00:%02x' "$1"
}

# VM's NIC = one end of a veth pair; the other end, named as a VF's representor is, is the bridge's port.
make_veth_vms() {
    for vm in $(seq "$LAB_VMS"); do
        echo "netns add vm$vm"
        echo "link add pf0vf$vm type veth peer name eth0 address $(vm_mac "$vm") netns vm$vm"
        echo "link set pf0vf$vm up"
    done | ip -batch -
    for vm in $(seq "$LAB_VMS"); do be_silent "pf0vf$vm"; done
}

# VM's NIC = a real VF of NIC $1. The driver is bound after the MAC is set: changing it later breaks igbvf.
make_vf_vms() {
    device=/sys/class/net/$1/device
    ip link set "$1" up
    be_silent "$1"
    echo 0 >"$device/sriov_drivers_autoprobe"
    echo "$LAB_VMS" >"$device/sriov_numvfs"
    echo 1 >"$device/sriov_drivers_autoprobe"
    for vm in $(seq "$LAB_VMS"); do
        echo "link set $1 vf $((vm - 1)) mac $(vm_mac "$vm")"
        echo "netns add vm$vm"
    done | ip -batch -
    for vm in $(seq "$LAB_VMS"); do
        # In a VLAN of its own a VF cannot reach its neighbours inside the NIC, past the switch.
        [ "$LAB_LAYOUT" = direct ] || ip link set "$1" vf $((vm - 1)) vlan $((100 + vm))
        move_vf "$(readlink -f "$device/virtfn$((vm - 1))")" "vm$vm"
    done
}

move_vf() { # the VF's PCI folder, namespace
    echo "${1##*/}" >/sys/bus/pci/drivers/igbvf/bind
    for _ in $(seq 50); do
        nic=$(ls "$1/net" 2>/dev/null) && break
        sleep 0.1
    done
    ip link set "$nic" netns "$2" name eth0
}

# The wire of the VFs' NIC ends in NIC $1; its VLAN interfaces stand for the VFs on the bridge, as representors do.
make_representors() {
    ip link set "$1" up
    be_silent "$1"
    for vm in $(seq "$LAB_VMS"); do
        echo "link add link $1 name sr0vf$vm type vlan id $((100 + vm))"
        echo "link set sr0vf$vm up"
    done | ip -batch -
    for vm in $(seq "$LAB_VMS"); do be_silent "sr0vf$vm"; done
}

address_vms() {
    for vm in $(seq "$LAB_VMS"); do
        # No router is there to solicit, and no other host has these addresses: less noise for exact counts.
        ip netns exec "vm$vm" sh -c 'cd /proc/sys/net/ipv6/conf && echo 0 >eth0/router_solicitations && echo 0 >eth0/accept_dad'
        ip -n "vm$vm" -batch - <<-END
	link set lo up
	addr add 10.0.0.$vm/24 dev eth0
	link set eth0 up
	END
    done
}
