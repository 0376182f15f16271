# What the chores share: messages, system packages, the virtual environment. Sourced by ./run.
# shellcheck shell=bash disable=SC2154 # variables of the other parts

# Else each of the processes that the chores start would compile the package anew.
unset PYTHONDONTWRITEBYTECODE

state=$root/.run
system_python=/usr/bin/python3
network_packages=(openvswitch-switch mininet iperf3 ethtool iproute2 iputils-ping socat procps util-linux)
python_packages=(python3 python3-venv ca-certificates)
# shellcheck disable=SC2034 # ./run uses it
all_packages=("${python_packages[@]}" "${network_packages[@]}")
current_step="start"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold='' red='' plain=''; fi

say() { printf '%s==>%s %s\n' "$bold" "$plain" "$*"; }
step() { current_step=$1; say "$1"; }
die() { printf '%sfailed%s in step "%s": %s\n' "$red" "$plain" "$current_step" "$*" >&2; exit 1; }

# A command that fails unseen would leave the user guessing, so every failure names its step.
failed() {
    local status=$? line=$1
    [ "$BASH_SUBSHELL" -eq 0 ] || exit "$status"
    printf '%sfailed%s in step "%s" (status %s, line %s of %s)\n' \
        "$red" "$plain" "$current_step" "$status" "$line" "${BASH_SOURCE[1]##*/}" >&2
    exit "$status"
}
trap 'failed $LINENO' ERR

# Callers of as_root may send its stderr elsewhere; so what cannot work is reported here, before.
# usage: need_root "to do what" ["command that root can run instead"]
need_root() {
    local remedy="run ./run as root${2:+, or have root run: $2}"
    [ "$(id -u)" -ne 0 ] || return 0
    command -v sudo >/dev/null || die "root is needed to $1, and sudo is not installed; $remedy"
    sudo -n -- true 2>/dev/null || sudo -- true || die "root is needed to $1, and sudo refuses; $remedy"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

missing_packages() {
    local name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
    done
}

# Never asks: no debconf question, no question about a configuration file (the installed one stays), no terminal.
packaging() { as_root env DEBIAN_FRONTEND=noninteractive "$@" </dev/null >>"$state/apt.log" 2>&1; }

apt() {
    packaging apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" ||
        { tail -n 15 "$state/apt.log" >&2; die "apt-get $1 failed; its output is in $state/apt.log"; }
}

setup_packages() {
    local missing
    mkdir -p "$state"
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    step "system packages: ${missing[*]}"
    command -v apt-get >/dev/null || die "there is no apt-get; install these packages by other means: ${missing[*]}"
    need_root "install Debian packages" "apt-get install --no-install-recommends ${missing[*]}"
    # An interrupted installation is finished first: what was unpacked is configured, then what is missing is fetched.
    packaging dpkg --force-confdef --force-confold --configure -a || apt install --fix-broken --no-install-recommends
    apt update
    apt install --no-install-recommends "${missing[@]}"
}

# promtool of Debian's package prometheus, of which nothing is installed: no service starts, and no root is needed.
promtool=$state/promtool
setup_promtool() {
    local directory=$state/prometheus
    [ ! -x "$promtool" ] || return 0
    step "promtool"
    command -v apt-get >/dev/null || die "there is no apt-get; put promtool into $promtool"
    rm -rf "$directory" && mkdir -p "$directory"
    (cd "$directory" && apt-get -q download prometheus) >>"$state/apt.log" 2>&1 || {
        need_root "update the list of Debian packages" "apt-get update"
        apt update
        (cd "$directory" && apt-get -q download prometheus) >>"$state/apt.log" 2>&1 ||
            { tail -n 15 "$state/apt.log" >&2; die "apt-get download prometheus failed; its output is in $state/apt.log"; }
    }
    dpkg-deb --fsys-tarfile "$directory"/prometheus_*.deb | tar -x -O ./usr/bin/promtool >"$promtool.new"
    chmod +x "$promtool.new"
    mv "$promtool.new" "$promtool"
    rm -rf "$directory"
}

# .venv is complete when its stamp names this setup.cfg and this Python. While it is being changed it carries
# a mark, so that one left half done is thrown away and not trusted.
setup_python() {
    local stamp
    setup_packages "${python_packages[@]}"
    stamp=$(cat setup.cfg pyproject.toml - <<<"$root $("$system_python" -V)" | sha256sum | cut -d' ' -f1)
    [ "$(cat .venv/.complete 2>/dev/null)" = "$stamp" ] && [ -x .venv/bin/python ] && return 0
    mkdir -p "$state"
    exec 8>"$state/setup.lock"
    flock 8
    if [ "$(cat .venv/.complete 2>/dev/null)" != "$stamp" ]; then
        step "Python environment .venv (about a minute the first time)"
        if [ -e .venv/.unfinished ] || ! .venv/bin/python -c '' 2>/dev/null ||
            ! grep -qF "$root/.venv" .venv/bin/activate; then rm -rf .venv; fi
        mkdir -p .venv
        touch .venv/.unfinished
        rm -f .venv/.complete
        "$system_python" -m venv .venv
        PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip install -q -e '.[test,plan,docs]' >"$state/pip.log" 2>&1 ||
            { tail -n 15 "$state/pip.log" >&2; die "pip install failed; its output is in $state/pip.log"; }
        printf '%s\n' "$stamp" >.venv/.complete
        rm -f .venv/.unfinished
    fi
    exec 8>&-
}
