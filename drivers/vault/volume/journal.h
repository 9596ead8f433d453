/* A volume's journal: checked records behind one another, and a state that replaces what came
 * before (FORMAT.md section 4). */
#pragma once
#include "drivers/vault/store/format.h"

struct journal;
/* Replays: first the state (NULL when there is none), then each record after it, in order. fn false
 * ends with its error. A torn tail is cut; damage before a whole record is CORRUPT. */
typedef bool journal_state_fn(void *arg, const void *state, size_t len, struct err *err);
typedef bool journal_fn(void *arg, uint8_t kind, struct cursor *payload, struct err *err);
/* folder exists; ret_clean: the last close was in order (the mark is taken away by opening). */
struct journal *journal_open(const char *folder, journal_state_fn *state, journal_fn *record,
                             void *arg, bool *ret_clean, struct err *err) MUST;
/* An empty one in a new folder; on disk, its name in the folder too, with the first sync. */
struct journal *journal_create(const char *folder, struct err *err) MUST;
/* Marks an orderly stop. */
bool journal_close(struct journal *journal, struct err *err);
void journal_free(struct journal *journal); /* as a crash would leave it */
OWN_DEFINE(journal, struct journal, journal_free);
/* Appends; durable only after journal_sync. Any thread. Returns its number by ret_number. kind 1 to
 * 255; at most 1 MiB; LIMIT when a 256th more than the limit came since the last state. */
bool journal_add(struct journal *journal, uint8_t kind, const struct bytes *payload,
                 uint64_t *ret_number, struct err *err) MUST;
/* 256 MiB unless said. */
void journal_limit(struct journal *journal, uint64_t bytes);
/* LIMIT when a record of that length does not fit below the limit: what can wait for a state asks
 * before, so that what leads to one finds room. */
bool journal_has_room(struct journal *journal, size_t bytes, struct err *err) MUST;
/* Waits until record `number` is on disk; concurrent calls share one sync. After a failed sync the
 * journal refuses everything (IO): what is on disk is not known any more. */
bool journal_sync(struct journal *journal, uint64_t number, struct err *err) MUST;
/* Replaces what was replayed so far by a state; records before it are forgotten. */
bool journal_compact(struct journal *journal, const struct bytes *state, struct err *err) MUST;
/* False with the reason (IO) when it takes nothing more. */
bool journal_is_well(struct journal *journal, struct err *err) MUST;
uint64_t journal_bytes(const struct journal *journal); /* since the last state */
