# The stage: private namespaces with their own Open vSwitch (mininet/private), where Mininet may do as it
# likes. Sourced by ./run and its other parts.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of the other parts

stage_logs=$state/stage
enter=(unshare --pid --fork --mount --kill-child)

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

# Runs a command in a stage of its own, in the foreground, and has its status. No bytecode is written in
# there: root would leave files in the user's checkout.
stage_run() {
    mkdir -p "$stage_logs"
    as_root env PYTHONDONTWRITEBYTECODE=1 CI="${CI:-}" "${enter[@]}" "$root/mininet/private" "$root" "$stage_logs" 0 run "$@"
}

net_main() {
    local file=${1:-}
    [ -n "$file" ] || die "give a network file; there are: $(cd topologies && echo *.yaml)"
    shift
    [ ! -e "$here/$file" ] || file=$here/$file
    [ -e "$file" ] || file=topologies/${file%.yaml}.yaml
    [ -e "$file" ] || die "$file does not exist; there are: $(cd topologies && echo *.yaml)"
    setup_python
    need_stage
    step "network $file"
    mkdir -p "$stage_logs"
    .venv/bin/python -m flowlane.topology "$file" >"$stage_logs/network.json" || die "$file is refused; topologies/README.md has the format"
    say "private namespaces; leave with: exit"
    stage_run "$system_python" mininet/lab.py "$stage_logs/network.json" "$@"
}
