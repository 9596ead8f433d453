#!/bin/bash
# Shows that the vault's stories can say no: one promise of the vault's code is broken at a time, the test that
# guards it must fail. A change that changes nothing, does not compile or is not noticed is a failure of this
# script. EVERCOPY_MUTANTS='name name' takes some only. Takes minutes: make test-long.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
bin=$(cd "$1" && pwd)
cd "$here" || exit 1
passed=0 failed=0
if [ -z "${EVERCOPY_LONG:-}${EVERCOPY_MUTANTS:-}" ] || [ ! -f "$bin/tests/vault/test_story_crash.o" ]; then
    echo "SKIPPED vault-mutants: takes minutes; make test-long"
    echo "0 passed, 0 failed"
    exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/evercopy-mutants.XXXXXX")
trap 'rm -rf "$work"' EXIT

case ${bin##*/} in
san-*) san=-fsanitize=$(sed 's/^san-//; s/-/,/g' <<<"${bin##*/}") ;;
cover) san=--coverage ;;
*) san= ;;
esac
pkgs=$(sed -n 's/^PKGS *:= *//p' Makefile)
read -r -a libs <<<"-Wl,--as-needed $(pkg-config --libs $pkgs) -lmbedtls -lmbedx509 -lmbedcrypto -lpthread -lm"
read -r -a flags <<<"-std=gnu11 -D_GNU_SOURCE -fvisibility=hidden -g -O1 -w $san $(pkg-config --cflags $pkgs)"

# What the changed code says no to; empty when nobody does.
breaks() { # SOURCE SED TEST [FILTER]
    local test=$work/test
    sed -E -z "$2" "$1" >"$work/mutant.c" || return 1
    if cmp -s "$1" "$work/mutant.c"; then
        seen="'$2' changes nothing in $1: the lines it meant are gone"
        return 1
    fi
    "${CC:-gcc}" "${flags[@]}" -I"$here" -I"$bin/gen" -I"$(dirname "$1")" -c -o "$work/mutant.o" "$work/mutant.c" 2>"$work/err" ||
        { seen="it does not compile: $(grep -m 1 error "$work/err")"; return 1; }
    "${CC:-gcc}" $san -o "$test" "$bin/tests/vault/$3.o" "$work/mutant.o" "$bin"/tests/lib/*.o "$bin/libevercopy.a" \
        "${libs[@]}" -lcriterion 2>"$work/err" || { seen="it was not linked: $(tail -n 1 "$work/err")"; return 1; }
    # What the sanitizers say of a mutant does not count against the run; crashes are red too.
    EVERCOPY_LONG='' EVERCOPY_RUNS=12 EVERCOPY_STEPS=70 EVERCOPY_STATES=150 \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS='' timeout 240 "$test" --color=never ${4:+--filter "$4"} >"$work/out" 2>&1
    if ! grep -qE '^\[FAIL\]|Assertion Failed|ERROR: AddressSanitizer' "$work/out"; then
        seen="$3 did not notice"
        return 1
    fi
    seen=$(grep -m 1 -oE 'EVERCOPY_SEED=[0-9]+: .*' "$work/out" | cut -c 1-160)
}

try() { # NAME SOURCE SED TEST [FILTER]
    [ -z "${EVERCOPY_MUTANTS:-}" ] || grep -qw "$1" <<<"$EVERCOPY_MUTANTS" || return
    seen=
    local begun=$SECONDS
    if breaks "$2" "$3" "$4" "${5:-}"; then
        echo "ok $1 # $((SECONDS - begun)) s, $4: $seen"
        passed=$((passed + 1))
    else
        echo "not ok $1: $seen"
        failed=$((failed + 1))
    fi
}

v=drivers/vault/volume s=drivers/vault/store
try the_log_is_on_disk_before_the_answer $v/layer_commit.c \
    's/b->must_sync && !b->rewrite && !sys_fdatasync\(layer->log, "map", err\)/false/' test_story_crash
try the_data_is_on_disk_before_the_log $v/layer_commit.c \
    's/b->files\[i\]\.data && !sys_fdatasync\(b->files\[i\]\.f->fd, "layer", err\)/false/' test_story_crash
try all_of_a_layer_means_all $v/layer_commit.c 's/\(layer->frozen \|\| b->all\)/layer->frozen/' test_layer_crash
try a_snapshot_is_noted_behind_its_data $v/snapshot.c \
    's/( *)for \(size_t i = 0; i < c->count; i\+\+\)\n *if \(!layer_commit\(c->slots\[i\]->layer, UINT64_MAX, err\)\)\n *return false;\n *return record_all\(c, err\);/\1if (!record_all(c, err)) return false; for (size_t i = 0; i < c->count; i++) if (!layer_commit(c->slots[i]->layer, UINT64_MAX, err)) return false; return true;/' test_story_crash
try a_set_is_whole_in_all_or_none $v/recover.c 's/if \(!whole\) \{/if (false) {/' test_story_crash
try a_layer_goes_behind_its_commit $v/sealer.c \
    's/(if \(!)seal_layer\(&s, &result, err\)\)/\1(layer_drop(s.slot->layer), seal_layer(\&s, \&result, err)))/' test_story_crash
try only_what_was_born_since_is_freed $s/edit.c \
    's/&segment->list->list, before, segment->cut/\&segment->list->list, 0, segment->cut/' test_story_crash
try a_composed_source_is_pinned $v/clone.c 's/( *)snap->pins\+\+;/\1;/' test_vault
try named_packs_are_not_swept $s/family.c \
    's/if \(row && row->generation == generation\)/if (row \&\& row->generation == generation \&\& number % 2)/' test_story_crash
try a_name_is_on_disk_before_the_answer $v/names.c 's/RECORD_CREATE \? volume_sync\(v, err\) :/RECORD_CREATE ? true :/' test_story_crash
try a_change_is_asked_on_disk_before_it_is_done $v/names.c 's/!volume_sync\(v, err\) \|\| !volume_commit/!volume_commit/' test_names_crash
try an_answer_no_disk_has_is_not_repeated $v/recover.c 's/SET_CONTENT \? ANSWER_UNSURE/SET_CONTENT ? ANSWER_SURE/' test_names_crash
try a_file_knows_its_names $v/names.c 's/slot_mark\(slot, record->below, err\)/true/' test_names
try the_rest_of_a_dropped_layer_is_swept $v/recover.c 's/bool gone = str_ends\(names.names\[i\], "\.gone"\);/bool gone = false;/' test_story_crash
try the_box_has_its_name $v/vault.c 's/sync_above\(vault->box, err\)/true/' test_story_crash
try an_empty_folder_is_no_family $s/store.c 's/count \+= there;/count++;/' test_story_crash
try bytes_behind_the_end_do_not_show $v/recover.c 's/\(!clean && !tidy_tails\(v, slot, err\)\)/false/' test_story_crash

try a_commit_is_put_again_before_it_counts $s/family.c 's/if \(late && !io_put/if (false \&\& !io_put/' test_recovery 'recovery/a_commit*'
try what_overwrote_a_deleted_snapshot_is_sealed $v/keeper.c 's/bool owing = v->owing &&/bool owing = false \&\&/' test_vault 'vault/gives_back*'
try a_swapped_layer_is_on_disk_before_it_counts $v/swap.c \
    's/bool ok = layer_commit\(layer, UINT64_MAX, err\) && volume_sync\(v, err\);/bool ok = true;/' test_vault_crash 'vault_crash/a_*'
try a_set_is_kept_while_who_knows_of_it_is_closed $v/recover.c 's/if \(!whole && unknown\)/if (false)/' test_closed 'closed/a_snap*'
try a_family_goes_on_as_a_whole_or_not_at_all $v/closed.c 's/v->family_id == family &&/v->id == family \&\&/' test_closed

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
