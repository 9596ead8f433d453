#!/bin/bash
# What the virtual machine boots: vmlinuz, base.gz (busybox, the modules of an NFS client) and
# databases.cpio (PostgreSQL 15 and SQLite with their libraries), made of Debian's own packages.
#   image.sh FOLDER     the folder of this machine's versions is the last line; kept for the next time
# What cannot be had is "SKIPPED why" and exit code 77.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
skip() {
    echo "SKIPPED $1"
    exit 77
}
out=$1
mkdir -p "$out"
out=$(cd "$out" && pwd)
# libLLVM is left out: nothing here is compiled at run time.
databases='postgresql-15 postgresql-client-15 libpq5 sqlite3 libsqlite3-0 libreadline8 libtinfo6 libc6
 libzstd1 liblz4-1 libxml2 libpam0g libssl3 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0
 libcom-err2 zlib1g libldap-2.5-0 libsasl2-2 libicu72 libsystemd0 liblzma5 libaudit1 libcap-ng0
 libkeyutils1 libgnutls30 libstdc++6 libgcc-s1 libcap2 libgcrypt20 libgpg-error0 libp11-kit0 libidn2-0
 libunistring2 libtasn1-6 libnettle8 libhogweed6 libgmp10 libffi8'

for program in apt-cache apt-get dpkg cpio gzip busybox modprobe depmod; do
    command -v "$program" >/dev/null || skip "no program $program"
done
image=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p' | head -n 1)
[ -n "$image" ] || skip 'no package linux-image-cloud-amd64'
versions=$(apt-cache show --no-all-versions "$image" $databases 2>/dev/null | sed -n 's/^\(Package\|Version\): //p'
    busybox | head -n 1
    cat "${BASH_SOURCE[0]}")
made=$out/$(sha256sum <<<"$versions" | cut -c1-16)
if [ -e "$made/complete" ]; then
    echo "$made"
    exit 0
fi

rm -rf "$made"
mkdir -p "$made/debs" "$made/kernel" "$made/base/bin" "$made/base/modules" "$made/db"
fetch() { (cd "$made/debs" && apt-get -qq download "$@" 2>"$made/said") || skip "cannot download: $(grep '^E:' "$made/said" | head -n 1)"; }
unpack() { # FOLDER PACKAGE...
    local to=$1 p
    shift
    for p in "$@"; do dpkg -x "$(echo "$made/debs/${p}"_*.deb)" "$to"; done
}
archive() { (cd "$1" && find . | cpio --quiet -o -H newc -R 0:0); }

fetch "$image"
unpack "$made/kernel" "$image"
version=${image#linux-image-}
cp "$made/kernel/boot/vmlinuz-$version" "$made/vmlinuz"
depmod -b "$made/kernel" "$version" 2>/dev/null
for module in virtio_pci virtio_net nfsv3; do # in the order in which they need each other
    modprobe -d "$made/kernel" -S "$version" --show-depends "$module"
done | awk '{ print $2 }' | while read -r path; do
    [ ! -e "$made/base/modules/${path##*/}" ] || continue
    cp "$path" "$made/base/modules/"
    echo "${path##*/}" >>"$made/base/modules/order"
done
cp "$(command -v busybox)" "$made/base/bin/busybox"
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$made/base/bin/$applet"
done
archive "$made/base" | gzip -6 >"$made/base.gz"

fetch $databases
unpack "$made/db" $databases
(
    cd "$made/db"
    cp -a lib/. usr/lib/
    rm -rf usr/share/{doc,man,locale,lintian,bug,postgresql-common} usr/lib/postgresql/15/lib/{bitcode,llvmjit*} \
        usr/share/postgresql/15/man var etc usr/sbin usr/lib/x86_64-linux-gnu/{gconv,perl*} lib
    ln -s usr/lib lib
    mkdir -p lib64
    ln -sf ../usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 lib64/ld-linux-x86-64.so.2
)
# A cluster of one database is made here, as the machine would take minutes: by user 70 of a namespace of ours.
(
    cd "$made/db"
    mkdir -p bin dev etc tmp pgdata
    cp "$(command -v busybox)" bin/sh
    touch dev/null
    echo 'postgres:x:70:70::/:/bin/sh' >etc/passwd
    chmod 700 pgdata
    inside() { unshare -U --map-user=70 --map-group=70 --root="$PWD" /usr/lib/postgresql/15/bin/"$@"; }
    drop='drop database template0\ndrop database template1\n'
    inside initdb -D /pgdata -k -N -A trust -U postgres --locale=C -E UTF8 --wal-segsize=4 >"$made/said" 2>&1 &&
        printf "update pg_database set datistemplate = false\n$drop" |
        inside postgres --single -F -D /pgdata postgres >>"$made/said" 2>&1 || rm -rf pgdata
    rm -rf bin dev etc tmp
)
archive "$made/db" >"$made/databases.cpio"
rm -rf "$made/debs" "$made/kernel" "$made/base" "$made/db" "$made/said"
touch "$made/complete"
for old in "$out"/*; do # of other versions
    [ "$old" = "$made" ] || [ ! -e "$old/vmlinuz" ] || rm -rf "$old"
done
echo "$made"
