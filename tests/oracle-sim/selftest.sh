#!/bin/bash
# Plays the simulator against itself: back up, merge, restore to a middle SCN, compare with the truth.
# Usage: selftest.sh PATH-OF-ORACLE-SIM. Prints "N passed, N failed" last and exits by it.
set -u
sim=$(readlink -f "${1:?path of oracle-sim}")
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
passed=0
failed=0
out=$top/out

check() { # check NAME COMMAND...: the command must succeed
    local name=$1
    shift
    if "$@" >"$top/check.out" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 20 "$top/check.out"
    fi
}
refuse() { # refuse NAME COMMAND...: the command must fail
    local name=$1
    shift
    check "$name" not "$@"
}
not() { ! "$@"; }
seen() { grep -qF -- "$1" "$out"; }

begin() { # begin NAME CREATE-OPTIONS...: a database of its own
    home=$top/$1/home
    area=$top/$1/area
    sand=$top/$1/sandbox
    local name=$1
    shift
    mkdir -p "$area/archivelog" "$area/ctl" "$sand"
    check "$name: create" "$sim" create --home "$home" --sid ORCL --dbdir "$top/$name/db" --blocks 320 "$@"
}
ctl() { local v=$1; shift; "$sim" "$v" --home "$home" --sid ORCL "$@"; }
ora() { env -i ORACLE_HOME="$home" ORACLE_SID="${sid:-ORCL}" \
    NLS_DATE_FORMAT="YYYY-MM-DD HH24:MI:SS" ASAN_OPTIONS="${ASAN_OPTIONS:-}" "$@"; }
rman() { ora "$home/bin/rman" target / nocatalog >"$out" 2>&1; }
sql() { { printf 'whenever sqlerror exit failure\nset heading off\nset pagesize 0\nset feedback off\nset linesize 32767\nset trimspool on\n'
    cat; } | ora "$home/bin/sqlplus" -S -L "/ as sysdba" >"$out" 2>&1; }

level1() { rman <<R
set command id to 'evercopy:run1';
run {
set controlfile autobackup format for device type disk to '$area/%F';
allocate channel ch1 device type disk format '$area/%U';
allocate channel ch2 device type disk format '$area/%U';
backup as backupset incremental level 1 ${1:-} for recover of copy with tag 'evercopy' database;
}
R
}
merge() { rman <<R
set command id to 'evercopy:run1';
run {
allocate channel ch1 device type disk;
allocate channel ch2 device type disk;
recover copy of database with tag 'evercopy';
}
R
}
control() { rman <<R
backup as backupset current controlfile format '$area/cf_%d_%I_$1.bkp' tag 'EVERCOPY_CF';
backup as backupset spfile format '$area/sp_%d_%I_$1.bkp' tag 'EVERCOPY_CF';
R
}
switch() { sql <<<"alter system archive log current;"; }
scn() { ctl scn | cut -d' ' -f1; }
work() { ctl work --changes "$1" --commit-seconds 7 | cut -d' ' -f1; }
round() { work "${1:-200}" >/dev/null && level1 "${2:-}" && merge; }

# A sandbox instance: control file CF, copies DIR, every archived log of production, until SCN U.
restore() { # restore CF U
    local cf=$1 until=$2 f n
    rm -rf "$sand"
    mkdir -p "$sand/df"
    sid=SBX
    cp "$area"/data_D-* "$sand/df/"
    printf "*.db_name='ORCL'\n*.control_files='%s/cf.ctl'\n*.db_create_file_dest='%s'\n" "$sand" "$sand" \
        >"$sand/init.ora"
    sql <<<"startup nomount pfile='$sand/init.ora'" || { cat "$out"; return 1; }
    rman <<<"restore controlfile from '$cf';
alter database mount;" || { cat "$out"; return 1; }
    sql <<<"select 'L|'||member from v\$logfile;
select 'T|'||name from v\$tempfile;" || { cat "$out"; return 1; }
    n=0
    { while IFS='|' read -r kind f; do
        n=$((n + 1))
        case $kind in L | T) echo "alter database rename file '$f' to '$sand/side$n';" ;; esac
    done; } <"$out" >"$sand/rename.sql"
    sql <"$sand/rename.sql" || { cat "$out"; return 1; }
    {
        echo "change archivelog all uncatalog;"
        echo "change copy of database uncatalog;"
        echo "change backup device type disk unavailable;"
        for f in "$sand"/df/*; do echo "catalog datafilecopy '$f';"; done
        find "$top" -path "*$(basename "$(dirname "$home")")/db/fra*" -name '*.arc' |
            sed "s/.*/catalog archivelog '&';/"
        for f in "$sand"/df/*; do
            n=${f##*FNO-}
            echo "switch datafile ${n%%_*} to datafilecopy '$f';"
        done
    } | rman || { cat "$out"; return 1; }
    rman <<<"run { set until scn $until; recover database; }" || { cat "$out"; return 1; }
}
open_ro() { sid=SBX; sql <<<"alter database open read only;"; }
done_sandbox() { sid=SBX; sql <<<"shutdown abort"; sid=ORCL; }
same_as_truth() { ctl compare --scn "$1" --instance SBX; }

whole() { # whole NAME CREATE-OPTIONS...: three runs with churn, then a restore to a middle SCN
    local name=$1 mid end
    shift
    sid=ORCL
    begin "$name" --churn 40 "$@"
    check "$name: first run" round 300
    check "$name: first run says no parent" grep -q "no copy of datafile 1 found to recover" "$out"
    check "$name: second run" round 300
    check "$name: third run" round 300
    check "$name: control file" control one
    work 200 >/dev/null
    mid=$(scn)
    work 200 >/dev/null
    check "$name: switch" switch
    end=$(scn)
    check "$name: restore to $mid" restore "$area/cf_ORCL_1433672784_one.bkp" "$mid"
    check "$name: open read only" open_ro
    check "$name: identical to the truth" same_as_truth "$mid"
    refuse "$name: another SCN is told apart" same_as_truth "$end"
    check "$name: shutdown" done_sandbox
}

whole little
whole big --endian big --compatible 12.2.0
whole old --release 11.2.0.4.0 --compatible 11.2.0.4 --threads 2
whole wide --bigfile --block-size 32768 --redo-block-size 1024 --blocks 96 --release 12.1.0.2.0 \
    --compatible 12.1.0.2 --zone -03:30 --edition SE --autobackup
whole cdb --cdb --block-size 4096 --redo-block-size 4096 --log-blocks 512

# Merge killed half-way, then a full disk: the next run heals.
sid=ORCL
begin heal --churn 20
check "heal: first run" round 300
check "heal: second run" round 300
work 300 >/dev/null
check "heal: level 1" level1
ctl inject merge-kill --after-blocks 30
refuse "heal: merge is killed" merge
ctl inject merge-enospc --after-blocks 10
refuse "heal: merge finds the disk full" merge
check "heal: the stack names the device" seen "Linux-x86_64 Error: 28: No space left on device"
check "heal: RMAN-03009" seen "RMAN-03009: failure of recover command on ch1 channel"
check "heal: next run" round 100
check "heal: control file" control two
work 50 >/dev/null
u=$(scn)
check "heal: switch" switch
check "heal: restore" restore "$area/cf_ORCL_1433672784_two.bkp" "$u"
check "heal: open" open_ro
check "heal: identical" same_as_truth "$u"
check "heal: shutdown" done_sandbox

# Static files stay as they are; new, grown and dropped files follow.
begin static
check "static: read only" ctl read-only USERS
check "static: first run" round 100
check "static: second run" round 100
check "static: merge says why" seen "datafile 4 not processed because file is read-only"
level1
check "static: skipped" seen "skipping datafile 00004 because it has not changed"
check "static: add" ctl add-file --tablespace GROW --blocks 64
check "static: resize" ctl resize 2 400
check "static: run with a new file" round 100
check "static: new file is not merged" seen "no copy of datafile 6 found to recover"
check "static: run again" round 100
check "static: control file" control three
check "static: file born after the copies" ctl add-file --tablespace LATER --blocks 64
work 200 >/dev/null
u=$(scn)
check "static: switch" switch
check "static: restore" restore "$area/cf_ORCL_1433672784_three.bkp" "$u"
check "static: file made by redo" seen "creating datafile file number=7"
check "static: open" open_ro
check "static: identical" same_as_truth "$u"
check "static: shutdown" done_sandbox

# Copies marked expired: everything is copied anew, and adopting them prevents that.
begin expire
check "expire: first run" round 50
ctl expire-copies
check "expire: full copies again" level1
check "expire: said so" seen "no parent backup or copy of datafile 1 found"

# Section size, sets of logs, deleting by handle.
begin misc
check "misc: first run" round 100
check "misc: sections" round 100 "section size 512K"
check "misc: crosscheck" rman <<<"crosscheck copy of database;"
check "misc: preview" rman <<<"restore database preview;"
check "misc: fuzziness line" seen "Recovery must be done beyond SCN"
check "misc: switch" switch
check "misc: logs as copy" rman <<<"backup as copy force archivelog sequence 1 thread 1 format '$area/archivelog/%U';"
check "misc: logs as set" rman <<<"backup as backupset archivelog sequence 1 thread 1 format '$area/%U';"
sql <<<"select handle from v\$backup_piece where status='A' and tag='EVERCOPY';"
piece=$(head -n 1 "$out")
check "misc: delete a piece" rman <<<"delete noprompt backuppiece '$piece';"
refuse "misc: it is gone" test -e "$piece"
refuse "misc: cannot delete it twice" rman <<<"delete noprompt backuppiece '$piece';"
refuse "misc: syntax error" rman <<<"frobnicate all;"
check "misc: RMAN-01009" seen "RMAN-01009: syntax error"
ctl lose-log 1 1
rm -f "$area"/archivelog/arch_*
check "misc: log from a set" rman <<<"run { set archivelog destination to '$area/archivelog'; restore archivelog sequence 1 thread 1; }"
check "misc: it arrived" ls "$area"/archivelog/1_1_*.dbf
refuse "misc: bad SQL fails" sql <<<"select nosuch from v\$database;"
check "misc: ORA-00904" seen 'ORA-00904: "NOSUCH": invalid identifier'

# A RAC thread closed, opened again, its log lost: the stack names thread and sequence.
sid=ORCL
begin rac --threads 2
check "rac: first run" round 100
check "rac: close thread 2" ctl thread 2 close
work 50 >/dev/null
check "rac: open thread 2" ctl thread 2 open
check "rac: control file" control rac
work 100 >/dev/null
check "rac: switch" switch
work 100 >/dev/null
u=$(scn)
check "rac: switch again" switch
sql <<<"select 'S'||max(sequence#) from v\$archived_log where thread# = 2;"
seq=$(sed -n 's/^S//p' "$out")
check "rac: lose a log" ctl lose-log 2 "$seq"
refuse "rac: recovery stops" restore "$area/cf_ORCL_1433672784_rac.bkp" "$u"
check "rac: RMAN-06054" seen "RMAN-06054: media recovery requesting unknown archived log for thread 2 with sequence $seq"
check "rac: shutdown" done_sandbox

# Targets below E, and what an open refuses.
sid=ORCL
begin below --churn 30
before=$(work 100)
check "below: first run" round 100
check "below: second run" round 100
check "below: flashback on" ctl set flashback YES
check "below: control file" control below
work 100 >/dev/null
u=$(scn)
check "below: switch" switch
refuse "below: too early" restore "$area/cf_ORCL_1433672784_below.bkp" "$before"
check "below: RMAN-06556" seen "RMAN-06556: datafile 1 must be restored from backup older than SCN $before"
refuse "below: does not open" open_ro
check "below: done" done_sandbox
sid=ORCL
sql <<<"select max(checkpoint_change#) from v\$datafile_copy where status='A';"
ckp=$(tr -d ' ' <"$out")
refuse "below: within the fuzziness" restore "$area/cf_ORCL_1433672784_below.bkp" "$((ckp + 1))"
check "below: ORA-01195" seen "ORA-01195: online backup of file"
check "below: done again" done_sandbox
check "below: late enough" restore "$area/cf_ORCL_1433672784_below.bkp" "$u"
refuse "below: flashback is in the way" open_ro
check "below: ORA-38760" seen "ORA-38760"
sid=SBX
check "below: flashback off" sql <<<"alter database flashback off;"
check "below: opens" open_ro
check "below: identical" same_as_truth "$u"
sid=SBX
check "below: mount again" sql <<<"shutdown immediate
startup mount pfile='$sand/init.ora'"
check "below: still mounted" open_ro
check "below: stop" sql <<<"shutdown immediate
startup mount pfile='$sand/init.ora'"
check "below: resetlogs" sql <<<"alter database open resetlogs;
alter system archive log current;"
check "below: a new incarnation" sql <<<"select 'X'||count(*) from v\$database_incarnation where incarnation#=3;"
check "below: it is the third" seen "X1"
check "below: done at last" done_sandbox

# Hot backup by hand: copies need the end-backup marker.
sid=ORCL
begin hot
check "hot: begin" sql <<<"alter database begin backup;"
work 100 >/dev/null
mid=$(scn)
n=0
sql <<<"select file#||' '||name from v\$datafile;"
while read -r n f; do cp "$f" "$area/data_D-ORCL_FNO-${n}_x"; done <"$out"
work 100 >/dev/null
check "hot: end" sql <<<"alter database end backup;"
check "hot: control file" control hot
work 100 >/dev/null
u=$(scn)
check "hot: switch" switch
refuse "hot: before the marker" restore "$area/cf_ORCL_1433672784_hot.bkp" "$mid"
check "hot: done" done_sandbox
check "hot: behind the marker" restore "$area/cf_ORCL_1433672784_hot.bkp" "$u"
check "hot: open" open_ro
check "hot: identical" same_as_truth "$u"
check "hot: finished" done_sandbox

# A hanging merge: its session is seen, can be killed; a zombie outlives its client.
sid=ORCL
begin hang
check "hang: first run" round 100
work 50 >/dev/null
check "hang: level 1" level1
check "hang: inject" ctl inject hang --at merge
(out=$top/hang.out; merge; echo $? >"$top/rc") &
merging=$!
for i in $(seq 600); do
    sql <<<"select sid||','||serial# from v\$session where client_info like '%channel=ch1,id=evercopy:run1%';"
    [ -s "$out" ] && break
    sleep 0.1
done
victim=$(head -n 1 "$out")
check "hang: session is there" test -n "$victim"
check "hang: kill it" sql <<<"alter system kill session '$victim' immediate;"
[ -n "$victim" ] || pkill -KILL -P "$merging"
wait
check "hang: rman failed" test "$(cat "$top/rc")" = 1
check "hang: zombie" ctl inject zombie-session
refuse "hang: kill the client" timeout -s KILL 1 env -i ORACLE_HOME="$home" ORACLE_SID=ORCL \
    "$home/bin/rman" target / <<<"run { allocate channel z1 device type disk; recover copy of database with tag 'evercopy'; }"
sql <<<"select 'Z'||client_info from gv\$session;"
check "hang: the session stays" seen "channel=z1"
check "hang: clear" ctl inject clear
sql <<<"select 'Z'||client_info from gv\$session;"
refuse "hang: now it is gone" seen "channel=z1"
check "hang: merge goes through" merge

# Archive destinations: ours beside the recovery area; failing, deferred, a dot file.
sid=ORCL
begin dest
check "dest: set" sql <<<"alter system set log_archive_dest_1='LOCATION=USE_DB_RECOVERY_FILE_DEST MANDATORY' scope=both;
alter system set log_archive_dest_2='LOCATION=$area/archivelog OPTIONAL REOPEN=300' scope=both;"
check "dest: switch" switch
check "dest: log is ours" ls "$area"/archivelog/1_1_*.dbf
check "dest: fail" ctl inject archive-fail --dest 2
check "dest: switch goes on" switch
sql <<<"select 'D'||dest_id||status from v\$archive_dest where status<>'INACTIVE';"
check "dest: error is shown" seen "D2ERROR"
check "dest: repaired" ctl inject clear
check "dest: dot file" ctl inject dot-file
check "dest: fail mandatory" ctl inject archive-fail --dest 1
refuse "dest: switch fails" switch
check "dest: ORA-16038" seen "ORA-16038"

# A late archiver; production hidden, as on another host.
sid=ORCL
begin late
check "late: inject" ctl inject late-log --seconds 1
check "late: switch returns" switch
sql <<<"select 'N'||count(*) from v\$archived_log;"
check "late: nothing yet" seen "N0"
sleep 2
sql <<<"select 'N'||count(*) from v\$archived_log;"
check "late: there it is" seen "N1"
check "late: hide" ctl hide
refuse "late: out of sight" test -e "$top/late/db/oradata"
check "late: show" ctl hide off
check "late: in sight" test -e "$top/late/db/oradata"

# Strangers' bytes: nothing crashes.
sid=ORCL
begin junk
check "junk: first run" round 100
work 100 >/dev/null
check "junk: level 1" level1
for f in "$area"/*_1_1; do
    dd if=/dev/urandom of="$f" bs=1 seek=9000 count=4000 conv=notrunc 2>/dev/null
done
refuse "junk: broken piece" merge
check "junk: ORA-19599" seen "ORA-19599"
head -c 20000 /dev/urandom >"$area/noise"
refuse "junk: noise is no copy" rman <<<"catalog datafilecopy '$area/noise';"
refuse "junk: noise is no log" rman <<<"catalog archivelog '$area/noise';"
check "junk: noise is named" rman <<<"catalog start with '$area/' noprompt;"
check "junk: RMAN-07517" seen "RMAN-07517: Reason: The file header is corrupted"
for i in 1 2 3 4 5; do
    head -c 3000 /dev/urandom | rman
    check "junk: rman lives $i" test $? -le 1
    head -c 3000 /dev/urandom | ora "$home/bin/sqlplus" -S / as sysdba >"$out" 2>&1
    check "junk: sqlplus lives $i" test $? -le 1
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
