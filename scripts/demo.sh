# ./run demo: opens a stage, plays scripts/demo.py on it, and clears it away; with --lab it plays in the lab's guest.
# Sourced by ./run.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of the other parts
. scripts/stage.sh

demo_logs=$state/demo
kept=''

demo_pid() {
    local pid
    pid=$(cat "$demo_logs/stage.pid" 2>/dev/null) || return 1
    # A process id may have gone to another program by now; ours has the name of our script.
    { tr "\0" " " <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF "$root/mininet/private $root $demo_logs" && echo "$pid"
}

# Process 1 of the stage takes everything on it along, whatever it is: processes, bridges, network, /tmp.
demo_stop() {
    local pid
    pid=$(demo_pid) || return 0
    need_root "end the demo's processes" "kill -KILL $pid"
    as_root kill -KILL "$pid" 2>/dev/null || true
    while [ -e "/proc/$pid" ]; do sleep 0.05; done
}

demo_end() {
    local status=$?
    trap - EXIT ERR
    [ -n "$kept" ] || demo_stop
    [ ! -t 1 ] || printf '\e[?25h' # the live picture hides the cursor
    exit "$status"
}

demo_usage() {
    die "usage: ./run demo [--keep] [--seconds S] [--policy FILE] [--port N] | --stop | --lab [--seconds S] [--policy FILE]"
}

# Needs no stage, as the guest is one, and no root once Python's packages and iperf3 are installed. The far end outside
# of the guest runs iperf3. QEMU dies with this process.
demo_lab() {
    local play=()
    while [ $# -gt 0 ]; do
        case $1 in
            --seconds) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || demo_usage; play+=("$1" "$2"); shift ;;
            --policy) play+=("$1" "$(cd "$here" && realpath -e -- "${2:-}")") || demo_usage; shift ;;
            *) demo_usage ;;
        esac
        shift
    done
    setup_packages "${python_packages[@]}" iperf3
    setup_python
    exec .venv/bin/python -m scripts.demo_lab --logs "$state/demo-lab" "${play[@]}"
}

# The stage holds on to the reading end of the leash: when this shell is gone, even by SIGKILL, it ends too.
open_stage() {
    rm -f "$demo_logs"/stage.* "$demo_logs/leash"
    mkfifo "$demo_logs/leash"
    exec 9<>"$demo_logs/leash"
    as_root env PYTHONDONTWRITEBYTECODE=1 setsid --fork "${enter[@]}" "$root/mininet/private" \
        "$root" "$demo_logs" "$1" hold "$demo_logs/leash" </dev/null >"$demo_logs/stage.log" 2>&1 7>&- 9>&-
    local tries=0
    until [ -e "$demo_logs/stage.ready" ]; do
        sleep 0.1
        tries=$((tries + 1))
        [ $tries -lt 100 ] || { tail -n 5 "$demo_logs"/*.log >&2; die "no Open vSwitch after 10 s"; }
    done
}

demo_main() {
    local keep='' port='' policy='' play=() pid status=0
    if [ "${1:-}" = --lab ]; then shift; demo_lab "$@"; fi
    while [ $# -gt 0 ]; do
        case $1 in
            --keep) keep=yes ;;
            --stop) demo_stop; say "no demo is running any more"; return ;;
            --port) port=${2:-}; [ -n "$port" ] || demo_usage; shift ;;
            --seconds) [ -n "${2:-}" ] || demo_usage; play+=("$1" "$2"); shift ;;
            --policy) policy=$(cd "$here" && realpath -e -- "${2:-}") || demo_usage; shift ;;
            *) demo_usage ;;
        esac
        shift
    done
    setup_packages "${python_packages[@]}" "${network_packages[@]}"
    setup_python
    mkdir -p "$demo_logs"
    exec 7>"$demo_logs/lock"
    flock --nonblock 7 || die "a demo runs already (in another terminal?)"
    if demo_pid >/dev/null; then step "end the demo that was kept"; demo_stop; fi
    need_stage
    step "private namespaces with an Open vSwitch of their own"
    # A copy, as the user's /tmp is not seen on the stage.
    if [ -n "$policy" ]; then cp -- "$policy" "$demo_logs/policy.yaml"; play+=(--policy "$demo_logs/policy.yaml"); fi
    trap demo_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    port=${port:-$(free_port 8080 8081 8082 8088 18080)}
    open_stage "$port"
    pid=$(demo_pid) || die "the stage has ended; see $demo_logs/stage.log"
    current_step="demo"
    as_root env PYTHONDONTWRITEBYTECODE=1 FLOWLANE_PRIVATE=1 HOME=/tmp/home TMPDIR=/tmp TERM="${TERM:-dumb}" \
        nsenter --target "$pid" --mount --net --pid --wd="$root" -- \
        .venv/bin/python -m scripts.demo --logs "$demo_logs" --url "http://127.0.0.1:$port" ${keep:+--keep} "${play[@]}" 7>&- 9>&- &
    # Waited for, as the shell does not heed a signal while a program runs in the foreground.
    wait $! || status=$?
    [ $status -eq 0 ] || exit $status
    if [ -n "$keep" ]; then
        echo keep >&9
        kept=yes
        say "left running: REST at http://127.0.0.1:$port   (try: .venv/bin/flowlane queues --url http://127.0.0.1:$port)"
        say "end it with: ./run demo --stop"
    fi
}
