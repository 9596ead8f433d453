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
cat >"$work/mount" <<SH
#!/bin/sh
echo "mount\$(printf ' <%s>' "\$@")" >>$work/ran
[ ! -p $work/hang ] || { echo \$\$ >$work/hangs && exec cat $work/hang; }
exit \$(cat $work/answer)
SH
cat >"$work/timeout" <<SH
#!/bin/sh
echo "timeout \$1 \$2 \$3" >>$work/ran
exec $work/timeout.real "\$@"
SH
cp "$(command -v timeout)" "$work/timeout.real"
chmod 755 "$work/mount" "$work/timeout"
echo 0 >"$work/answer"
mkdir "$work/etc" "$work/clones" "$work/open" "$work/foreign"
chmod 777 "$work/open"
chown 65534 "$work/foreign"
ln -s "$work/clones" "$work/link"
mount -t tmpfs none /etc && mkdir /etc/evercopy || exit 1
mount --bind "$work/timeout" "$(command -v timeout)" || exit 1 # the fakes, from here on
mount --bind "$work/mount" "$(command -v mount)" || exit 1
cat >/etc/evercopy/mount.allow <<ALLOW
$work/clones box1 10.0.0.5 fd00::1
$work/open box1
$work/foreign box1
$work/link box1
relative box1
ALLOW
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
    helps mount "$1" "$work/clones/drill" "$2" && grep -qx 'timeout -k 5 100' "$work/ran" && grep -qF "<-o> <$2,nosuid,nodev,noexec> <--> <$1> <$work/clones/drill>" "$work/ran" &&
        [ -d "$work/clones/drill" ] && rmdir "$work/clones/drill"
}
refused() {
    helps "$@"
    [ $? = 2 ] && [ ! -s "$work/ran" ] && [ ! -e "$work/clones/drill" ]
}
allowed box1:/ORCL/drill "$options" && allowed 10.0.0.5:/ORCL/drill "$options,port=20490,mountport=20490,mountproto=tcp" &&
    allowed '[fd00::1]:/ORCL/dr$ll' "$options"
note what_is_allowed_is_mounted_without_suid_devices_and_programs $?

bad=0
while IFS='|' read -r source dir opts; do
    refused mount "$source" "${dir//CLONES/$work/clones}" "$opts" || { bad=1 && echo "# taken: $source $dir $opts: $(cat "$work/said" "$work/ran")"; }
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
box1:/ORCL|$work/open/drill|$options
box1:/ORCL|$work/foreign/drill|$options
box1:/ORCL|$work/link/drill|$options
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
    refused umount "$work/open/drill" && refused umount /etc
note other_words_are_refused $?

chmod 666 /etc/evercopy/mount.allow
refused mount box1:/ORCL "$work/clones/drill" "$options"
bad=$?
chmod 644 /etc/evercopy/mount.allow
chown 65534 /etc/evercopy/mount.allow
refused mount box1:/ORCL "$work/clones/drill" "$options" || bad=1
chown 0 /etc/evercopy/mount.allow
mv /etc/evercopy/mount.allow /etc/evercopy/kept
refused mount box1:/ORCL "$work/clones/drill" "$options" || bad=1
mv /etc/evercopy/kept /etc/evercopy/mount.allow
note a_list_that_others_can_write_is_not_believed "$bad"

echo 32 >"$work/answer"
helps mount box1:/ORCL "$work/clones/drill" "$options"
[ $? = 1 ] && [ ! -e "$work/clones/drill" ]
note a_mount_that_fails_leaves_no_folder $?
echo 0 >"$work/answer"

# Whoever started it through sudo cannot end its mount: it does that itself, and when it is told to stop.
mkfifo "$work/hang"
: >"$work/ran"
"$helper" mount box1:/ORCL "$work/clones/drill" "$options" >"$work/said" 2>&1 &
asked=$!
for ((t = 0; t < 100; t++)); do [ -s "$work/hangs" ] || read -r -t 0.1 <> <(:); done
kill -TERM "$asked"
for ((t = 0; t < 100; t++)); do ! kill -0 "$asked" 2>/dev/null || read -r -t 0.1 <> <(:); done
bad=0
kill -0 "$(cat "$work/hangs")" 2>/dev/null && bad=1 && kill "$(cat "$work/hangs")"
kill -KILL "$asked" 2>/dev/null && bad=1
wait "$asked" && bad=1
[ -e "$work/clones/drill" ] && bad=1
rm "$work/hang"
note a_helper_that_is_stopped_stops_its_mount "$bad"

mkdir "$work/clones/drill"
helps umount "$work/clones/drill" && [ ! -s "$work/ran" ] && [ ! -e "$work/clones/drill" ] && helps umount "$work/clones/drill"
note unmounting_what_is_not_mounted_is_fine $?

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
