# PostgreSQL and SQLite on an area and on a thin clone of it, killed and recovered; sourced by cases.sh.
# Every commit that was acknowledged before a moment must be there after it, all rows whole and no gaps.
export PATH=$PATH:/usr/lib/postgresql/15/bin:/usr/bin PGUSER=postgres PGHOST=/run/pg PGDATABASE=postgres
as_postgres() { prove as 70 "$@"; }
sql() { psql -X -A -t -v ON_ERROR_STOP=1 "$@"; }
# DATA PORT
pg_start() { as_postgres pg_ctl -D "$1" -l "/tmp/log.$2" -w -t 200 -o "-p $2 -k /run/pg -c listen_addresses=" start || { tail -n 5 "/tmp/log.$2"; return 1; }; }
pg_stop() { as_postgres pg_ctl -D "$1" -w -t 100 -m fast stop; }
# DATA: SIGKILL to the postmaster and all of its processes
pg_kill() {
    read -r postmaster <"$1/postmaster.pid"
    killed="$postmaster $(ps -o pid,ppid | awk -v p="$postmaster" '$2 == p { print $1 }' | tr '\n' ' ')"
    kill -KILL $killed
    while ps -o pid,stat | grep -v Z | awk -v killed=" $killed " 'index(killed, " " $1 " ") { some = 1 } END { exit !some }'; do :; done
}
pg_begin() {
    mkdir -p /run/pg && chown postgres /run/pg && mount_area db /mnt/db 2 $documented || return 1
    mkdir /mnt/db/pg && chown postgres /mnt/db/pg && chmod 700 /mnt/db/pg || return 1
    chown -R postgres /pgdata
    # eight at a time, as each waits for the server's answer most of the time
    (cd /pgdata && find . -mindepth 1 -type d) | (cd /mnt/db/pg && as_postgres xargs mkdir) &&
        (cd /pgdata && find . -type f | prove as 70 xargs -P 8 -n 10 sh -c 'for f in "$@"; do cp "$f" "/mnt/db/pg/$f"; done' _) &&
        chmod 700 /mnt/db/pg/* || return 1
    printf 'shared_buffers = 16MB\nmax_wal_size = 64MB\n' >>/mnt/db/pg/postgresql.conf
}
pg_load() {
    pg_start /mnt/db/pg 5432 || return 1
    sql -c 'create table acked (n int primary key, sum text)' \
        -c 'create table rows (id int primary key, text text)' \
        -c "insert into rows select g, repeat(md5(g::text), 8) from generate_series(1, $(amount 20000 2000)) g" \
        -c 'create index on rows (text)' -c 'create extension amcheck'
}
# FROM TO PORT: commits of one row each, with a change elsewhere; a number is said when it is committed
pg_work() {
    mkfifo "/run/acks.$3"
    awk -v from="$1" -v to="$2" 'BEGIN { for (n = from; n <= to; n++)
        printf "insert into acked values (%d, md5(%d::text)); update rows set text = repeat(md5(%d::text), 8) where id = %d;\n\\echo %d\n", n, n, n, n * 7919 % 2000 + 1, n }' |
        sed 's/^\(.*;\) \(update.*\)/begin; \1 \2 commit;/' >"/run/work.$3"
    sql -p "$3" -f "/run/work.$3" >"/run/acks.$3" 2>/dev/null &
    exec 4<"/run/acks.$3"
}
# COUNT: reads so many acknowledgements; the last is left in $acked
acks() {
    left=$1
    while [ "$left" -gt 0 ] && read -r -t 100 line <&4; do
        case $line in '' | *[!0-9]*) ;; *) acked=$line left=$((left - 1)) ;; esac
    done
    [ "$left" = 0 ]
}
acks_rest() {
    acks 1000000
    exec 4<&-
    rm -f /run/acks.*
}
# PORT ATLEAST: rows without a gap, whole, at least so many; indexes agree with their tables
pg_whole() {
    found=$(sql -p "$1" -c 'select count(*), coalesce(max(n), 0), count(*) filter (where sum <> md5(n::text)) from acked') || return 1
    count=${found%%|*}
    [ "$found" = "$count|$count|0" ] && [ "$count" -ge "$2" ] || { echo "$found, acknowledged $2"; return 1; }
    sql -p "$1" -c "select bt_index_check(c.oid, true) from pg_class c where relkind = 'i'" >/run/checked || return 1
    echo "$count commits, $2 acknowledged"
}
pg_snapshot_amid() {
    pg_work 1 100000 5432
    acks "$(amount 300 40)" && mark=$acked && ask snapshot db amid && acks 20
}
pg_killed_on_area() {
    pg_kill /mnt/db/pg
    acks_rest
    pg_start /mnt/db/pg 5432 && pg_whole 5432 "$acked"
}
pg_clone_recovers() {
    mount_clone db amid recovered /mnt/clone 3 $big && rm /mnt/clone/pg/postmaster.pid && pg_start /mnt/clone/pg 5433 &&
        pg_whole 5433 "$mark"
}
pg_clone_killed() {
    pg_work $((count + 1)) $((count + 100000)) 5433
    acks "$(amount 200 30)" && pg_kill /mnt/clone/pg
    acks_rest
    pg_start /mnt/clone/pg 5433 && pg_whole 5433 "$acked"
}
pg_apart() {
    on_area=$(sql -p 5432 -c 'select count(*) from acked') && pg_stop /mnt/clone/pg && pg_stop /mnt/db/pg || return 1
    forget
    as_postgres pg_checksums --check -D /mnt/clone/pg && as_postgres pg_checksums --check -D /mnt/db/pg || return 1
    pg_start /mnt/db/pg 5432 && [ "$(sql -p 5432 -c 'select count(*) from acked')" = "$on_area" ] && pg_stop /mnt/db/pg
}
case_postgresql() {
    [ -d /pgdata ] || { say 'SKIPPED postgresql: initdb does not run where the image was made'; return; }
    test_that postgresql/a_database_is_made 400 pg_begin || return
    test_that postgresql/it_is_loaded 200 pg_load || return
    test_that postgresql/the_area_is_snapshot_while_it_runs 200 pg_snapshot_amid
    snapshot=$?
    test_that postgresql/killed_on_the_area_it_recovers_all_acknowledged 300 pg_killed_on_area
    [ $snapshot = 0 ] || return
    test_that postgresql/a_clone_recovers_all_acknowledged_before_the_snapshot 300 pg_clone_recovers || return
    test_that postgresql/killed_on_the_clone_it_recovers_all_acknowledged 300 pg_clone_killed
    test_that postgresql/area_and_clone_are_apart_and_their_checksums_right 300 pg_apart
}

# MODE: the same with SQLite; its commits are acknowledged by a word of the shell it runs
lite_work() {
    rm -f /run/acks.lite
    mkfifo /run/acks.lite
    awk -v from="$2" -v to=100000 -v mode="$3" 'BEGIN {
        printf "pragma journal_mode=%s; pragma synchronous=full;\ncreate table if not exists acked (n integer primary key, text);\n", mode
        for (n = from; n <= to; n++) printf "insert into acked values (%d, hex(zeroblob(%d)));\n.shell echo %d\n", n, n % 97 * 20, n }' >/run/work.lite
    sqlite3 -bail "$1" </run/work.lite >/run/acks.lite 2>/dev/null &
    lite=$!
    exec 4</run/acks.lite
}
lite_kill() {
    kill -KILL $lite
    wait $lite
    acks_rest
}
lite_whole() {
    [ "$(sqlite3 "$1" 'pragma integrity_check')" = ok ] || { sqlite3 "$1" 'pragma integrity_check' | head -n 3; return 1; }
    found=$(sqlite3 "$1" 'select count(*), max(n), sum(length(text) <> n % 97 * 40) from acked')
    count=${found%%|*}
    [ "$found" = "$count|$count|0" ] && [ "$count" -ge "$2" ] || { echo "$found, acknowledged $2"; return 1; }
    echo "$count commits, $2 acknowledged"
}
# MODE
lite_snapshot_amid() {
    lite_work /mnt/lite/db.$1 1 $1
    acks "$(amount 150 20)" && mark=$acked && ask snapshot lite amid-$1
}
lite_on_area() {
    acks 10
    lite_kill
    forget
    lite_whole /mnt/lite/db.$1 "$acked"
}
lite_on_clone() {
    mount_clone lite amid-$1 of-$1 /mnt/of-$1 3 $big && lite_whole /mnt/of-$1/db.$1 "$mark" || return 1
    lite_work /mnt/of-$1/db.$1 $((count + 1)) $1
    acks "$(amount 100 15)"
    lite_kill
    forget
    lite_whole /mnt/of-$1/db.$1 "$acked"
}
lite_mount() { mount_area lite /mnt/lite 2 $documented; }
case_sqlite() {
    test_that sqlite/an_area_is_mounted 60 lite_mount || return
    for mode in delete wal; do
        test_that sqlite/the_area_is_snapshot_in_mode_$mode 200 lite_snapshot_amid $mode
        snapshot=$?
        test_that sqlite/killed_in_mode_${mode}_it_recovers_all_acknowledged 200 lite_on_area $mode
        [ $snapshot = 0 ] || continue
        test_that sqlite/a_clone_in_mode_${mode}_recovers_and_runs 200 lite_on_clone $mode
    done
}
