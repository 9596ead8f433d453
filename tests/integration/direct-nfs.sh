#!/bin/bash
# The simulated host writes and reads a real NFS server's export by Direct NFS: no mount, names of its
# oranfstab alone. What it leaves there is the truth, also when the server is killed on the way.
# shellcheck source=tests/lib/world.sh disable=SC2154
if [ -z "${EVERCOPY_OWN_NET:-}" ] && [ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null; then
    EVERCOPY_OWN_NET=1 exec unshare -n "$0" "$@"
fi
. "$(dirname "$0")/../lib/world.sh"
world_plain "$@"
PATH=$PATH:/usr/sbin:/sbin
if [ -n "${EVERCOPY_OWN_NET:-}" ]; then ip link set lo up; fi
export=$work/export mnt=$work/mnt
mkdir "$export"
coproc NFS { exec "$here/tests/lib/ganesha.sh" "$export" 2>/dev/null; }
exec {nfs_to}>&"${NFS[1]}" {nfs_from}<&"${NFS[0]}"
nfs_tell() {
    local answer=
    echo "$1" >&"$nfs_to"
    read -r -t 30 -u "$nfs_from" answer
    case $answer in SKIPPED*) world_skip_all "${answer#SKIPPED }" ;; esac
    [ "$answer" = "$2" ]
}
nfs_tell start up || world_skip_all "no NFS server"

cat >"$work/ora/dbs/oranfstab" <<CONF
# one server by two paths
server: box
local: 127.0.0.1
path: 127.0.0.1
local: 127.0.0.1
path: 127.0.0.1
nfs_version: nfsv3
dontroute
export: $export mount: $mnt
CONF
# Memory is watched here, as what the server answers is taken apart.
simulator=$bin/oracle-sim-checked
[ -x "$simulator" ] || simulator=$bin/oracle-sim
# libnfs forgets 42 bytes for each connection that is refused.
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
sim() {
    local db=$1
    shift
    timeout 60 "$simulator" "$@" --home "$work/ora" --sid "$db"
}
rman() {
    bare "ORACLE_HOME=$work/ora" "ORACLE_SID=ORCL" timeout 60 "$work/ora/bin/rman" target / nocatalog >"$out" 2>&1
}
back_up() {
    sim ORCL work --changes "${1:-150}" >/dev/null
    rman <<R
run {
allocate channel ch1 device type disk format '$mnt/ORCL/%U';
allocate channel ch2 device type disk format '$mnt/ORCL/%U';
backup as backupset incremental level 1 for recover of copy with tag 'evercopy' database;
recover copy of database with tag 'evercopy';
}
R
}

the_port_mapper_names_the_ports() {
    sim ORCL create --dbdir "$work/prod" --blocks 400 --churn 20 >"$out" || return 1
    back_up && says "$out" 'datafile copy complete' && says "$out" "output file name=$mnt/ORCL/data_" || return 1
    [ ! -e "$mnt" ] || saw "something was written beside the export: $(find "$mnt" | head -n 3 | tr '\n' ' ')"
}
known_ports_need_no_port_mapper() {
    echo "box 20491 20492 60" >"$work/ora/dbs/sim.nfs"
    back_up && says "$out" 'recovering datafile copy file number=00001'
}
# The copies on the export, their headers and blocks, after media recovery there to one SCN.
what_lies_on_the_export_is_recovered_to_the_truth() {
    local scn file no
    sim ORCL inject clear
    back_up || return 1
    scn=$(sim ORCL scn | cut -d' ' -f1)
    sim ORCL work --changes 50 >/dev/null && sim ORCL switch || return 1
    rman <<<"backup as copy current controlfile format '$mnt/ORCL/ctl/cf.ctl';
backup as backupset current controlfile format '$mnt/ORCL/cf.bkp' tag 'CF';"
    cp -r "$export/ORCL" "$export/CLONE" && mkdir -p "$work/sand" || return 1
    printf "*.db_name='ORCL'\n*.control_files='%s/cf.ctl'\n*.db_create_file_dest='%s'\n" "$work/sand" "$work/sand" >"$work/sand/init.ora"
    {
        echo "startup nomount pfile='$work/sand/init.ora';"
        echo "restore controlfile from '$mnt/CLONE/cf.bkp';"
        echo "alter database mount;"
        echo "change copy of database uncatalog;"
        for file in "$export"/CLONE/data_*; do
            file=${file##*/} no=${file##*FNO-}
            echo "catalog datafilecopy '$mnt/CLONE/$file';"
            echo "switch datafile ${no%%_*} to datafilecopy '$mnt/CLONE/$file';"
        done
        find "$work/prod/fra" -name '*.arc' | sed "s/.*/catalog archivelog '&';/"
        echo "run { set until scn $scn; recover database; }"
    } >"$work/restore.rman"
    bare "ORACLE_HOME=$work/ora" ORACLE_SID=SBX timeout 60 "$work/ora/bin/rman" target / nocatalog <"$work/restore.rman" >"$out" 2>&1 ||
        { saw "the recovery failed: $(grep -E 'ORA-|RMAN-0' "$out" | tail -n 3 | tr '\n' '|')"; return 1; }
    sim ORCL compare --scn "$scn" --instance SBX >"$out" 2>&1 && says "$out" 'identical to the truth'
}
an_archived_log_takes_its_name_at_the_end() {
    sim ORCL work --changes 20 >/dev/null
    printf "alter system set log_archive_dest_1='location=USE_DB_RECOVERY_FILE_DEST' scope=both;
alter system set log_archive_dest_2='location=%s/ORCL/archivelog reopen=300' scope=both;
exit\n" "$mnt" |
        bare "ORACLE_HOME=$work/ora" ORACLE_SID=ORCL "$work/ora/bin/sqlplus" -S / as sysdba >"$out"
    sim ORCL switch || { saw "no switch"; return 1; }
    same "$(find "$export/ORCL/archivelog" -name '[!.]*_*.dbf' | wc -l) $(find "$export" -name '.*' | wc -l)" "1 0" "logs and dot files"
}
# What a shutdown abort leaves behind: the archiver stumbles over it until a person removes it.
a_dot_file_left_behind_stops_the_archiver() {
    local log
    echo "alter system set log_archive_dest_state_1='defer' scope=both;" |
        bare "ORACLE_HOME=$work/ora" ORACLE_SID=ORCL "$work/ora/bin/sqlplus" -S / as sysdba >"$out"
    sim ORCL inject dot-file
    ! sim ORCL switch 2>"$err" || { saw "the switch knows no error"; return 1; }
    log=$(find "$export/ORCL/archivelog" -name '.*.dbf')
    [ -s "$log" ] || { saw "no dot file: $(ls -A "$export/ORCL/archivelog")"; return 1; }
    sim ORCL switch
    [ -e "$log" ] && [ ! -e "${log%/.*}/${log##*/.}" ] || { saw "the log was archived over it"; return 1; }
    rm "$log"
    sim ORCL switch && [ -s "${log%/.*}/${log##*/.}" ] || saw "the log does not come after the file is gone"
}
a_copy_is_not_made_over_a_dot_file() {
    : >"$export/ORCL/.cf2.bkp"
    ! rman <<<"backup as backupset current controlfile format '$mnt/ORCL/cf2.bkp' tag 'CF';" || { saw "it was made"; return 1; }
    rm "$export/ORCL/.cf2.bkp"
    says "$out" "ORA-19504: failed to create file \"$mnt/ORCL/cf2.bkp\"" && says "$out" 'ORA-17500: ODM err:File exists'
}
a_dead_rman_leaves_its_copy_under_a_dot_name() {
    local pid copies
    copies=$(find "$export/ORCL" -name 'data_*' | wc -l)
    sim ORCL add-file --blocks 400 >/dev/null
    sim ORCL inject hang --at copy
    back_up & pid=$!
    within 20 dot_copies_are 1 || { saw "no dot file"; return 1; }
    # shellcheck disable=SC2046 # an id is a word
    kill -KILL $(children_of "$pid") 2>/dev/null
    wait "$pid"
    sim ORCL inject clear
    same "$(find "$export/ORCL" -name 'data_*' | wc -l)" "$copies" "copies" || return 1
    dot_copies_are 1 || { saw "dot files: $(find "$export/ORCL" -name '.*')"; return 1; }
    find "$export/ORCL" -name '.*' -delete
}
# Backup pieces of the same run have dot names, too.
dot_copies_are() { [ "$(find "$export/ORCL" -name '.data_*' -type f | wc -l)" = "$1" ]; }
children_of() { # and theirs
    local pid
    for pid in $(cat "/proc/$1/task/"*/children 2>/dev/null); do echo "$pid"; children_of "$pid"; done
}
a_killed_server_is_but_a_pause() {
    local run kills=0
    sim ORCL add-file --blocks 4000 >/dev/null
    back_up 1500 & run=$!
    while ! gone "$run" && [ "$kills" -lt 6 ]; do
        nfs_tell kill down && nfs_tell start up || { saw "the server did not come back"; return 1; }
        kills=$((kills + 1))
        pause
    done
    wait "$run" || { saw "rman ended with $?: $(grep -E 'ORA-|RMAN-0' "$out" | tail -n 4 | tr '\n' '|')"; return 1; }
    [ "$kills" -gt 1 ] || saw "$kills kills only"
}
a_server_that_stays_away_is_an_error_of_oracle() {
    echo "box 20491 20492 1" >"$work/ora/dbs/sim.nfs"
    nfs_tell kill down
    ! back_up 10 && says "$out" 'ORA-' && says "$out" "server 'box' does not answer|'box:.*' cannot be mounted"
    local result=$?
    nfs_tell start up
    return "$result"
}
an_oranfstab_that_oracle_would_not_read_is_named() {
    echo 'export: /a mount: /b' >>"$work/ora/dbs/oranfstab" && echo 'paths: 1' >>"$work/ora/dbs/oranfstab"
    ! sim ORCL scn >"$out" 2>&1 && says "$out" 'oranfstab line 11: unknown attribute'
}
days() {
    try the_port_mapper_names_the_ports
    try known_ports_need_no_port_mapper
    try what_lies_on_the_export_is_recovered_to_the_truth
    try an_archived_log_takes_its_name_at_the_end
    try a_dot_file_left_behind_stops_the_archiver
    try a_copy_is_not_made_over_a_dot_file
    try a_dead_rman_leaves_its_copy_under_a_dot_name
    try a_killed_server_is_but_a_pause
    try a_server_that_stays_away_is_an_error_of_oracle
    try an_oranfstab_that_oracle_would_not_read_is_named
}
days | tee "$work/said"
world_end
