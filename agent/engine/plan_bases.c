/* The planner's judgement of one source as a recovery base. */
#include "agent/engine/planner_int.h"

#include "agent/base/str.h"
#include "agent/oracle/datafile.h"
#include <inttypes.h>

bool plan_is_static(const struct facts_file *file, const struct manifest_entry *copy)
{
    return !scn_is_none(file->stop_scn) && file->stop_scn.n != 0 &&
           !scn_less(copy->datafile.checkpoint_scn, file->stop_scn);
}

/* Number and creation can be those of a file that was there before, dropped or unplugged: then the
 * copy stands before the plug-in (oracle-semantics 28). */
static bool is_copy_of(const struct facts_file *file, const struct manifest_entry *entry)
{
    bool same = entry->datafile.creation_scn.n == file->creation_scn.n;
    bool since = !scn_less(entry->datafile.checkpoint_scn, file->plugin_scn);
    return entry->datafile.file_no == file->file_no && (same || file->plugged_in) &&
           (since || plan_is_static(file, entry));
}

/* The best copy of that datafile in a manifest: right file, good, highest checkpoint. */
const struct manifest_entry *plan_find_copy(const struct manifest *manifest,
                                            const struct facts_file *file,
                                            const struct manifest_entry **ret_other)
{
    const struct manifest_entry *best = NULL;
    *ret_other = NULL;
    for (size_t i = 0; i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        if (entry->kind != FILE_DATAFILE || !is_copy_of(file, entry))
            continue;
        if (entry->state != STATE_GOOD) {
            *ret_other = entry;
            continue;
        }
        if (!best || scn_less(best->datafile.checkpoint_scn, entry->datafile.checkpoint_scn))
            best = entry;
    }
    return best;
}

/* Some copy of the base belongs to that container: its files were there when the copies were made.
 */
static bool knows_container(const struct plan_source *from, uint32_t con_id)
{
    const struct manifest_entry *other;
    for (size_t i = 0; i < from->facts->file_count; i++)
        if (from->facts->files[i].con_id == con_id &&
            plan_find_copy(from->manifest, &from->facts->files[i], &other))
            return true;
    return false;
}

/* Redo makes only files that were created empty: none that was plugged in, or that came with a
 * whole pluggable database (oracle-semantics 18). */
static bool redo_creates(const struct plan_source *base, const struct facts_file *file)
{
    return !file->plugged_in && !file->foreign_dbid &&
           (file->con_id <= 1 || knows_container(base, file->con_id));
}

static void judge_missing(struct plan *plan, size_t source, struct plan_base *base,
                          const struct facts_file *file, const struct manifest_entry *other)
{
    char text[PLAN_TEXT_MAX];
    enum plan_verdict verdict = PLAN_FAILED;
    if (other) {
        IGNORE(str_format(text, sizeof text, "datafile %" PRIu32 ": %s: %.120s", file->file_no,
                          file_state_text(other->state), other->why));
    } else if (!redo_creates(&plan->sources[source], file)) {
        IGNORE(str_format(text, sizeof text,
                          "datafile %" PRIu32 " was plugged in or cloned and has no copy: redo "
                          "cannot create it",
                          file->file_no));
    } else if (scn_less(file->creation_scn, base->start)) {
        IGNORE(str_format(text, sizeof text, "datafile %" PRIu32 " has no copy", file->file_no));
    } else {
        verdict = PLAN_WARNING;
        IGNORE(str_format(text, sizeof text,
                          "datafile %" PRIu32 " is younger than the copies: recovery creates it",
                          file->file_no));
    }
    if (verdict == PLAN_FAILED)
        plan_worsen(base, verdict, text);
    else
        plan_note(plan, verdict, text);
}

static bool is_of_line(const struct facts *facts, uint32_t resetlogs_id)
{
    for (size_t i = 0; i < facts->incarnation_count; i++)
        if (facts->incarnations[i].resetlogs_id == resetlogs_id &&
            !str_equal(facts->incarnations[i].status, "ORPHAN"))
            return true;
    return false;
}

static void judge_copy(struct plan_base *base, const struct facts *facts,
                       const struct facts_file *file, const struct manifest_entry *copy)
{
    char text[PLAN_TEXT_MAX];
    base->datafiles++;
    /* A read-only file's header does not take part in an open resetlogs. */
    bool at_rest = plan_is_static(file, copy);
    if (copy->resetlogs_id != facts->resetlogs_id &&
        !(at_rest && is_of_line(facts, copy->resetlogs_id))) {
        IGNORE(str_format(text, sizeof text, "datafile %" PRIu32 " is of another incarnation",
                          file->file_no));
        plan_worsen(base, PLAN_UNKNOWN, text);
    }
    if (datafile_is_suspect(copy)) {
        IGNORE(str_format(text, sizeof text,
                          "datafile %" PRIu32 " holds blocks newer than its header: a merge was "
                          "interrupted",
                          file->file_no));
        plan_worsen(base, PLAN_FAILED, text);
    }
    if (at_rest) { /* needs no redo, but RMAN refuses a target below it (RMAN-06556) */
        base->earliest = scn_max(base->earliest, copy->datafile.checkpoint_scn);
        return;
    }
    struct scn earliest = datafile_earliest_target(copy);
    if (scn_is_none(earliest)) {
        IGNORE(str_format(text, sizeof text,
                          "datafile %" PRIu32 " is fuzzy and was not read block by block",
                          file->file_no));
        plan_worsen(base, PLAN_UNKNOWN, text);
    } else {
        base->earliest = scn_max(base->earliest, earliest);
    }
    base->start = scn_min(base->start, copy->datafile.checkpoint_scn);
}

static bool is_gone(const struct facts *facts, const struct facts_file *file)
{
    const struct facts_file *own = facts_file_find(facts, file->file_no);
    return !own || own->creation_scn.n != file->creation_scn.n;
}

/* What later sheets say no redo brings back: NOLOGGING changes the copies do not hold, and files
 * that were plugged in since. */
static void judge_later(const struct plan *plan, size_t source, struct plan_base *base)
{
    const struct plan_source *from = &plan->sources[source];
    const struct manifest_entry *other;
    for (size_t s = 0; s < plan->source_count; s++) {
        const struct facts *facts = plan_sheet_of(plan, s, from->facts->resetlogs_id);
        for (size_t i = 0; facts && i < facts->file_count; i++) {
            const struct facts_file *file = &facts->files[i];
            bool unlogged = scn_less(base->start, file->unrecoverable_scn) &&
                            !(s < source && is_gone(from->facts, file));
            bool fresh = s > source && (file->plugged_in || file->foreign_dbid || file->con_id > 1);
            const struct manifest_entry *copy =
                unlogged || fresh ? plan_find_copy(from->manifest, file, &other) : NULL;
            if (unlogged &&
                (!copy || scn_less(copy->datafile.checkpoint_scn, file->unrecoverable_scn)))
                base->nologging_from = scn_min(base->nologging_from, file->unrecoverable_scn);
            if (!fresh || copy || redo_creates(from, file))
                continue;
            struct scn came = file->plugin_scn.n ? file->plugin_scn : file->creation_scn;
            base->plugged_from =
                scn_min(base->plugged_from, scn_max(came, plan_facts_at(from->facts)));
        }
    }
}

static void judge_files(struct plan *plan, size_t source, struct plan_base *base)
{
    const struct facts *facts = plan->sources[source].facts;
    const struct manifest *manifest = plan->sources[source].manifest;
    const struct manifest_entry *other;
    for (size_t i = 0; i < facts->file_count; i++) {
        const struct manifest_entry *copy = plan_find_copy(manifest, &facts->files[i], &other);
        if (copy)
            judge_copy(base, facts, &facts->files[i], copy);
    }
    if (scn_is_none(base->start)) /* nothing moves: the static files are consistent as they are */
        base->start = base->earliest = scn_max(base->earliest, facts->moments[0].scn);
    for (size_t i = 0; i < facts->file_count; i++)
        if (!plan_find_copy(manifest, &facts->files[i], &other))
            judge_missing(plan, source, base, &facts->files[i], other);
}

/* A full scan of the copy knows better than the record of how its merge went. */
static void judge_suspects(const struct plan *plan, size_t source, struct plan_base *base)
{
    const struct facts *facts = plan->sources[source].facts;
    for (size_t i = 0; i < facts->suspect_count; i++) {
        const struct manifest_entry *other;
        const struct facts_file *file = facts_file_find(facts, facts->suspect_files[i]);
        const struct manifest_entry *copy =
            file ? plan_find_copy(plan->sources[source].manifest, file, &other) : NULL;
        if (!file || (copy && copy->datafile.scanned && !datafile_is_suspect(copy)))
            continue;
        char text[PLAN_TEXT_MAX];
        IGNORE(str_format(text, sizeof text,
                          "datafile %" PRIu32 ": its merge was interrupted, not a recovery base",
                          facts->suspect_files[i]));
        plan_worsen(base, PLAN_FAILED, text);
    }
}

/* Oracle's own word on start and fuzziness, against ours (oracle-semantics 3). */
static void cross_check(struct plan *plan, size_t source, struct plan_base *base)
{
    const struct facts *facts = plan->sources[source].facts;
    if (!facts->preview_start_scn.n || !str_equal(facts->phase, "post"))
        return;
    char text[PLAN_TEXT_MAX] = "";
    if (facts->preview_start_scn.n != base->start.n)
        IGNORE(str_format(text, sizeof text,
                          "RMAN starts recovery at SCN %" PRIu64 ", the headers say %" PRIu64,
                          facts->preview_start_scn.n, base->start.n));
    else if (base->earliest.n < facts->preview_fuzzy_scn.n) /* targets lie above E: beyond M */
        IGNORE(str_format(text, sizeof text,
                          "RMAN must recover beyond SCN %" PRIu64 ", the headers say %" PRIu64,
                          facts->preview_fuzzy_scn.n, base->earliest.n));
    if (!text[0])
        return;
    plan_worsen(base, PLAN_FAILED, text);
    plan_note(plan, PLAN_FAILED, text);
}

/* Which files they are in, the storage alone knows: perhaps in none that a recovery needs. So the
 * snapshot serves, and proves nothing. A scan of all blocks names the files and outranks it. */
bool plan_doubt(const struct plan_source *source, char ret[PLAN_TEXT_MAX])
{
    if (source->bad_blocks == 0 || source->manifest->blocks_scanned)
        return false;
    IGNORE(str_format(ret, PLAN_TEXT_MAX, "the storage found %" PRIu64 " bad block%s in it",
                      source->bad_blocks, source->bad_blocks == 1 ? "" : "s"));
    return true;
}

/* No target above `limit`, whatever the logs say. */
static void limit_base(struct plan *plan, struct plan_base *base, struct scn limit, const char *why)
{
    char text[PLAN_TEXT_MAX];
    if (scn_is_none(limit))
        return;
    IGNORE(str_format(text, sizeof text, why, limit.n));
    plan_note(plan, PLAN_WARNING, text);
    if (scn_less(limit, base->latest))
        IGNORE(str_copy(base->broken, sizeof base->broken, text));
    base->latest_own = scn_min(base->latest_own, limit);
    base->latest = scn_min(base->latest, limit);
    base->latest_arrived = scn_min(base->latest_arrived, limit);
}

static const struct facts_incarnation *find_incarnation(const struct facts *facts, uint32_t number)
{
    for (size_t i = 0; i < facts->incarnation_count; i++)
        if (facts->incarnations[i].number == number)
            return &facts->incarnations[i];
    return NULL;
}

/* Where the database's own line left that incarnation: SCN_NONE while it is the current one, 0 when
 * it is none of its ancestors. */
static struct scn line_end(const struct plan *plan, uint32_t resetlogs_id)
{
    const struct facts *facts = NULL;
    struct err why = {0};
    for (size_t i = plan->source_count; i-- > 0 && !facts;)
        if (plan->sources[i].facts && facts_are_complete(plan->sources[i].facts, &why))
            facts = plan->sources[i].facts;
    if (!facts || facts->resetlogs_id == resetlogs_id)
        return SCN_NONE;
    const struct facts_incarnation *child = NULL;
    for (size_t i = 0; i < facts->incarnation_count; i++)
        if (facts->incarnations[i].resetlogs_id == facts->resetlogs_id)
            child = &facts->incarnations[i];
    for (size_t i = 0; child && i < facts->incarnation_count; i++) {
        const struct facts_incarnation *parent = find_incarnation(facts, child->prior);
        if (parent && parent->resetlogs_id == resetlogs_id)
            return child->resetlogs_scn;
        child = parent;
    }
    return (struct scn){0};
}

static void judge_chain(struct plan *plan, size_t source, struct plan_base *base)
{
    char broken[PLAN_TEXT_MAX] = "";
    uint32_t count;
    struct scn left = line_end(plan, plan->sources[source].facts->resetlogs_id);
    base->latest_own = plan_latest_of(plan, source, REACH_OWN, &base->logs, base->broken);
    base->latest = base->latest_own;
    base->latest_arrived = base->latest_own;
    if (plan->can_compose) {
        base->latest = plan_latest_of(plan, source, REACH_PROTECTED, &count, base->broken);
        base->latest_arrived = plan_latest_of(plan, source, REACH_ARRIVED, &count, broken);
    }
    limit_base(plan, base, base->nologging_from,
               "NOLOGGING changes from SCN %" PRIu64
               " on are in no log: targets above need a later copy");
    limit_base(plan, base, base->plugged_from,
               "a datafile was plugged in or cloned at SCN %" PRIu64
               ": targets above need a copy of it");
    if (left.n == 0)
        plan_worsen(base, PLAN_FAILED, "its incarnation is not an ancestor of the current one");
    else
        limit_base(plan, base, left,
                   "the database was opened with resetlogs at SCN %" PRIu64
                   ": targets above need a later copy");
    if (!scn_less(base->earliest, base->latest))
        plan_worsen(base, PLAN_WARNING,
                    base->broken[0] ? base->broken : "no log reaches beyond the copies");
}

/* The control file piece of the snapshot that gives the datafiles; for a "pre", the one of the run
 * before, which the area still holds (oracle-semantics 13). */
const char *plan_find_controlfile(const struct plan *plan, size_t base)
{
    const struct manifest *manifest = plan->sources[base].manifest;
    for (size_t i = base + 1; i-- > 0;) {
        const struct facts *facts = plan_sheet_of(plan, i, plan->sources[base].facts->resetlogs_id);
        for (size_t e = 0; facts && facts->controlfile_piece[0] && e < manifest->count; e++)
            if (manifest->entries[e].kind == FILE_BACKUP_PIECE &&
                manifest->entries[e].state == STATE_GOOD &&
                str_equal(manifest->entries[e].path, facts->controlfile_piece))
                return facts->controlfile_piece;
    }
    return NULL;
}

void plan_judge_base(struct plan *plan, size_t source)
{
    const struct plan_source *from = &plan->sources[source];
    struct plan_base *base = &plan->bases[source];
    struct err why = {0};
    char doubt[PLAN_TEXT_MAX];
    *base =
        (struct plan_base){.start = SCN_NONE, .nologging_from = SCN_NONE, .plugged_from = SCN_NONE};
    if (!from->facts) {
        plan_worsen(base, PLAN_UNKNOWN, "no fact sheet: the list of files is not known");
        return;
    }
    if (!facts_are_complete(from->facts, &why)) {
        plan_worsen(base, PLAN_UNKNOWN, why.text);
        return;
    }
    judge_files(plan, source, base);
    judge_later(plan, source, base);
    judge_suspects(plan, source, base);
    if (from->mid_merge)
        plan_worsen(base, PLAN_FAILED, "taken in the midst of a merge, not a recovery base");
    if (!plan_find_controlfile(plan, source))
        plan_worsen(base, PLAN_FAILED, "it holds no control file backup");
    cross_check(plan, source, base);
    if (plan_doubt(from, doubt))
        plan_worsen(base, PLAN_WARNING, doubt);
    judge_chain(plan, source, base);
}

void plan_tell_times(struct plan *plan)
{
    for (size_t i = 0; i < plan->source_count; i++) {
        struct plan_base *base = &plan->bases[i];
        base->earliest_us = plan_time_of(plan, base->earliest);
        base->latest_own_us = plan_time_of(plan, base->latest_own);
        base->latest_us = plan_time_of(plan, base->latest);
        base->latest_arrived_us = plan_time_of(plan, base->latest_arrived);
    }
}
