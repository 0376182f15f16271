# The stage: private namespaces with their own Open vSwitch (mininet/private), where Mininet may do as it
# likes. Sourced by ./run and its other parts.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of the other parts

stage_logs=$state/stage
enter=(unshare --pid --fork --mount --kill-child)

free_port() {
    local port
    for port in "$@"; do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then echo "$port"; return; fi
    done
    die "ports $* of 127.0.0.1 are all taken"
}

need_stage() {
    setup_packages "${network_packages[@]}"
    need_root "make network namespaces"
    # Without the module Open vSwitch forwards in user space; loading it is worth a try and no more.
    [ -e /sys/module/openvswitch ] || as_root modprobe openvswitch 2>/dev/null || true
    as_root "${enter[@]}" --net mount -t tmpfs none /tmp 2>/dev/null ||
        die "this machine does not let root make namespaces (in a container: it needs CAP_SYS_ADMIN, e.g. --privileged)"
    as_root unshare --mount --net sh -c '[ -e /dev/net/tun ] || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; }
        ip tuntap add dev flowlane0 mode tap' 2>/dev/null ||
        [ -e /sys/module/openvswitch ] || die "neither the kernel's openvswitch module nor /dev/net/tun is there"
}

# Runs a command in a stage of its own, in the foreground, and has its status. Bytecode is written in there for root
# only, as it would leave root's files in another user's checkout.
stage_run() {
    local bytecode=()
    [ "$(id -u)" -eq 0 ] || bytecode=(PYTHONDONTWRITEBYTECODE=1)
    mkdir -p "$stage_logs"
    as_root env "${bytecode[@]}" CI="${CI:-}" "${enter[@]}" \
        "$root/mininet/private" "$root" "$stage_logs" "${stage_port:-0}" run "$@"
}

network_file() {
    local file=$1
    [ ! -e "$here/$file" ] || file=$here/$file
    [ -e "$file" ] || file=topologies/${file%.yaml}.yaml
    [ -e "$file" ] || die "$file does not exist; there are: $(cd topologies && echo *.yaml)"
    network=$file
}

write_network() {
    step "network $network"
    mkdir -p "$stage_logs"
    .venv/bin/python -m flowlane.topology "$network" >"$stage_logs/network.json" ||
        die "$network is refused; topologies/README.md has the format"
}

net_main() {
    [ -n "${1:-}" ] || die "give a network file; there are: $(cd topologies && echo *.yaml)"
    network_file "$1"
    shift
    setup_python
    need_stage
    write_network
    say "private namespaces; leave with: exit"
    stage_run "$system_python" mininet/lab.py "$stage_logs/network.json" --queues "$@"
}

list_topologies() {
    local file
    for file in topologies/*.yaml; do printf '  %-16s %s\n' "$(basename "$file" .yaml)" "$(sed -n 's/^about: //p' "$file")"; done
}

# The network, its queues, Flowlane, and a shell in which the command flowlane is known.
topo_main() {
    local options=()
    if [ $# -eq 0 ]; then say "usage: ./run topo NAME [--policy FILE]"; list_topologies; return; fi
    network_file "$1"
    shift
    if [ "${1:-}" = --policy ]; then
        mkdir -p "$stage_logs"
        cp -- "$(cd "$here" && realpath -e -- "${2:-}")" "$stage_logs/policy.yaml" || die "usage: ./run topo NAME [--policy FILE]"
        options=(--policy "$stage_logs/policy.yaml")
        shift 2
    fi
    [ $# -eq 0 ] || die "usage: ./run topo NAME [--policy FILE]"
    setup_python
    need_stage
    write_network
    # Flowlane compares what it finds with the file, and has the file's passive switches.
    mkdir -p "$stage_logs/expected"
    cp -- "$network" "$stage_logs/expected/${network##*/}" || die "cannot copy $network"
    options+=(--topology "$stage_logs/expected/${network##*/}")
    stage_port=$(free_port 8080 8081 8082 8088 18080)
    say "private namespaces; leave with: exit"
    say "try: pingall, sh flowlane devices, vm1 ping remote; the page is http://127.0.0.1:$stage_port"
    stage_run mininet/with-flowlane "$stage_logs" "${options[@]}" -- \
        "$system_python" mininet/lab.py "$stage_logs/network.json" --queues --controller tcp:127.0.0.1:6653
}
