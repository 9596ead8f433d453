/* evercopy.v1.Snapshots.VerifySnapshot: what the bytes say now, against what they said when taken.
 */
#include "agent/service/ask.h"

#include "agent/base/str.h"
#include "agent/engine/planner.h"
#include "agent/engine/survey.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <inttypes.h>
#include <string.h>

enum { FINDINGS_MAX = 200 };

struct verifying {
    const struct config_served *db;
    struct manifest *kept, *now;
    uint64_t bad_blocks;
    char name[DRIVER_NAME_MAX];
};

static void verifying_free(void *state)
{
    struct verifying *v = state;
    manifest_free(v->kept);
    manifest_free(v->now);
    own_free(v);
}

static void run_verify(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct verifying *v = ask->state;
    AUTO(area)
    struct area *area = driver_area_until(world_driver(ask_world(ask), v->db), v->db->volume,
                                          v->name, NULL, ask_is_over, ask, &ask->err);
    struct survey_options options = {.scan_blocks = v->kept->blocks_scanned,
                                     .whole = true,
                                     .cancelled = ask_is_over,
                                     .arg = ask};
    if (area)
        v->now = survey_area(area, &options, &ask->err);
}

/* What judging by dbid and incarnation made of a state is not in the bytes. */
static bool same_state(const struct manifest_entry *kept, const struct manifest_entry *now)
{
    return kept->state == now->state ||
           ((kept->state == STATE_FOREIGN || kept->state == STATE_OTHER_INCARNATION) &&
            now->state == STATE_GOOD);
}

static const char *difference(const struct manifest_entry *kept, const struct manifest_entry *now)
{
    if (kept->size != now->size)
        return "another size";
    if (kept->kind != now->kind)
        return file_kind_text(now->kind);
    if (!same_state(kept, now))
        return now->why[0] ? now->why : file_state_text(now->state);
    if (kept->dbid != now->dbid || kept->resetlogs_id != now->resetlogs_id)
        return "another database or incarnation";
    if (kept->kind == FILE_DATAFILE &&
        (kept->datafile.file_no != now->datafile.file_no ||
         kept->datafile.checkpoint_scn.n != now->datafile.checkpoint_scn.n ||
         kept->datafile.blocks_bad != now->datafile.blocks_bad ||
         kept->datafile.highest_block_scn.n != now->datafile.highest_block_scn.n))
        return "another header or other blocks";
    if (kept->kind == FILE_ARCHIVED_LOG &&
        (kept->log.sequence != now->log.sequence || kept->log.first_scn.n != now->log.first_scn.n ||
         kept->log.next_scn.n != now->log.next_scn.n))
        return "another log";
    return NULL;
}

static void find(struct ask *ask, Evercopy__V1__VerifySnapshotReply *reply, const char *path,
                 const char *what)
{
    char text[500];
    reply->verdict = EVERCOPY__V1__VERDICT__VERDICT_FAILED;
    if (reply->n_findings == FINDINGS_MAX)
        return;
    IGNORE(!str_format(text, sizeof text, "%.300s: %.180s", path, what));
    reply->findings[reply->n_findings++] = ask_text(ask, text);
}

/* Both are sorted by path. */
static void compare(struct ask *ask, const struct verifying *v,
                    Evercopy__V1__VerifySnapshotReply *reply)
{
    size_t a = 0;
    size_t b = 0;
    reply->verdict = EVERCOPY__V1__VERDICT__VERDICT_OK;
    reply->files = (uint32_t)v->now->count;
    reply->findings = ask_alloc(ask, sizeof(char *) * FINDINGS_MAX);
    while (reply->findings && (a < v->kept->count || b < v->now->count)) {
        const struct manifest_entry *kept = a < v->kept->count ? &v->kept->entries[a] : NULL;
        const struct manifest_entry *now = b < v->now->count ? &v->now->entries[b] : NULL;
        int order = !kept ? 1 : !now ? -1 : strcmp(kept->path, now->path);
        if (order < 0 && kept)
            find(ask, reply, kept->path, "is gone");
        else if (order > 0 && now)
            find(ask, reply, now->path, "was not there");
        else if (kept && now && difference(kept, now))
            find(ask, reply, kept->path, difference(kept, now));
        a += order <= 0;
        b += order >= 0;
    }
}

/* Headers that are as they were prove no block that the storage found damaged. */
static void doubt(struct ask *ask, const struct verifying *v,
                  Evercopy__V1__VerifySnapshotReply *reply)
{
    struct plan_source source = {.manifest = v->now, .bad_blocks = v->bad_blocks};
    char text[PLAN_TEXT_MAX];
    if (reply->findings && plan_doubt(&source, text))
        find(ask, reply, v->name, text);
}

static bool find_bad_blocks(struct ask *ask, const char *database, struct verifying *v)
{
    size_t count;
    AUTO(mem)
    struct catalog_snapshot *rows =
        catalog_snapshot_list(ask_catalog(ask), database, &count, &ask->err);
    for (size_t i = 0; rows && i < count; i++)
        if (str_equal(rows[i].name, v->name))
            v->bad_blocks = rows[i].bad_blocks;
    return rows != NULL;
}

static void verified(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct verifying *v = ask->state;
    Evercopy__V1__VerifySnapshotReply *reply = ask_alloc(ask, sizeof *reply);
    if (reply && v->now && ask->err.code == ERR_NONE) {
        evercopy__v1__verify_snapshot_reply__init(reply);
        manifest_sort(v->kept);
        manifest_sort(v->now);
        compare(ask, v, reply);
        doubt(ask, v, reply);
        ask->reply = &reply->base;
    }
    ask_answer(ask);
}

void snapshots_verify(struct ask *ask)
{
    const Evercopy__V1__VerifySnapshotRequest *request = (const void *)ask->request;
    const struct config_served *db = ask_database(ask, request->db_unique_name);
    AUTO(mem) char *manifest = NULL;
    AUTO(mem) char *facts = NULL;
    struct verifying *v = db ? own_alloc(sizeof *v, &ask->err) : NULL;
    ask->state = v;
    ask->state_free = v ? verifying_free : NULL;
    if (v && catalog_snapshot_texts(ask_catalog(ask), db->name, request->snapshot, &manifest,
                                    &facts, &ask->err))
        v->kept = manifest_from_json(manifest, strlen(manifest), &ask->err);
    if (v)
        IGNORE(!str_copy(v->name, sizeof v->name, request->snapshot));
    if (!v || !v->kept || !find_bad_blocks(ask, db->name, v)) {
        ask_answer(ask);
        return;
    }
    v->db = db;
    ask->read = (struct work){
        .run = run_verify, .done = verified, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}
