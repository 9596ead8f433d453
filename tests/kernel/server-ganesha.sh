# nfs-ganesha as the server of the machine (tests/lib/ganesha.sh), the reference; sourced by run.sh, in a
# network and mounts of its own. Areas are folders of one export; a snapshot or clone is a copy, so one amid
# writes cannot be had.
server_begin() { # FOLDER
    export_dir=$1/export
    mkdir -p "$export_dir"
    mount -t tmpfs -o size=2G none "$export_dir"
    mkdir "$export_dir/areas" "$export_dir/snapshots" "$export_dir/clones"
    coproc GANESHA { exec tests/lib/ganesha.sh "$export_dir"; }
    ganesha_pid=$GANESHA_PID ganesha_to=${GANESHA[1]} ganesha_from=${GANESHA[0]}
    server_start
}
ganesha_tell() { # WORD EXPECTED
    local line
    echo "$1" >&"$ganesha_to" && read -r -t 60 line <&"$ganesha_from" && [ "$line" = "$2" ] || { echo "${line:-ganesha does not answer}"; return 1; }
}
server_start() { ganesha_tell start up; }
server_kill() { ganesha_tell kill down; }
server_stop() { ganesha_tell stop down; }
server_end() {
    exec {ganesha_to}>&- # it ends with its stdin
    wait "$ganesha_pid" 2>/dev/null
    umount -l "$export_dir"
}
where() { echo "$1 20491 20492"; }
server_area() { # AREA: made when it is not there
    mkdir -p "$export_dir/areas/$1"
    where "$export_dir/areas/$1"
}
server_snapshot() { # AREA SNAPSHOT
    case $2 in amid*) echo 'a copy is not of one moment' && return 3 ;; esac
    mkdir -p "$export_dir/snapshots/$1"
    cp -a "$export_dir/areas/$1" "$export_dir/snapshots/$1/$2"
}
server_clone() { # AREA SNAPSHOT CLONE
    cp -a "$export_dir/snapshots/$1/$2" "$export_dir/clones/$1.$3" && where "$export_dir/clones/$1.$3"
}
server_rule() { echo "ganesha's exports are written down once" && return 3; }
server_drop() { # AREA CLONE: files that ganesha has open would be served on
    rm -r "$export_dir/clones/$1.$2" && server_kill && server_start
}
server_forgets='ganesha forgets what it answered when it is killed'
server_complains() { false; }
