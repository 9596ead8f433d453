/* Ingest: list, tidy, take each file, snapshot, and then let the fingerprints count. */
#include "drivers/vault/ingest/ingest.h"

#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/ingest/ingest_int.h"
#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 100000 };

void ingest_report_done(struct ingest_report *report)
{
    for (size_t i = 0; i < report->note_count; i++)
        own_free(report->notes[i].path);
    report->note_count = 0;
}

void ingest_report_free(struct ingest_report *report)
{
    if (!report)
        return;
    ingest_report_done(report);
    own_free(report);
}

bool ingest_is_cancelled(const struct ingest *in, struct err *err)
{
    if (!in->options->cancelled || !in->options->cancelled(in->options->arg))
        return false;
    IGNORE(err_set(err, ERR_CANCELLED, "the ingest was cancelled"));
    return true;
}

bool ingest_note(struct ingest *in, enum ingest_why why, const char *path, struct err *err)
{
    struct ingest_report *report = in->report;
    if (report->note_count == INGEST_NOTES_MAX)
        return true;
    char *copy = own_strdup(path, err);
    if (copy)
        report->notes[report->note_count++] = (struct ingest_note){why, copy};
    return copy;
}

static void ingest_done(struct ingest *in)
{
    reader_free(in->reader);
    fingers_close(in->fingers);
    view_close(in->view);
    area_list_done(&in->list);
    own_free(in->touches);
    own_free(in->fresh);
    own_free(in->mine);
}

struct ingests {
    struct ingest rows[INGEST_SET_MAX];
    size_t count;
};

static void ingests_done(struct ingests *all)
{
    for (size_t i = 0; i < all->count; i++)
        ingest_done(&all->rows[i]);
}
OWN_DEFINE_INPLACE(ingests, struct ingests, ingests_done);

/* ---- before ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool sweep_volumes(struct vault *vault, const char *folder, struct err *err)
{
    size_t count = 0;
    AUTO(mem) struct vault_volume_info *infos = vault_volume_list(vault, &count, err);
    AUTO(mem) uint64_t *ids = infos ? own_alloc((count + 1) * sizeof *ids, err) : NULL;
    if (!ids)
        return false;
    for (size_t i = 0; i < count; i++)
        ids[i] = infos[i].id;
    qsort(ids, count, sizeof *ids, by_number);
    return fingers_sweep_volumes(folder, ids, count, err);
}

static bool find_snapshot(struct vault *vault, const char *volume, const char *name,
                          struct vault_snapshot_info *ret, bool wanted, struct err *err)
{
    size_t count = 0;
    bool found = false;
    AUTO(mem) struct vault_snapshot_info *rows = vault_snapshot_list(vault, volume, &count, err);
    for (size_t i = 0; rows && i < count && !found; i++) {
        found = str_equal(rows[i].name, name);
        if (found)
            *ret = rows[i];
    }
    if (!rows || found == wanted)
        return rows;
    return err_set(err, wanted ? ERR_NOT_FOUND : ERR_EXISTS, "snapshot '%s' %s", name,
                   wanted ? "has gone" : "is there");
}

static bool begin(struct ingest *in, struct vault *vault, const char *volume, struct err *err)
{
    in->view = view_open(vault, volume, NULL, NULL, err);
    if (!in->view || !view_claim(in->view, err))
        return false;
    in->mine = own_alloc(READER_PIECE, err);
    in->reader = in->mine ? reader_new(err) : NULL;
    in->fingers =
        in->reader ? fingers_open(in->options->folder, view_volume_id(in->view), err) : NULL;
    if (!in->fingers || !sweep_volumes(vault, in->options->folder, err))
        return false;
    in->touches = view_touches(in->view, &in->touch_count, err);
    return in->touches;
}

static bool drop_misfits(struct ingest *in, struct err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < in->list.odd_count; i++)
        if (!ingest_note(in, INGEST_ODD, in->list.odd[i], err))
            return false;
    in->report->odd = in->list.odd_count;
    for (size_t i = 0; i < in->list.count; i++) {
        struct area_file file = in->list.files[i];
        if (names_fit(file.path)) {
            in->list.files[kept++] = file;
            continue;
        }
        in->report->odd++;
        bool ok = ingest_note(in, INGEST_ODD, file.path, err);
        own_free(file.path);
        in->list.files[i].path = NULL;
        if (!ok)
            return false;
    }
    in->list.count = kept;
    return true;
}

static bool list_source(struct ingest *in, struct err *err)
{
    if (!area_list(in->source, FILES_MAX, &in->list, err) || !drop_misfits(in, err))
        return false;
    return in->list.count > 0 || in->touch_count <= 1 || in->options->allow_empty ||
           err_set(err, ERR_PRECONDITION,
                   "the source is empty, the volume is not; hint: is the source mounted?");
}

/* ---- after ---- */

static bool live_files(const struct view_touch *rows, size_t count, struct fingers *fingers,
                       struct err *err)
{
    AUTO(mem) uint64_t *files = own_alloc((count + 1) * sizeof *files, err);
    for (size_t i = 0; files && i < count; i++)
        files[i] = rows[i].file;
    return files && fingers_sweep(fingers, files, count, err);
}

/* Nothing else than ours happened to the files until the snapshot: the claim saw to it. */
static bool keep_prints(struct ingest *in, const struct vault_snapshot_info *snapshot,
                        struct err *err)
{
    for (size_t i = 0; i < in->fresh_count; i++) {
        const struct ingest_fresh *fresh = &in->fresh[i];
        struct fingers_of of = {view_volume_id(in->view), fresh->file,
                                fresh->generation,        fresh->size,
                                snapshot->sequence,       snapshot->id};
        if (!fingers_keep(in->fingers, &of, err))
            return false;
    }
    size_t count = 0;
    AUTO(mem) struct view_touch *rows = view_touches(in->view, &count, err);
    return rows && live_files(rows, count, in->fingers, err);
}

/* The live area becomes what the source shows. */
static bool take_all(struct ingest *in, struct vault *vault, const struct ingest_one *one,
                     const char *name, struct err *err)
{
    struct vault_snapshot_info none;
    if (!find_snapshot(vault, one->volume, name, &none, false, err) ||
        !begin(in, vault, one->volume, err) || !list_source(in, err) || !names_tidy(in, err))
        return false;
    for (size_t i = 0; i < in->list.count; i++)
        if (!content_take(in, &in->list.files[i], err))
            return err_wrap(err, "file '%.200s'", in->list.files[i].path);
    return true;
}

static bool after(struct ingest *in, struct vault *vault, const char *volume, const char *name,
                  struct err *err)
{
    struct vault_snapshot_info snapshot = {0};
    if (!find_snapshot(vault, volume, name, &snapshot, true, err))
        return false;
    in->report->sequence = snapshot.sequence;
    in->report->snapshot_id = snapshot.id;
    /* The snapshot is whole without them: fingerprints that are missing cost time, nothing else. */
    struct err lost = {0};
    IGNORE(keep_prints(in, &snapshot, &lost));
    return true;
}

bool vault_ingest(struct vault *vault, const struct ingest_one *ones, size_t count,
                  const char *name, const struct ingest_options *options, struct err *err)
{
    AUTO(ingests) struct ingests all = {0};
    const char *volumes[INGEST_SET_MAX];
    if (count == 0 || count > INGEST_SET_MAX)
        return err_set(err, ERR_INVALID, "an ingest takes 1 to %d volumes", INGEST_SET_MAX);
    for (; all.count < count; all.count++) {
        struct ingest *in = &all.rows[all.count];
        const struct ingest_one *one = &ones[all.count];
        *in = (struct ingest){.options = options, .source = one->source, .report = one->report};
        volumes[all.count] = one->volume;
    }
    for (size_t i = 0; i < count; i++)
        if (!take_all(&all.rows[i], vault, &ones[i], name, err))
            return err_wrap(err, "ingest of '%s'", volumes[i]);
    if (ingest_is_cancelled(&all.rows[0], err) ||
        !vault_snapshot_create(vault, volumes, count, name, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!after(&all.rows[i], vault, volumes[i], name, err))
            return false;
    return true;
}

struct area *ingest_source(const char *source, const char *below, struct err *err)
{
    if (str_starts(source, "nfs://"))
        return area_nfs_open(source, below, NULL, err);
    if (source[0] != '/') {
        err_set(err, ERR_INVALID, "source '%.200s' is neither an absolute path nor nfs://", source);
        return NULL;
    }
    AUTO(mem) char *path = own_printf(err, "%s%s%s", source, below ? "/" : "", below ? below : "");
    return path ? area_open_path(path, err) : NULL;
}
