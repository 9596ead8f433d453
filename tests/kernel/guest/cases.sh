# The cases, sourced by init; the words on the serial line are in ../README.md.

say() { echo "$*" >&3; }
# The host's answer to a question is left in $answer.
ask() {
    say "ask $*"
    read -r verdict answer <&3
    [ "$verdict" != cannot ] || echo "$answer" >/run/cannot
    [ "$verdict" = done ] || { echo "the host says: $verdict $answer"; return 1; }
}
# NAME SECONDS COMMAND...: one named test; the host ends the machine when it takes longer. A number that
# the command says last is shown.
test_that() {
    name=$1 seconds=$2
    shift 2
    rm -f /run/cannot
    say "begin $name $seconds"
    if "$@" >/run/out 2>&1; then
        say "ok $name$(tail -n 1 /run/out | sed -n 's/^\([0-9].*\)/ (\1)/p')"
    elif [ -e /run/cannot ]; then
        say "SKIPPED $name: $(cat /run/cannot)"
        return 1
    else
        say "not ok $name: $(tail -n 3 /run/out | tr '\n' ' ')"
        return 1
    fi
}
amount() { if [ -n "$short" ]; then echo "$2"; else echo "$1"; fi; }

# ---- mounts ----
big=rw,hard,rsize=1048576,wsize=1048576,nconnect=4
# Pages one by one, folders without attributes, nothing believed.
small=rw,hard,nordirplus,noac,rsize=4096,wsize=4096
# As Oracle documents them; "bg" and "tcp" are words of mount.nfs, the kernel is told proto=tcp.
documented=rw,hard,nointr,rsize=32768,wsize=32768,timeo=600,actimeo=0
# FOLDER NETWORK OPTIONS PATH PORT MOUNTPORT
mount_at() {
    mkdir -p "$1"
    mount -t nfs -o "$3,vers=3,proto=tcp,addr=10.0.$2.2,port=$5,mountaddr=10.0.$2.2,mountport=$6,mountproto=tcp,nolock" \
        "10.0.$2.2:$4" "$1"
}
has_option() {
    grep " $1 nfs " /proc/mounts | grep -q "[ ,]$2[, ]" ||
        { echo "$1 is mounted without $2: $(grep " $1 " /proc/mounts)"; return 1; }
}
forget() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}
# AREA FOLDER NETWORK OPTIONS
mount_area() { ask area "$1" && mount_at "$2" "$3" "$4" $answer; }
# AREA SNAPSHOT CLONE FOLDER NETWORK OPTIONS
mount_clone() { ask clone "$1" "$2" "$3" && mount_at "$4" "$5" "$6" $answer; }

# ---- documented, large, small: the programs over one mount ----
# NAME FOLDER ENTRIES
programs() {
    test_that "$1/random_bytes_read_back" 180 prove bytes "$2" 11 "$(amount 400 100)"
    test_that "$1/direct_io_reads_back" 180 prove direct "$2" 12 "$(amount 200 60)"
    test_that "$1/shared_maps_reach_the_server" 120 prove maps "$2" 13
    test_that "$1/files_end_beyond_4_gib_and_1_tib" 180 prove far "$2" 14
    test_that "$1/names_are_renamed_replaced_and_refused" 60 prove names "$2"
    test_that "$1/hard_links_share_a_file" 60 prove links "$2"
    test_that "$1/unlinked_open_files_live_on" 60 prove open-files "$2"
    test_that "$1/a_folder_is_read_while_it_changes" 400 prove big-folder "$2" "$(amount "$3" 500)"
    test_that "$1/many_small_files_read_back" 240 prove small-files "$2" "$(amount $(($3 / 5 + 100)) 150)"
    test_that "$1/modes_owners_and_times_are_kept" 60 prove attributes "$2"
    test_that "$1/another_user_is_denied" 60 prove denied "$2"
    test_that "$1/nothing_is_left_and_unmounts" 60 empty_and_away "$2"
}
empty_and_away() {
    [ -z "$(ls -A "$1")" ] || { echo "left: $(ls -A "$1")"; return 1; }
    umount "$1"
}
mount_documented() {
    mount_area files /mnt/area 2 $documented && has_option /mnt/area rsize=32768 &&
        has_option /mnt/area acregmin=0 && has_option /mnt/area hard
}
mount_small() {
    mount_area files /mnt/area 3 $small && has_option /mnt/area nordirplus && has_option /mnt/area wsize=4096
}
mount_big() {
    mount_area files /mnt/area 2 $big && has_option /mnt/area wsize=1048576 && has_option /mnt/area nconnect=4
}
case_documented() {
    test_that documented/mounts_as_oracle_says 60 mount_documented && programs documented /mnt/area 1500
}
case_large() {
    test_that large/mounts_with_1_mib_over_4_connections 60 mount_big && programs large /mnt/area 5000
}
case_small() {
    test_that small/mounts_with_4_kib_and_nothing_cached 60 mount_small && programs small /mnt/area 400
}

# ---- two-mounts ----
mount_twice() { mount_area files /mnt/one 2 $documented && mount_area files /mnt/other 3 $documented; }
case_two_mounts() {
    test_that two_mounts/one_export_is_mounted_by_two_clients 60 mount_twice || return
    for seed in $(amount '21 22 23' 21); do
        test_that two_mounts/what_one_closed_the_other_opens_$seed 240 \
            prove two-mounts /mnt/one /mnt/other $seed "$(amount 100 30)"
    done
}

# ---- killed and stopped: the server goes while programs run over hard mounts ----
# Each program says the hundredths of a second since boot at which it has got on.
now() {
    read -r up rest </proc/uptime
    echo "${up%.*}${up#*.}"
}
# FD: until that program has got on, from this moment.
gets_on() {
    since=$(now)
    while read -r -t 150 line <&"$1"; do
        case $line in
        wrong*) echo "$line"; echo "$line" >"/run/wrong.$1"; return 1 ;;
        *[!0-9]*) ;;
        *) [ "$line" -le "$since" ] || return 0 ;;
        esac
    done
    echo "program $1 does not get on"
    return 1
}
all_get_on() { for fd in 4 5 6 7 8; do gets_on $fd || return 1; done; }
# FD: to its end
ends_well() {
    [ ! -e "/run/wrong.$1" ] || { cat "/run/wrong.$1"; return 1; }
    last=silence
    while read -r -t 150 line <&"$1"; do last=$line; done
    case $last in *' writes' | *' changes') echo "$last" ;; *) echo "$last"; return 1 ;; esac
}
run_five() {
    mount_area files /mnt/documented 2 $documented && mount_area files /mnt/big 3 $big || return 1
    rm -f /run/stop
    mkdir /mnt/big/one /mnt/big/two
    for fd in 4 5 6 7 8; do rm -f /run/said.$fd; mkfifo /run/said.$fd; done
    prove durable /mnt/documented 31 sync /run/stop >/run/said.4 &
    exec 4</run/said.4
    prove durable /mnt/big 32 fsync /run/stop >/run/said.5 4<&- &
    exec 5</run/said.5
    prove durable /mnt/big 33 direct /run/stop >/run/said.6 4<&- 5<&- &
    exec 6</run/said.6
    prove replay /mnt/documented/one 34 /run/stop >/run/said.7 4<&- 5<&- 6<&- &
    exec 7</run/said.7
    prove replay /mnt/big/two 35 /run/stop >/run/said.8 4<&- 5<&- 6<&- 7<&- &
    exec 8</run/said.8
    all_get_on
}
# WORDS ROUNDS
disturb() {
    i=0
    while [ $i -lt "$2" ]; do
        ask "$1" && all_get_on || return 1
        i=$((i + 1))
    done
    echo "$2 times"
}
five_end() {
    touch /run/stop
    test_that "$1/synchronous_writes_are_there" 200 ends_well 4
    test_that "$1/committed_writes_are_there" 200 ends_well 5
    test_that "$1/direct_writes_are_there" 200 ends_well 6
    test_that "$1/names_change_once_and_without_an_error" 200 ends_well 7
    test_that "$1/names_change_once_over_4_connections" 200 ends_well 8
    exec 4<&- 5<&- 6<&- 7<&- 8<&-
}
case_killed() {
    test_that killed/programs_run 120 run_five || return
    test_that killed/the_server_is_killed_amid_writes_and_they_go_on 300 disturb crash "$(amount 8 2)"
    [ -n "$short" ] || test_that killed/the_server_is_away_for_a_while 200 disturb 'crash 8' 1
    five_end killed
}
case_stopped() {
    test_that stopped/programs_run 120 run_five || return
    test_that stopped/the_server_is_restarted_and_they_go_on 200 disturb restart "$(amount 3 1)"
    five_end stopped
}

# ---- unanswered: what the server did and nobody heard of is asked again, and must not be done again ----
case_unanswered() {
    test_that unanswered/answers_can_be_lost 60 ask between || return
    test_that unanswered/programs_run 120 run_five || return
    test_that unanswered/answers_are_lost_and_they_go_on 300 disturb 'unanswered 5' "$(amount 6 2)"
    test_that unanswered/answers_are_lost_with_a_killed_server_and_they_go_on 300 disturb 'unanswered_crash 5' "$(amount 8 2)"
    five_end unanswered
}

# ---- clones ----
two_clones() {
    mount_area files /mnt/area 2 $documented && prove stamp /mnt/area/f 5 1 make && ask snapshot files first &&
        prove stamp /mnt/area/f 5 2 make && mount_clone files first one /mnt/one 2 $big &&
        mount_clone files first other /mnt/other 3 $documented &&
        prove stamp /mnt/one/f 5 1 check && prove stamp /mnt/other/f 5 1 check
}
write_both() {
    prove bytes /mnt/one 41 "$(amount 200 40)" >/run/one &
    one=$!
    prove bytes /mnt/other 41 "$(amount 200 40)" >/run/other && wait $one || { cat /run/one /run/other; return 1; }
    prove stamp /mnt/one/f 5 11 make && prove stamp /mnt/other/f 5 12 make || return 1
    echo one >/mnt/one/mine && echo other >/mnt/other/mine && rm /mnt/other/f && echo new >/mnt/other/f2
}
each_its_own() {
    forget
    prove stamp /mnt/one/f 5 11 check && [ "$(cat /mnt/one/mine)" = one ] && [ "$(ls /mnt/one | tr '\n' ' ')" = 'f mine ' ] &&
        [ "$(cat /mnt/other/mine)" = other ] && [ "$(ls /mnt/other | tr '\n' ' ')" = 'f2 mine ' ]
}
parent_is_untouched() {
    forget
    prove stamp /mnt/area/f 5 2 check && [ "$(ls /mnt/area)" = f ] && mount_clone files first third /mnt/third 3 $big &&
        prove stamp /mnt/third/f 5 1 check && [ "$(ls /mnt/third)" = f ]
}
case_clones() {
    test_that clones/two_of_one_snapshot_are_mounted_together 120 two_clones || return
    test_that clones/both_are_written_differently 240 write_both
    test_that clones/each_sees_its_own_alone 60 each_its_own
    test_that clones/the_area_and_a_third_clone_see_nothing_of_it 120 parent_is_untouched
}

# ---- snapshot: amid writes, one after the other over eight files, it holds the first of them, none left out ----
climb() {
    mount_area files /mnt/area 2 $documented && mkfifo /run/rungs || return 1
    prove ladder /mnt/area /run/stop >/run/rungs &
    exec 4</run/rungs
    climbed 50
}
# COUNT: waits for so many more writes; the last that is stable is left in $rung
climbed() {
    left=$1
    while [ "$left" -gt 0 ] && read -r -t 60 rung <&4; do left=$((left - 1)); done
    [ "$left" = 0 ] || { echo "stopped at $rung"; return 1; }
}
# Nothing is read from the program between the moment noted and the snapshot: later numbers may be there, never fewer.
snapshots_amid() {
    for i in $(seq "$(amount 8 3)"); do
        climbed 30 && ask snapshot files amid$i && echo "$i $rung" >>/run/moments || return 1
    done
    touch /run/stop
    while read -r -t 60 rung <&4; do :; done
    exec 4<&-
    prove ladder-check /mnt/area "$rung"
}
all_are_prefixes() {
    while read -r i moment; do
        mount_clone files amid$i c$i /mnt/c$i 3 $big && prove ladder-check /mnt/c$i "$moment" || return 1
    done </run/moments
}
case_snapshot() {
    test_that snapshot/writes_go_on 60 climb || return
    test_that snapshot/snapshots_are_taken_amid_them 200 snapshots_amid || return
    test_that snapshot/each_holds_all_that_was_stable_before_and_no_gap 200 all_are_prefixes
}

# ---- remade: a clone dropped and made again under its name ----
make_first() {
    mount_area files /mnt/area 2 $documented && prove stamp /mnt/area/f 6 1 make && ask snapshot files first &&
        prove stamp /mnt/area/f 6 2 make && ask snapshot files second &&
        mount_clone files first same /mnt/old 2 $big && prove stamp /mnt/old/f 6 1 check || return 1
    mkfifo /run/to /run/from
    prove stale /mnt/old/f </run/to >/run/from &
    exec 4>/run/to 5</run/from
    read -r line <&5
}
old_is_stale() {
    ask drop files same && ask clone files second same || return 1
    remade=$answer
    echo now >&4
    exec 4>&-
    while read -r line <&5; do echo "$line"; return 1; done
    ls /mnt/old >/run/listed 2>&1 && { echo 'the old mount still lists'; return 1; }
    grep -q 'Stale' /run/listed
}
new_is_new() {
    mount_at /mnt/new 3 $big $remade && prove stamp /mnt/new/f 6 2 check &&
        mount_at /mnt/beside 2 $big $remade && prove stamp /mnt/beside/f 6 2 check &&
        prove stamp /mnt/beside/f 6 3 make && prove stamp /mnt/area/f 6 2 check && umount /mnt/old
}
case_remade() {
    test_that remade/a_clone_is_mounted_and_a_file_of_it_is_open 120 make_first || return
    test_that remade/the_old_mount_is_stale 120 old_is_stale
    test_that remade/new_mounts_show_the_new_clone_alone 120 new_is_new
}

# ---- rights: the rules of an export, changed while it is mounted; and the other network ----
# What a kernel was allowed or has read it may believe for long (access and page cache): it looks again.
ruled() {
    ask rule files "$@" && umount /mnt/area && mount_area files /mnt/area 2 $documented
}
read_only() {
    mount_area files /mnt/area 2 $documented && echo kept >/mnt/area/f && ask rule files readonly=yes || return 1
    if echo lost >/mnt/area/f || mkdir /mnt/area/d || rm -f /mnt/area/f || chmod 700 /mnt/area/f; then
        echo 'a change was made'
        return 1
    fi 2>/run/refused
    grep -q 'Read-only file system' /run/refused || { cat /run/refused; return 1; }
    [ "$(cat /mnt/area/f)" = kept ] && ruled readonly=no && echo again >/mnt/area/f && [ "$(cat /mnt/area/f)" = again ]
}
# FILE OWNER
owned_by() { [ "$(stat -c %u:%g "$1")" = "$2" ] || { echo "$1 is of $(stat -c %u:%g "$1"), not $2"; return 1; }; }
squashed() {
    echo secret >/mnt/area/roots && chmod 600 /mnt/area/roots && owned_by /mnt/area/roots 0:0 && chmod 777 /mnt/area || return 1
    ruled squash=root anonuid=70 anongid=71 || return 1
    ! cat /mnt/area/roots 2>/dev/null || { echo "root reads root's"; return 1; }
    ! chmod 777 /mnt/area/roots 2>/dev/null || { echo "root changes root's"; return 1; }
    echo mine >/mnt/area/squashed && owned_by /mnt/area/squashed 70:71 && [ "$(cat /mnt/area/squashed)" = mine ] || return 1
    su postgres -c 'echo its >/mnt/area/own' && owned_by /mnt/area/own 70:70 || return 1
    ruled squash=all anonuid=4711 anongid=4712 && su postgres -c 'echo all >/mnt/area/all' &&
        owned_by /mnt/area/all 4711:4712 && ruled squash=none && [ "$(cat /mnt/area/roots)" = secret ]
}
refused() {
    ask rule files clients=192.0.2.0/24 || return 1
    forget
    ! cat /mnt/area/roots 2>/run/refused || { echo 'a stranger reads'; return 1; }
    ! mount_area files /mnt/stranger 2 $documented 2>>/run/refused || { echo 'a stranger mounts'; return 1; }
    ask rule files && [ "$(cat /mnt/area/roots)" = secret ]
}
over_ipv6() {
    ask area files || return 1
    set -- $answer
    ip -6 addr add fec0::15/64 dev eth0 nodad
    mkdir -p /mnt/six
    mount -t nfs -o "$big,vers=3,proto=tcp6,addr=fec0::2,port=$2,mountaddr=fec0::2,mountport=$3,mountproto=tcp6,nolock" "[fec0::2]:$1" /mnt/six &&
        has_option /mnt/six proto=tcp6 && [ "$(cat /mnt/six/roots)" = secret ] && prove bytes /mnt/six 51 "$(amount 100 30)" && umount /mnt/six
}
case_rights() {
    test_that rights/a_read_only_export_refuses_every_change 60 read_only || return
    test_that rights/squashed_users_are_who_the_rule_says 60 squashed
    test_that rights/a_client_of_another_network_is_refused 60 refused
    test_that rights/an_area_is_used_over_ipv6 120 over_ipv6
}
. /databases.sh
