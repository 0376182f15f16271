# ./run check and ./run test: the tiers. Sourced by ./run.
# shellcheck shell=bash disable=SC2034,SC2154 # variables of the other parts

tiers=(check unit ovs mininet page lab)
shell_scripts=(run .ci/run scripts/*.sh scripts/stage-python mininet/private mininet/with-flowlane lab/guest/*
    packaging/deb/{build,preinst,postinst,prerm,postrm})

check_main() {
    step "ruff check"
    .venv/bin/ruff check --output-format=concise .
    step "ruff format"
    .venv/bin/ruff format --check .
    step "mypy"
    .venv/bin/mypy
    step "shellcheck"
    .venv/bin/shellcheck "${shell_scripts[@]}"
    step "known vulnerabilities of dependencies"
    .venv/bin/python -m scripts.audit
    step "links"
    .venv/bin/python -m pytest -q -p no:cacheprovider tests/test_links.py
}

tier_check() { check_main; }
# Workers wait more than they compute: for processes, for a switch, for time to pass. The tests of a file stay together,
# so that what they share is made once, and the longest files come first (tests/conftest.py). -n 0 among the arguments
# (for --pdb, say) makes it one process again.
workers() { echo "$(($(nproc) * $1))"; }
by_file=(--dist loadfile --no-loadscope-reorder)

# What reads the manual pages, completions and units that tests/packaging makes.
packaging_packages=(groff-base mandoc zsh fish systemd)

# Branches are counted when all tiers run, as in continuous integration.
coverage=()
[ -z "${FLOWLANE_ALL:-}" ] || coverage=(-p scripts.branch_coverage)

# Tests that passed only when they were run alone, a line each.
alone=$state/alone
# Who runs pytest: as_root for the tier that needs it.
as=()

# Root's files stay out of another user's checkout.
no_cache=(-p no:cacheprovider)
[ -z "${FLOWLANE_ALL:-}" ] || no_cache=()

# Runs pytest for a tier: what comes before the first "--" is for all tests, what follows for those that failed, once
# more and alone, where all tiers run (docs/decisions/0074), and what follows the second "--" for both.
pytest_twice() {
    local tier=$1 first=() again=() pytest=(.venv/bin/python -m pytest)
    shift
    while [ "$1" != -- ]; do first+=("$1"); shift; done
    shift
    while [ "$1" != -- ]; do again+=("$1"); shift; done
    shift
    if [ -z "${FLOWLANE_ALL:-}" ]; then
        "${as[@]}" "${pytest[@]}" "${first[@]}" "$@"
    else
        "${as[@]}" .venv/bin/python -m scripts.recheck --cache "$state/failed-$tier" --alone "$alone" \
            -- "${pytest[@]}" "${first[@]}" "$@" -- "${pytest[@]}" "${again[@]}" "$@"
    fi
}

tier_unit() {
    setup_packages openvswitch-switch iproute2 ethtool tshark "${packaging_packages[@]}"
    setup_promtool
    pytest_twice unit -n "$(($(nproc) + 1))" "${by_file[@]}" -- -n 1 -- "${coverage[@]}" \
        -m "not ovs and not mininet and not page and not lab" "$@"
}

tier_ovs() {
    setup_packages openvswitch-switch
    pytest_twice ovs -n "$(workers 2)" "${by_file[@]}" -- -n 1 -- "${coverage[@]}" -m ovs "$@"
}

# Branches that the tiers unit and ovs have run: not a tier of its own, as it only reads what they left.
tier_coverage() { .venv/bin/python -m scripts.coverage_floor; }

# Each worker has a stage to itself, as ports, devices and the switch have fixed names there.
tier_mininet() {
    . scripts/stage.sh
    need_stage
    case " $* " in *' -n 0 '* | *' -n0 '*) stage_run .venv/bin/python -m pytest -p no:cacheprovider -m mininet "$@"; return ;; esac
    rm -rf "$stage_logs"
    local stages=$(($(nproc) < 4 ? $(nproc) + 1 : 4))
    local stage="popen//python=$root/scripts/stage-python"
    pytest_twice mininet "${by_file[@]}" --tx "$stages*$stage" -- "${by_file[@]}" --tx "1*$stage" \
        -- "${no_cache[@]}" -m mininet "$@"
}

# The page in a browser, in networks of their own; and the same bundle from its sources, by npm's registry.
tier_page() {
    local packages=(openvswitch-switch iproute2 chromium)
    command -v npm >/dev/null || packages+=(nodejs npm)
    setup_packages "${packages[@]}"
    need_root "make networks for the page's tests"
    as=(as_root)
    pytest_twice page -n 2 "${by_file[@]}" -- -n 1 -- "${no_cache[@]}" -m page "$@"
}

# A guest keeps one CPU busy; the two that run the tests inside start together, beside what another worker does. The
# guest sees this machine's files and cannot keep what it compiles, a second here and half a minute there, so that what
# the tests inside import is compiled before: the modules, and the tests as pytest rewrites them.
tier_lab() {
    .venv/bin/python -m compileall -qq app lab tests/lab tests/support || :
    FLOWLANE_LAB=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 .venv/bin/python -m pytest -q -p no:cacheprovider \
        --collect-only tests/lab/guest >/dev/null
    .venv/bin/python -m pytest -n "$(workers 1)" "${by_file[@]}" -m lab "$@"
}

# Inside the guest everything is there, and the environment is not to be changed: only pytest.
in_lab_main() {
    [ -n "${FLOWLANE_LAB:-}" ] || die "this runs inside the lab: ./run lab -- ./run test-in-lab"
    local word which=()
    case $LAB_LAYOUT in veth | sriov) ;; *) die "the tests need VMs on the bridge: --layout veth or sriov" ;; esac
    for word in "$@"; do [ ! -e "${word%%::*}" ] || which=(given); done
    # Options alone do not say which tests: the rest of the suite cannot run here.
    [ ${#which[@]} -gt 0 ] || set -- tests/lab/guest "$@"
    # Plugins that these tests do not use take seconds to import there.
    export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
    local pytest=(.venv/bin/python -m pytest)
    [ -n "${LAB_ONCE_MORE:-}" ] || { "${pytest[@]}" -p no:cacheprovider "$@"; return; }
    .venv/bin/python -m scripts.recheck --cache /run/lab/failed --alone /run/lab/out/alone \
        -- "${pytest[@]}" "$@" -- "${pytest[@]}" "$@"
}

is_tier() {
    local tier
    for tier in "${tiers[@]}"; do [ "$tier" != "$1" ] || return 0; done
    return 1
}

# Runs one tier, keeps its result as a line, and goes on to the next whatever came of it.
run_tier() {
    local tier=$1 status=0 log=$state/test-$1.log began=$SECONDS
    shift
    step "tier $tier"
    # A process of its own: inside `... || status=` the shell would go on after a command that failed.
    "$root/run" tier "$tier" "$@" 2>&1 | tee "$log" || status=$?
    # pytest says with status 5 that it found no test: then the tier tested nothing, and that is a failure.
    printf '%-8s %-6s %4ss  %s\n' "$tier" "$([ $status -eq 0 ] && echo ok || echo FAILED)" \
        $((SECONDS - began)) "$(grep -v '^$\|failed.*in step' "$log" | tail -n 1 | tr -d '=' | sed 's/^ *//; s/ *$//')" \
        >"$state/result-$tier"
}

# One after another: guests of the lab keep both processors of a small machine busy, and tests beside them fail that
# wait for a switch. It was tried: unit took 12 minutes in place of 4.
run_all_tiers() {
    local tier
    rm -rf "$state/branches"
    export FLOWLANE_ALL=yes
    for tier in "${tiers[@]}" coverage; do run_tier "$tier"; done
}

test_main() {
    local ran=("${tiers[@]}" coverage) tier broken=()
    setup_python
    mkdir -p "$state"
    if [ $# -gt 0 ] && ! is_tier "$1"; then
        step "pytest $*"
        .venv/bin/python -m pytest "$@"
        return
    fi
    for tier in "${ran[@]}"; do rm -f "$state/result-$tier"; done
    : >"$alone"
    if [ $# -gt 0 ]; then
        ran=("$1")
        run_tier "$@"
    else
        run_all_tiers
    fi
    printf '\n%-8s %-6s %5s  %s\n' tier result time "last line"
    for tier in "${ran[@]}"; do
        cat "$state/result-$tier" || :
        grep -q "^$tier  *ok " "$state/result-$tier" || broken+=("$tier")
    done
    # What passed alone only is no failure, and is shown: whoever reads this may mend what made it wait.
    if [ -s "$alone" ]; then printf '\nfailed beside others and passed alone:\n' && sed 's/^/  /' "$alone"; fi
    current_step="tests"
    [ ${#broken[@]} -eq 0 ] || die "tiers that failed: ${broken[*]}"
    say "all tiers passed"
}
