#!/bin/bash
# evercopy-mount as root has it: a mount that is allowed, and everything an ordinary user might try through sudo.
# Its mount is a fake here, in a private mount namespace; nothing of the machine is touched.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
if [ "${2:-}" != inside ]; then
    skip() {
        echo "SKIPPED mount-helper: $1"
        echo "0 passed, 0 failed"
        exit 0
    }
    [ "$(id -u)" = 0 ] || skip "needs root: it hides /etc and the mount programs in a namespace of its own"
    unshare -m true 2>/dev/null || skip "no mount namespace can be made here"
    exec unshare -m "$0" "$1" inside
fi
mount --make-rprivate / || exit 1
work=$(mktemp -d -t evercopy-mount.XXXXXX)
trap 'rm -rf "$work"' EXIT
helper=$here/agent/shim/evercopy-mount
for program in mount umount; do
    cat >"$work/$program" <<SH
#!/bin/sh
echo "$program\$(printf ' <%s>' "\$@")" >>$work/ran
[ ! -p $work/hang ] || { echo \$\$ >$work/hangs && exec cat $work/hang; }
exit \$(cat $work/answer)
SH
done
cat >"$work/timeout" <<SH
#!/bin/sh
echo "timeout \$1 \$2 \$3" >>$work/ran
exec $work/timeout.real "\$@"
SH
cp "$(command -v timeout)" "$work/timeout.real"
chmod 755 "$work/mount" "$work/umount" "$work/timeout"
echo 0 >"$work/answer"
mount -t tmpfs -o mode=755 none /etc || exit 1
at=/etc/place # root's own up to '/', as /tmp is not
mkdir /etc/evercopy "$at" "$at/clones" "$at/open" "$at/open/below" "$at/foreign" "$at/foreign/below" "$work/clones" "$at/last"
chmod 777 "$at/open"
chown 65534 "$at/foreign"
ln -s "$at/clones" "$at/link"
ln -s "$at" /etc/short
mount -t tmpfs -o mode=755 none /proc && mkdir /proc/self || exit 1 # what is mounted is ours to tell
: >/proc/self/mounts
mount --bind "$work/timeout" "$(command -v timeout)" || exit 1 # the fakes, from here on
mount --bind "$work/umount" "$(command -v umount)" && mount --bind "$work/mount" "$(command -v mount)" || exit 1
cat >/etc/evercopy/mount.allow <<ALLOW
$at/clones box1 10.0.0.5 fd00::1
$at/open box1
$at/open/below box1
$at/foreign box1
$at/foreign/below box1
$at/link box1
/etc/short/clones box1
$work/clones box1
relative box1
ALLOW
printf '%s box1' "$at/last" >>/etc/evercopy/mount.allow # without the end of its line
options=rw,hard,nointr,rsize=1048576,wsize=1048576,tcp,vers=3,timeo=600,actimeo=0,nolock
passed=0 failed=0
note() {
    if [ "$2" = 0 ]; then passed=$((passed + 1)) && echo "ok $1"; else failed=$((failed + 1)) && echo "not ok $1: $(cat "$work/said")"; fi
}
# mounts SOURCE DIR OPTIONS: exit code; what ran is in $work/ran.
helps() {
    : >"$work/ran"
    "$helper" "$@" >"$work/said" 2>&1
}
allowed() {
    helps mount "$1" "$at/clones/drill" "$2" && grep -qx 'timeout -k 5 100' "$work/ran" && grep -qF "<-o> <$2,nosuid,nodev,noexec> <--> <$1> <$at/clones/drill>" "$work/ran" &&
        [ -d "$at/clones/drill" ] && rmdir "$at/clones/drill"
}
refused() {
    helps "$@"
    [ $? = 2 ] && [ ! -s "$work/ran" ] && [ ! -e "$at/clones/drill" ]
}
allowed box1:/ORCL/drill "$options" && allowed 10.0.0.5:/ORCL/drill "$options,port=20490,mountport=20490,mountproto=tcp" &&
    allowed '[fd00::1]:/ORCL/dr$ll' "$options"
note what_is_allowed_is_mounted_without_suid_devices_and_programs $?

helps mount box1:/ORCL/drill "$at/last/drill" "$options" && [ -d "$at/last/drill" ] && helps umount "$at/last/drill" && [ ! -e "$at/last/drill" ]
note the_last_line_of_the_list_needs_no_end $?

bad=0
while IFS='|' read -r source dir opts; do
    refused mount "$source" "${dir//CLONES/$at/clones}" "$opts" || { bad=1 && echo "# taken: $source $dir $opts: $(cat "$work/said" "$work/ran")"; }
done <<BAD
other:/ORCL|CLONES/drill|$options
box1:/ORCL/../etc|CLONES/drill|$options
box1:/ORCL/.ssh|CLONES/drill|$options
box1:/|CLONES/drill|$options
box1|CLONES/drill|$options
-obox1:/ORCL|CLONES/drill|$options
box1 x:/ORCL|CLONES/drill|$options
box1:/OR;CL|CLONES/drill|$options
box1:/ORCL|CLONES/../etc|$options
box1:/ORCL|CLONES/drill/deep|$options
box1:/ORCL|CLONES|$options
box1:/ORCL|CLONES/|$options
box1:/ORCL|CLONES/-drill|$options
box1:/ORCL|CLONES/.drill|$options
box1:/ORCL|/etc/drill|$options
box1:/ORCL|/drill|$options
box1:/ORCL|drill|$options
box1:/ORCL|relative/drill|$options
box1:/ORCL|$at/open/drill|$options
box1:/ORCL|$at/foreign/drill|$options
box1:/ORCL|$at/link/drill|$options
box1:/ORCL|$at/open/below/drill|$options
box1:/ORCL|$at/foreign/below/drill|$options
box1:/ORCL|/etc/short/clones/drill|$options
box1:/ORCL|$work/clones/drill|$options
box1:/ORCL|CLONES/drill|rw,suid
box1:/ORCL|CLONES/drill|rw,dev
box1:/ORCL|CLONES/drill|rw,exec,
box1:/ORCL|CLONES/drill|
box1:/ORCL|CLONES/drill|vers=4
box1:/ORCL|CLONES/drill|rsize=
box1:/ORCL|CLONES/drill|rsize=1 2
box1:/ORCL|CLONES/drill|port=99999999
BAD
note whatever_else_is_asked_is_refused_and_nothing_runs "$bad"

refused && refused mount && refused umount && refused mount a b c d e && refused eject x &&
    refused umount "$at/open/drill" && refused umount /etc
note other_words_are_refused $?

chmod 666 /etc/evercopy/mount.allow
refused mount box1:/ORCL "$at/clones/drill" "$options"
bad=$?
chmod 644 /etc/evercopy/mount.allow
chown 65534 /etc/evercopy/mount.allow
refused mount box1:/ORCL "$at/clones/drill" "$options" || bad=1
chown 0 /etc/evercopy/mount.allow
mv /etc/evercopy/mount.allow /etc/evercopy/kept
refused mount box1:/ORCL "$at/clones/drill" "$options" || bad=1
mv /etc/evercopy/kept /etc/evercopy/mount.allow
note a_list_that_others_can_write_is_not_believed "$bad"

echo 32 >"$work/answer"
helps mount box1:/ORCL "$at/clones/drill" "$options"
[ $? = 1 ] && [ ! -e "$at/clones/drill" ]
note a_mount_that_fails_leaves_no_folder $?
echo 0 >"$work/answer"

# Whoever started it through sudo cannot end its mount: it does that itself, and when it is told to stop.
mkfifo "$work/hang" "$work/never"
exec 7<>"$work/never" # nothing ever comes from it
: >"$work/ran"
"$helper" mount box1:/ORCL "$at/clones/drill" "$options" >"$work/said" 2>&1 &
asked=$!
for ((t = 0; t < 100; t++)); do [ -s "$work/hangs" ] || read -r -t 0.1 -u 7; done
kill -TERM "$asked"
for ((t = 0; t < 100; t++)); do ! kill -0 "$asked" 2>/dev/null || read -r -t 0.1 -u 7; done
bad=0
kill -0 "$(cat "$work/hangs")" 2>/dev/null && bad=1 && kill "$(cat "$work/hangs")"
kill -KILL "$asked" 2>/dev/null && bad=1
wait "$asked" && bad=1
[ -e "$at/clones/drill" ] && bad=1
rm "$work/hang"
note a_helper_that_is_stopped_stops_its_mount "$bad"

mkdir "$at/clones/drill"
helps umount "$at/clones/drill" && [ ! -s "$work/ran" ] && [ ! -e "$at/clones/drill" ] && helps umount "$at/clones/drill"
note unmounting_what_is_not_mounted_is_fine $?

# unmounts SOURCE TYPE...: what is mounted at drill, the last one on top.
unmounts() {
    : >/proc/self/mounts
    while [ $# -gt 0 ]; do
        echo "$1 $at/clones/drill $2 rw 0 0" >>/proc/self/mounts
        shift 2
    done
    mkdir -p "$at/clones/drill"
    helps umount "$at/clones/drill"
}
bad=0
unmounts box1:/ORCL/drill nfs && grep -qxF "umount <--> <$at/clones/drill>" "$work/ran" && unmounts '[fd00::1]:/ORCL/dr$ll' nfs || bad=1
for rows in 'other:/ORCL/drill nfs' 'box1:/ORCL/drill ext4' 'none tmpfs' 'box1:/ORCL/drill nfs other:/home nfs' 'box1:/ORCL/drill nfs none tmpfs'; do
    # shellcheck disable=SC2086 # words
    unmounts $rows
    [ $? = 2 ] && [ ! -s "$work/ran" ] && [ -e "$at/clones/drill" ] || { bad=1 && echo "# unmounted: $rows: $(cat "$work/said" "$work/ran")"; }
done
: >/proc/self/mounts
note only_what_is_mounted_from_an_allowed_server_is_unmounted "$bad"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
