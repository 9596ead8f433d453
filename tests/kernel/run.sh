#!/bin/bash
# A Linux kernel's NFS client, in a virtual machine without hardware help, against our server; README.md.
#   run.sh BUILD [CASE...]      PEER=ganesha: the reference in our place; KERNEL_SHORT=1: about four minutes
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit
build=$1
shift
peer=${PEER:-vault}
short=${KERNEL_SHORT:-}
all='documented large small two_mounts snapshot clones remade rights killed stopped unanswered sqlite postgresql'
[ -z "$short" ] || all='documented two_mounts snapshot clones remade rights killed unanswered sqlite'
cases=${*:-$all}
passed=0 failed=0 skipped=0
ok() { echo "ok kernel/$1"; passed=$((passed + 1)); }
not_ok() { echo "not ok kernel/$1"; failed=$((failed + 1)); }
skip() { echo "SKIPPED kernel/$1"; skipped=$((skipped + 1)); }
finish() {
    echo "$passed passed, $failed failed$([ "$skipped" = 0 ] || echo ", $skipped skipped")"
    [ "$failed" = 0 ]
    exit
}
skip_all() {
    skip "all: $1"
    finish
}
# ganesha wants a network of its own, with mounts of its own: this script begins again inside.
if [ "$peer" = ganesha ] && [ -z "${KERNEL_INSIDE:-}" ]; then
    [ "$(id -u)" = 0 ] || skip_all 'ganesha needs root'
    made=$(tests/kernel/image.sh build/kernel) || skip_all "${made#SKIPPED }"
    exec env KERNEL_INSIDE="$made" unshare -n -m --propagation private "$0" "$build" $cases
fi
made=${KERNEL_INSIDE:-}
[ -n "$made" ] || made=$(tests/kernel/image.sh build/kernel) || skip_all "${made##*SKIPPED }"
made=${made##*$'\n'}
command -v qemu-system-x86_64 >/dev/null || skip_all 'no program qemu-system-x86_64 (package qemu-system-x86)'
[ "$peer" != ganesha ] || ip link set lo up
exec {pause_fd}<> <(:) # nothing ever comes from it: a pause without a program
. "tests/kernel/server-$peer.sh"

folder=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-kernel.XXXXXX")
kept=$build/failed
leash() { exec setpriv --pdeathsig KILL "$@"; } # in the background; what this script starts goes with it
vm_pid='' between_pid='' between_port=''
end_all() {
    between_end
    [ -z "$vm_pid" ] || kill -KILL "$vm_pid" 2>/dev/null
    [ -z "${serving:-}" ] || server_end
    rm -rf "$folder"
}
trap end_all EXIT
trap 'exit 1' INT TERM

# ---- the machine ----
mkdir -p "$folder/guest/bin"
cp tests/kernel/guest/init tests/kernel/guest/*.sh "$folder/guest/"
cp "$build/tests/kernel/prove" "$folder/guest/bin/"
(cd "$folder/guest" && find . | cpio --quiet -o -H newc -R 0:0) >"$folder/guest.cpio"
# An archive may follow a compressed one only at a multiple of four.
{
    cat "$made/base.gz"
    head -c $(((4 - $(stat -c %s "$made/base.gz") % 4) % 4)) /dev/zero
    cat "$made/databases.cpio" "$folder/guest.cpio"
} >"$folder/initrd"
cp "$made/vmlinuz" "$folder/vmlinuz" # another run may take the image away
vm_begin() { # CASE
    rm -f "$folder/to" "$folder/from"
    mkfifo "$folder/to" "$folder/from"
    exec {vm_to}<>"$folder/to"
    leash qemu-system-x86_64 -machine accel=tcg -cpu qemu64 -smp 2 -m 1280 -display none -no-reboot \
        -nodefaults -kernel "$folder/vmlinuz" -initrd "$folder/initrd" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off evercopy.case=$1 evercopy.short=$short" \
        -serial "file:$folder/console" -serial stdio \
        -netdev user,id=n2,net=10.0.2.0/24,restrict=off -device virtio-net-pci,netdev=n2,mac=52:54:00:00:00:02 \
        -netdev user,id=n3,net=10.0.3.0/24,restrict=off -device virtio-net-pci,netdev=n3,mac=52:54:00:00:00:03 \
        <"$folder/to" >"$folder/from" 2>"$folder/qemu" &
    vm_pid=$!
    exec {vm_from}<"$folder/from"
}
vm_end() {
    kill -KILL "$vm_pid" 2>/dev/null
    wait "$vm_pid" 2>/dev/null
    exec {vm_to}>&- {vm_from}<&-
    vm_pid=
}
# ---- what stands between the machine and the server, when a case asks for it, and loses answers ----
between_begin() {
    local path port rest line
    read -r path port rest < <(server_area files)
    rm -f "$folder/between.to" "$folder/between.from"
    mkfifo "$folder/between.to" "$folder/between.from"
    exec {between_to}<>"$folder/between.to"
    leash "$build/tests/kernel/between" "$port" <"$folder/between.to" >"$folder/between.from" &
    between_pid=$!
    exec {between_from}<"$folder/between.from"
    read -r -t 10 line between_port <&"$between_from" && [ "$line" = port ]
}
between_tell() { # WORDS ANSWER
    local line count
    echo "$1" >&"$between_to" && read -r -t 20 line count <&"$between_from" && [ "$line" = "$2" ] && [ "$2 $count" != 'swallowed 0' ] ||
        { echo "$1: ${line:-no answer} ${count:-}"; return 1; }
}
between_end() {
    [ -n "$between_pid" ] || return 0
    kill "$between_pid" && wait "$between_pid" 2>/dev/null
    exec {between_to}>&- {between_from}<&-
    between_pid=
}
through_between() {
    local path port rest
    read -r path port rest && echo "$path ${between_port:-$port} $rest"
}
obey() { # WORDS: a question of the machine; exit code 3: this server cannot
    case $1 in
    crash)
        server_kill || return 1
        [ -z "${2:-}" ] || read -r -t "$2" -u "$pause_fd" # the server is away: the one wait that is meant
        server_start
        ;;
    restart) server_stop && server_start ;;
    between) between_begin ;;
    unanswered) between_tell "swallow $2" swallowed && between_tell cut cut ;;
    unanswered_crash)
        [ -z "${server_forgets:-}" ] || { echo "$server_forgets" && return 3; }
        between_tell "swallow $2" swallowed && server_kill && between_tell cut cut && server_start
        ;;
    area | clone) "server_$1" "${@:2}" | through_between ;;
    snapshot | drop | rule) "server_$1" "${@:2}" ;;
    *) echo 'no such question' && return 1 ;;
    esac
}
answer() {
    local code=0
    obey "$@" >"$folder/said" 2>&1 || code=$?
    case $code in 0) echo "done $(cat "$folder/said")" ;; 3) echo "cannot $(cat "$folder/said")" ;; *) echo "failed $(tail -n 1 "$folder/said")" ;; esac >&"$vm_to"
}
keep() { # CASE
    mkdir -p "$kept"
    tail -n 30 "$folder/console" | sed 's/^/    | /'
    cat "$folder/console" "$folder/qemu" >"$kept/kernel-$1.console"
    server_log 2>/dev/null >"$kept/kernel-$1.server"
    echo "    console and server's log: $kept/kernel-$1.*"
}
run_case() { # CASE
    local line words test=$1/it_boots bound=180 deadline seen_end='' bad=$failed since=$SECONDS before=$((passed + failed + skipped))
    deadline=$((SECONDS + bound))
    while read -r -t $((deadline - SECONDS > 0 ? deadline - SECONDS : 1)) -u "$vm_from" line; do
        [ -z "${KERNEL_TRACE:-}" ] || echo "> $line" >&2
        line=${line%$'\r'}
        case $line in
        'begin '*)
            read -r _ test bound <<<"$line"
            deadline=$((SECONDS + bound)) since=$SECONDS
            ;;
        'ask '*)
            read -r -a words <<<"${line#ask }"
            answer "${words[@]}"
            ;;
        'ok '*) ok "${line#ok } $((SECONDS - since)) s" && test=$1/it_goes_on && deadline=$((SECONDS + 60)) ;;
        'not ok '*) not_ok "${line#not ok }" ;;
        'SKIPPED '*) skip "${line#SKIPPED }" ;;
        end) seen_end=1 && break ;;
        *) not_ok "$test: the machine says '$line'" ;;
        esac
    done
    [ $((passed + failed + skipped)) -gt "$before" ] || [ -z "$seen_end" ] || not_ok "$1: nothing was tested"
    if [ -z "$seen_end" ]; then
        [ $SECONDS -ge $deadline ] && not_ok "$test: took more than $bound s" || not_ok "$test: the machine ended"
    fi
    [ "$failed" = "$bad" ] || keep "$1"
}


begun=$SECONDS
for case in $cases; do
    mkdir "$folder/$case"
    serving=1
    said=$folder/said
    if ! server_begin "$folder/$case" >"$said" 2>&1; then
        not_ok "$case/the_server_starts: $(tail -n 2 "$said" | tr '\n' ' ')"
        serving=
        continue
    fi
    vm_begin "$case"
    run_case "$case"
    vm_end
    between_end
    between_port=
    server_end >"$said" 2>&1 || not_ok "$case/the_server_ends_in_order: $(tail -n 1 "$said")"
    if server_complains >"$said"; then
        not_ok "$case/the_sanitizers_are_silent: $(tr '\n' ' ' <"$said")"
        keep "$case"
    fi
    serving=
    rm -rf "${folder:?}/$case"
done
echo "kernel: $((SECONDS - begun)) s, $peer"
finish
