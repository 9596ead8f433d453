#!/bin/bash
# A broken block in a copy that only its header vouches for: the vault meets it when it seals the snapshot, and
# log, stat and agent tell of it until the block was copied anew.
# shellcheck source=tests/lib/world.sh disable=SC2154
. "$(dirname "$0")/../lib/world.sh"
world_plain "$@"
world_vault ORCL
world_verify=headers world_agent ORCL
database ORCL
backup ORCL || world_fail "backup: $(head -n 1 "$err")"
work ORCL # so that the next run brings pieces, whose blocks are no datafile's
backup ORCL || world_fail "second backup: $(head -n 1 "$err")"

bad=
vaultd() { timeout 60 "$bin/evercopy-vaultd" --config "$work/vault/vaultd.conf" "$@"; }

# Turns one bit of a used block of the first datafile, and says "path block"; once more: back again.
turn_a_bit() {
    python3 - "$work/vault/sock" <<'PY'
import json, socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
def ask(head, data=b''):
    h = json.dumps(head).encode()
    s.sendall(struct.pack('<II', len(h), len(data)) + h + data)
    n, m = struct.unpack('<II', s.recv(8, socket.MSG_WAITALL))
    answer = json.loads(s.recv(n, socket.MSG_WAITALL)) if n else {}
    answer['data'] = s.recv(m, socket.MSG_WAITALL) if m else b''
    if 'error' in answer: sys.exit(answer['text'])
    return answer
ask({'op': 'hello', 'version': 1})
view = ask({'op': 'view.open', 'volume': 'ORCL'})['view']
def files(folder, path):
    for e in sorted(ask({'op': 'file.list', 'view': view, 'folder': folder, 'cookie': 0})['entries'], key=lambda e: e['name']):
        if e['kind'] == 2: yield from files(e['file'], path + e['name'] + '/')
        elif e['kind'] == 1: yield e['file'], path + e['name']
def read(file, block): return ask({'op': 'file.read', 'view': view, 'file': file, 'offset': block << 13, 'size': 8192})['data']
root = ask({'op': 'file.find', 'view': view, 'path': ''})['file']
for file, path in files(root, ''):
    if read(file, 0)[:2] != b'\0\xa2' or read(file, 1)[:1] != b'\x0b': continue
    for block in range(2, 300):
        bytes_ = bytearray(read(file, block))
        if bytes_[:1] == b'\x06':
            bytes_[4000] ^= 1
            ask({'op': 'file.write', 'view': view, 'file': file, 'offset': block << 13, 'stable': True}, bytes(bytes_))
            print(path, block)
            sys.exit()
sys.exit('no used block')
PY
}
newest() { shim operator snapshots ORCL --json >/dev/null && ask "$out" "d['snapshots'][-1]['name']"; }
verdict_of() { shim operator snapshots ORCL --json >/dev/null && ask "$out" "[s['verdict'] for s in d['snapshots'] if s['name']=='$1'][0]"; }
is_warned() { [ "$(verdict_of "$1")" = warning ]; }
is_sealed() { shim operator snapshots ORCL --json >/dev/null && [ "$(ask "$out" "d['snapshots'][-1]['durability']")" = sealed ]; }
take() { shim operator snapshot create ORCL && within 30 is_sealed; }

sound_copies_are_proven() {
    within 30 is_sealed && shim operator status ORCL && says "$out" '^ok +ORCL' && ! grep -q 'block check' "$work/vault/log"
}
a_snapshot_with_a_broken_block_is_told_by_the_vault() {
    read -r path block <<<"$(turn_a_bit)"
    take || { saw "snapshot: $(head -n 1 "$err")"; return 1; }
    bad=$(newest)
    says "$work/vault/log" "error the block check refused records volume=ORCL snapshot=$bad .*count=1 path=$path record=$block reason=block $block: checksum wrong" &&
        { vaultd stat ORCL "$bad" >"$out" 2>"$err"; code=$?; exits 1; } &&
        says "$out" "^refused volume='ORCL' snapshot='$bad' path='$path' offset=$((block * 8192)) bytes=8192: block $block: checksum wrong$" &&
        says "$out" "^snapshot volume='ORCL' snapshot='$bad' .*refused=1$"
}
and_proves_nothing_to_the_agent() {
    within 30 is_warned "$bad" || { saw "its verdict is $(verdict_of "$bad")"; return 1; }
    says "$work/agent.log" "error the storage found bad blocks db=ORCL snapshot=$bad count=1" || return 1
    shim operator snapshots ORCL && says "$out" "$bad.*" && says "$out" 'the storage found 1 bad block in it' || return 1
    shim operator status ORCL
    says "$out" 'WARNING' && says "$out" "snapshot '$bad': the storage found 1 bad block in it" && says "$out" 'evercopy-vaultd stat' || return 1
    shim operator check ORCL
    exits 1 && says "$out" 'bad block' || return 1
    shim operator snapshot verify ORCL "$bad"
    says "$out" 'the storage found 1 bad block in it'
}
a_later_snapshot_that_still_has_it_says_so() {
    take || { saw "snapshot: $(head -n 1 "$err")"; return 1; }
    within 30 is_warned "$(newest)" || saw "its verdict is $(verdict_of "$(newest)")"
}
once_it_is_copied_anew_nobody_speaks_of_it() {
    turn_a_bit >"$work/turned" && take || { saw "snapshot: $(head -n 1 "$err")"; return 1; }
    shim operator status ORCL
    says "$out" '^ok +ORCL' && same "$(verdict_of "$(newest)")" ok verdicts && same "$(verdict_of "$bad")" warning verdicts
}

{
    try sound_copies_are_proven
    try a_snapshot_with_a_broken_block_is_told_by_the_vault
    try and_proves_nothing_to_the_agent
    try a_later_snapshot_that_still_has_it_says_so
    try once_it_is_copied_anew_nobody_speaks_of_it
} >"$work/said"
cat "$work/said"
vault_stop
world_end
