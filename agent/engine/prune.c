/* Pruning of the live area: logs and pieces that snapshots hold and nothing live needs. */
#include "agent/engine/prune.h"

#include "agent/base/str.h"

#define DAY_US (UINT64_C(86400) * 1000000u)
enum { HOLDERS = 2 };

void prune_done(struct prune *prune)
{
    own_free(prune->logs);
    own_free(prune->pieces);
    *prune = (struct prune){0};
}

static bool stays_proven(const struct keep *keep, size_t i)
{
    return retention_keeps(keep->decision, i) && retention_is_proven(keep->decision, i);
}

static bool same_log(const struct manifest_entry *a, const struct manifest_entry *b)
{
    return a->kind == b->kind && b->state == STATE_GOOD && a->dbid == b->dbid &&
           a->resetlogs_id == b->resetlogs_id && a->log.thread == b->log.thread &&
           a->log.sequence == b->log.sequence && a->log.first_scn.n == b->log.first_scn.n &&
           a->log.next_scn.n == b->log.next_scn.n && a->size == b->size;
}

static bool same_piece(const struct manifest_entry *a, const struct manifest_entry *b)
{
    return a->kind == b->kind && b->state == STATE_GOOD && str_equal(a->path, b->path) &&
           a->size == b->size && a->mtime_us == b->mtime_us;
}

/* How many proven snapshots that stay hold the same file. */
static size_t holders(const struct keep *keep, const struct manifest_entry *entry,
                      bool (*same)(const struct manifest_entry *a, const struct manifest_entry *b))
{
    size_t found = 0;
    for (size_t i = 0; i < keep->outlook->snapshot_count; i++) {
        const struct manifest *m = keep->outlook->manifests[i];
        bool here = false;
        for (size_t e = 0; !here && stays_proven(keep, i) && e < m->count; e++)
            here = same(entry, &m->entries[e]);
        found += here;
    }
    return found;
}

/* The log's own time is the database host's word; the area's is the storage's. The later counts. */
static bool is_old(const struct keep *keep, const struct manifest_entry *log, uint64_t days,
                   uint64_t now_us)
{
    uint64_t at_us = plan_time_of(keep->outlook->plan, log->log.next_scn);
    at_us = log->mtime_us > at_us ? log->mtime_us : at_us;
    return at_us + days * DAY_US <= now_us;
}

bool prune_choose(const struct keep *keep, const struct manifest *live, uint64_t days,
                  uint64_t now_us, struct prune *ret, struct err *err)
{
    *ret = (struct prune){0};
    ret->logs = own_alloc(sizeof(void *) * (live->count + 1), err);
    ret->pieces = own_alloc(sizeof(void *) * (live->count + 1), err);
    if (!ret->logs || !ret->pieces)
        return false;
    size_t base = plan_newest_base(keep->outlook->plan);
    if (base == SIZE_MAX)
        return true;
    struct scn needed = plan_base(keep->outlook->plan, base)->start;
    for (size_t i = 0; i < live->count; i++) {
        const struct manifest_entry *entry = &live->entries[i];
        if (entry->state != STATE_GOOD)
            continue;
        if (entry->kind == FILE_BACKUP_PIECE && holders(keep, entry, same_piece))
            ret->pieces[ret->piece_count++] = entry;
        if (entry->kind != FILE_ARCHIVED_LOG || scn_less(needed, entry->log.next_scn) ||
            !is_old(keep, entry, days, now_us))
            continue;
        if (holders(keep, entry, same_log) >= HOLDERS)
            ret->logs[ret->log_count++] = entry;
        else
            ret->kept_back++;
    }
    return true;
}
