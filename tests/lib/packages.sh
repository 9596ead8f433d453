#!/bin/sh
# Makes sure the named groups of Debian packages are there; installs what is missing when it may.
set -eu
build='gcc make pkg-config libuv1-dev libnghttp2-dev libmbedtls-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libsqlite3-dev libjansson-dev libxxhash-dev libnfs-dev libzstd-dev libgcrypt20-dev libcurl4-openssl-dev libexpat1-dev xfsprogs util-linux mount'
test='libcriterion-dev clang-format clang-tidy cppcheck xxhash python3-grpcio python3-protobuf python3-jsonschema openssl libclang-rt-14-dev clang e2fsprogs nfs-ganesha nfs-ganesha-vfs rpcbind libnfs-utils iproute2'
bench='libgrpc++-dev protobuf-compiler-grpc libprotobuf-dev zstd restic borgbackup casync btrfs-progs' # peers of the figures
long='swift-proxy swift-account swift-container swift-object' # a distributed object store
kernel='qemu-system-x86 busybox-static cpio kmod' # a virtual machine with a kernel's NFS client
want=
for group in "$@"; do
    case $group in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    bench) want="$want $bench" ;;
    long) want="$want $long" ;;
    kernel) want="$want $kernel" ;;
    *) echo "packages.sh: no group '$group'" >&2; exit 2 ;;
    esac
done
missing=
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "missing packages:$missing" >&2
        echo "hint: run as root: apt-get install$missing" >&2
        exit 1
    fi
    sudo='sudo -n'
fi
echo "installing with apt-get:$missing"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
