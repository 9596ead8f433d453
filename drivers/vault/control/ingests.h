/* Ingests under way: each a thread, asked for by name and polled by a handle. */
#pragma once
#include "drivers/vault/ingest/ingest.h"

struct ingests;
/* box: the vault's folder; NULL: ingests are UNSUPPORTED. vault is borrowed. */
struct ingests *ingests_new(struct vault *vault, const char *box, struct err *err) MUST;
/* What runs ends soon, CANCELLED; nothing new begins. */
void ingests_stop(struct ingests *ingests);
/* Stops and waits. NULL is fine. */
void ingests_free(struct ingests *ingests);
OWN_DEFINE(ingests, struct ingests, ingests_free);

enum { INGEST_HANDLE_MAX = 40 };
struct ingest_ask {
    const char *const *volumes, *const *sources; /* paths or URLs; as many */
    size_t count;
    const char *name; /* of the snapshot */
    unsigned tries;
    bool allow_empty, distrust;
    bool by_volume; /* each volume's source is the folder of its name below */
};
/* Begins; the same asked again while it runs is the same one. EXISTS when a volume has a snapshot
 * of that name, BUSY when 16 run. The handle is made of the names alone: any later vault knows it.
 */
bool ingests_begin(struct ingests *ingests, const struct ingest_ask *ask,
                   char ret_handle[INGEST_HANDLE_MAX], struct err *err) MUST;
/* Waits at most timeout_ms; its own error when it failed. Of one that this vault never ran the
 * snapshot tells: done, or UNAVAILABLE. fn is told the reports of one that is done, while they are
 * known. */
typedef bool ingests_tell(void *arg, const struct ingest_report *reports, size_t count,
                          struct err *err);
bool ingests_poll(struct ingests *ingests, const char *handle, uint64_t timeout_ms, bool *ret_done,
                  ingests_tell *fn, void *arg, struct err *err) MUST;
