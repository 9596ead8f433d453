#!/bin/bash
# The agent as a service: what `make install` puts where, the unit's exposure, and (EVERCOPY_LONG) the main job
# under the unit's own user, capabilities and system call filter.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_enter 1G "$@"

unit=$here/firmware-hooks/systemd/evercopyd.service
flavour=$(basename "$bin")

everything_is_installed_and_the_unit_is_clean() {
    local root=$work/root san=
    case $flavour in san-*) san=${flavour#san-} san=${san//-/,} ;; esac
    make -C "$here" --no-print-directory -s SAY=0 SAN="$san" B="build/$flavour" DESTDIR="$root" install >"$out" 2>"$err" ||
        { saw "make install: $(tail -n 3 "$err")"; return 1; }
    for f in sbin/evercopyd bin/evercopy lib/evercopy/evercopy-hook-host lib/evercopy/evercopy-mount include/evercopy_hooks.h \
        lib/systemd/system/evercopyd.service lib/sysusers.d/evercopy.conf lib/tmpfiles.d/evercopy.conf \
        share/evercopy/hooks/10-syslog; do
        [ -s "$root/usr/$f" ] || { saw "$f is not installed"; return 1; }
    done
    command -v systemd-analyze >/dev/null || { echo "SKIPPED service/verify: no program systemd-analyze (package systemd)"; return 0; }
    systemd-analyze verify --root="$root" evercopyd.service evercopy-vaultd.service >"$out" 2>"$err"
    # A root with nothing but our files has no targets to order by.
    ! grep -vE 'unit configures an IP firewall|Failed to (add dependency|resolve)|\/bin\/kill is not executable|sysinit|network-online|multi-user' "$err" |
        grep -q . || saw "verify: $(cat "$err")"
}

the_exposure_is_no_worse_than_the_readme_says() {
    command -v systemd-analyze >/dev/null || { echo "SKIPPED service/exposure: no program systemd-analyze (package systemd)"; return 0; }
    local said score
    said=$(sed -nE 's/.*systemd-analyze security`: \*\*([0-9.]+)\*\*.*/\1/p' "$here/firmware-hooks/README.md")
    score=$(systemd-analyze security --offline=true --no-pager "$unit" 2>/dev/null | sed -nE 's/.*Overall exposure level.*: ([0-9.]+) .*/\1/p')
    [ -n "$said" ] && [ -n "$score" ] || { saw "README says '$said', systemd says '$score'"; return 1; }
    awk -v a="$score" -v b="$said" 'BEGIN { exit !(a <= b) }' || saw "exposure $score, README says $said"
}

# ---- the unit's own confinement, without systemd as the first process ----

# The calls of a line of filters, as systemd resolves them: groups may hold groups.
calls_of() {
    local item
    for item in "$@"; do
        case $item in
        @*) calls_of $(systemd-analyze syscall-filter --no-pager "$item" | sed -nE 's/^ +([-@a-z0-9_]+)$/\1/p') ;;
        *) echo "$item" ;;
        esac
    done
}
unit_value() { sed -nE "s/^$1=//p" "$unit"; }

# Numbers of what SystemCallFilter= leaves, line by line.
allowed_numbers() {
    local -x LC_ALL=C
    local line
    : >"$work/allowed"
    while read -r line; do
        case $line in
        '~'*)
            # shellcheck disable=SC2086
            calls_of ${line#'~'} | sort -u >"$work/less"
            sort -u "$work/allowed" | comm -23 - "$work/less" >"$work/rest"
            mv "$work/rest" "$work/allowed"
            ;;
        # shellcheck disable=SC2086
        *) calls_of $line >>"$work/allowed" ;;
        esac
    done < <(unit_value SystemCallFilter)
    sort -u "$work/allowed" >"$work/names"
    echo '#include <sys/syscall.h>' | cc -E -dM - | sed -nE 's/^#define __NR_([a-z0-9_]+) ([0-9]+)$/\1 \2/p' | sort >"$work/numbers"
    join -o 2.2 "$work/names" "$work/numbers"
}

# evercopyd by the same name, with the unit's user, capabilities and filter in front.
confined_bin() {
    local caps
    mkdir -p "$work/bin"
    ln -s "$bin"/* "$work/bin/"
    rm "$work/bin/evercopyd"
    cc -O1 -o "$work/confine" "$here/tests/integration/confine.c" || return 1
    allowed_numbers | tr '\n' ' ' >"$work/allowed.numbers"
    [ "$(wc -w <"$work/allowed.numbers")" -gt 200 ] || { saw "only $(wc -w <"$work/allowed.numbers") calls are allowed"; return 1; }
    caps=$(unit_value AmbientCapabilities | tr 'A-Z' 'a-z' | sed 's/cap_/+/g; s/ /,/g')
    cat >"$work/bin/evercopyd" <<WRAP
#!/bin/sh
ASAN_OPTIONS=\$ASAN_OPTIONS:detect_leaks=0
export ASAN_OPTIONS
exec setpriv --reuid 64321 --regid 64321 --clear-groups --inh-caps=-all,$caps --ambient-caps=-all,$caps \
    --bounding-set=-all,$caps --no-new-privs $work/confine $(cat "$work/allowed.numbers") -- $bin/evercopyd "\$@"
WRAP
    chmod 755 "$work/bin/evercopyd"
}

the_main_job_runs_under_the_units_user_capabilities_and_filter() {
    local owner
    chmod 755 "$work" && mkdir -p "$work/hook.d/snapshot.before" "$work/hook.d/job.end"
    cat >"$work/hook.d/snapshot.before/10-who" <<HOOK
#!/bin/sh
{ id -u; grep CapEff /proc/self/status | tr -d '\t '; } >$work/hooked/who
HOOK
    chmod 755 "$work/hook.d/snapshot.before/10-who"
    mkdir -m 777 "$work/hooked"
    real=$bin
    bin=$work/bin
    world_agent_keys="hooks = $work/hook.d"
    world_agent ORCL
    grep -q '^Uid:.64321' "/proc/$agent_pid/status" && grep -q '^Seccomp:.2' "/proc/$agent_pid/status" ||
        { saw "it is not confined: $(grep -E '^(Uid|Seccomp|CapEff):' "/proc/$agent_pid/status")"; return 1; }
    database ORCL
    backup ORCL && exits 0 && work ORCL && backup ORCL && exits 0 || return 1
    scn=$(scn_of ORCL)
    work ORCL && backup ORCL && exits 0 && restores_to ORCL "$scn" --scn "$scn" || return 1
    owner=$(find "$xfs/storage" -path '*snapshots*' -type f -size +1M -printf '%U\n' | sort -u)
    same "$owner" 0 "owners of the datafiles in snapshots" || return 1
    same "$(tr '\n' ' ' <"$work/hooked/who")" "64321 CapEff:0000000000000000 " "what a hook may do"
}

quick() {
    try everything_is_installed_and_the_unit_is_clean
    try the_exposure_is_no_worse_than_the_readme_says
}
confined() {
    try confined_bin
    try the_main_job_runs_under_the_units_user_capabilities_and_filter
    agent_stop
}

quick | tee -a "$work/said"
if [ -z "${EVERCOPY_LONG:-}" ]; then
    echo "SKIPPED service/confined: EVERCOPY_LONG is not set"
elif ! command -v systemd-analyze >/dev/null; then
    echo "SKIPPED service/confined: no program systemd-analyze (package systemd)"
else
    world_lanes confined
fi
world_end
