# shellcheck shell=sh
# Open vSwitch, kernel datapath. Its data base is new and on tmpfs: through the overlay the host's one would show.
database=/run/lab/ovs/conf.db

start_database() {
    mkdir -p /run/openvswitch /run/lab/ovs
    ovsdb-tool create $database /usr/share/openvswitch/vswitch.ovsschema
    ovsdb-server $database --remote=punix:/run/openvswitch/db.sock --remote=ptcp:6640 \
        --pidfile --detach --log-file=/run/lab/ovs/ovsdb-server.log -vconsole:off
    ovs-vsctl --no-wait init
}

port_of_vm() {
    case $LAB_LAYOUT in
    veth) echo "pf0vf$1" ;;
    sriov) echo "sr0vf$1" ;;
    esac
}

# Rows as libvirt and OpenStack write them: a VM is known by vm-uuid and attached-mac of its port.
describe_bridge() {
    set -- add-br br0 \
        -- set bridge br0 fail_mode=secure protocols=OpenFlow13,OpenFlow14,OpenFlow15 \
        other-config:datapath-id=0000000000000001 other-config:disable-in-band=true external-ids:flowlane-role=nic \
        -- add-port br0 pf0 -- set interface pf0 ofport_request=100 external-ids:flowlane-port=uplink
    [ "$LAB_LAYOUT" = direct ] || for vm in $(seq "$LAB_VMS"); do
        port=$(port_of_vm "$vm")
        set -- "$@" -- add-port br0 "$port" -- set interface "$port" ofport_request="$vm" \
            external-ids:flowlane-port=vm external-ids:iface-id="vm$vm" \
            external-ids:attached-mac="\"$(vm_mac "$vm")\"" \
            external-ids:vm-uuid="00000000-0000-4000-8000-00000000000$vm"
    done
    ovs-vsctl --no-wait "$@"
}

# OVS counts the CPUs at most once in 10 s of the monotonic clock, beginning with 0 (lib/ovs-numa, count_cpu_cores).
# Started in the guest's first 10 s it finds none, makes no upcall handlers, and every new flow is lost for good.
start_switch() {
    while read -r up _ </proc/uptime; [ "${up%%.*}" -lt 10 ]; do sleep 0.1; done
    ovs-vswitchd --pidfile --detach --log-file=/run/lab/ovs/ovs-vswitchd.log -vconsole:off
}

check_switch() {
    errors=$(ovs-vsctl --bare --columns=name,error find interface 'error!=[]')
    if [ -n "$errors" ] || grep -q 'n-handler-threads to 0' /run/lab/ovs/ovs-vswitchd.log; then
        echo "Open vSwitch did not start well: $errors"
        return 1
    fi
}
