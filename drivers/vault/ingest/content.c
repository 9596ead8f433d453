/* Content: a file is read once; records that differ from what the volume has are written. */
#include "agent/base/str.h"
#include "drivers/vault/ingest/ingest_int.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE_RECORDS = READER_PIECE / RECORD_BYTES, TRIES = 3, TRIES_MAX = 100, BUSY_MAX = 40 };

static const struct view_caller nobody;

/* A file under way. */
struct taking {
    struct ingest *in;
    const struct area_file *source;
    struct area_handle *handle;
    struct view_file file;     /* the volume's, as it is now */
    uint64_t size, mtime_us;   /* of the source, before the pass */
    bool trusted;              /* what is known stands for what the volume has */
    bool written, reprinted;   /* in any pass; and the fingerprints changed */
    struct fingers_pass *pass; /* this one's */
};

/* A piece under way: which of its records are to be written. */
struct weighed {
    const uint8_t *bytes;
    size_t len, records;
    uint64_t offset;
    struct fingerprint prints[PIECE_RECORDS], known[PIECE_RECORDS];
    size_t known_count;
    bool differs[PIECE_RECORDS];
};

/* ---- is what is known right? ---- */

static int by_file(const void *key, const void *row)
{
    uint64_t file = *(const uint64_t *)key, other = ((const struct view_touch *)row)->file;
    return file < other ? -1 : file > other;
}

/* Kept fingerprints count when no layer after their snapshot changed the file. */
static bool may_trust(const struct ingest *in, const struct view_file *file)
{
    struct fingers_of of;
    const struct view_touch *touch =
        in->touch_count
            ? bsearch(&file->file, in->touches, in->touch_count, sizeof *in->touches, by_file)
            : NULL;
    return !in->options->distrust && touch && touch->generation == file->generation &&
           fingers_find(in->fingers, file->file, &of) && of.generation == file->generation &&
           of.size == file->size && touch->sequence <= of.sequence;
}

/* ---- weighing ---- */

static void print_records(const struct taking *t, struct weighed *w)
{
    for (size_t i = 0; i < w->records; i++) {
        size_t left = w->len - i * RECORD_BYTES;
        if (left >= RECORD_BYTES) {
            fingers_print(t->in->fingers, w->bytes + i * RECORD_BYTES, &w->prints[i]);
            continue;
        }
        uint8_t last[RECORD_BYTES] = {0};
        memcpy(last, w->bytes + i * RECORD_BYTES, left);
        fingers_print(t->in->fingers, last, &w->prints[i]);
    }
}

static size_t record_len(const struct weighed *w, size_t i)
{
    size_t left = w->len - i * RECORD_BYTES;
    return left < RECORD_BYTES ? left : RECORD_BYTES;
}

/* Against the volume's own bytes; what lies behind its end is zeros once it grows over it. */
static bool compare(struct taking *t, struct weighed *w, struct err *err)
{
    uint8_t *mine = t->in->mine;
    ssize_t got = view_read(t->in->view, t->file.file, mine, w->len, w->offset, err);
    if (got < 0)
        return false;
    memset(mine + got, 0, w->len - (size_t)got);
    for (size_t i = w->known_count; i < w->records; i++)
        w->differs[i] =
            memcmp(mine + i * RECORD_BYTES, w->bytes + i * RECORD_BYTES, record_len(w, i)) != 0;
    if (w->offset < t->file.size)
        t->in->report->records_compared += w->records - w->known_count;
    return true;
}

static bool weigh(struct taking *t, struct weighed *w, struct err *err)
{
    print_records(t, w);
    if (!fingers_known(t->pass, w->known, w->records, &w->known_count, err) ||
        !fingers_seen(t->pass, w->prints, w->records, err))
        return false;
    for (size_t i = 0; i < w->known_count; i++) {
        w->differs[i] = !fingerprint_equal(&w->known[i], &w->prints[i]);
        t->reprinted = t->reprinted || w->differs[i];
    }
    t->reprinted = t->reprinted || w->known_count < w->records;
    return w->known_count == w->records || compare(t, w, err);
}

/* ---- writing ---- */

/* A box or a store that cannot keep up is waited for, as long as a person would. */
static bool write_run(struct taking *t, const uint8_t *bytes, size_t len, uint64_t offset,
                      struct err *err)
{
    for (unsigned busy = 0;; busy++) {
        struct err own = {0};
        if (view_write(t->in->view, t->file.file, bytes, len, offset, false, NULL, &own))
            return true;
        if (own.code != ERR_BUSY || busy == BUSY_MAX) {
            *err = own;
            return false;
        }
        if (ingest_is_cancelled(t->in, err))
            return false;
    }
}

static bool write_differing(struct taking *t, const struct weighed *w, struct err *err)
{
    for (size_t i = 0, end = 0; i < w->records; i = end + 1) {
        for (end = i; end < w->records && w->differs[end];)
            end++;
        if (end == i)
            continue;
        size_t from = i * RECORD_BYTES;
        size_t to = end * RECORD_BYTES < w->len ? end * RECORD_BYTES : w->len;
        if (!write_run(t, w->bytes + from, to - from, w->offset + from, err))
            return false;
        t->written = true;
        t->in->report->records_written += end - i;
        if (w->offset + to > t->file.size)
            t->file.size = w->offset + to;
    }
    return true;
}

/* ---- a pass: the whole file once ---- */

static bool set_file(struct taking *t, uint64_t size, bool set_mtime, struct err *err)
{
    struct view_attributes a = {
        .set_size = true, .size = size, .set_mtime = set_mtime, .mtime_us = t->mtime_us};
    return view_set(t->in->view, &nobody, t->file.file, &a, &t->file, NULL, err);
}

static bool take_pieces(struct taking *t, uint64_t *ret_size, struct err *err)
{
    AUTO(mem) struct weighed *w = own_alloc(sizeof *w, err);
    uint64_t at = 0;
    for (bool more = w != NULL; more;) {
        if (ingest_is_cancelled(t->in, err) || !reader_next(t->in->reader, &w->bytes, &w->len, err))
            return false;
        w->offset = at;
        w->records = (w->len + RECORD_BYTES - 1) / RECORD_BYTES;
        more = w->len == READER_PIECE;
        if (w->len > 0 && (!weigh(t, w, err) || !write_differing(t, w, err)))
            return false;
        at += w->len;
        t->in->report->bytes_read += w->len;
        t->in->report->records += w->records;
    }
    *ret_size = at;
    return w;
}

/* False without an error in ret_stable: the file changed meanwhile. */
static bool pass(struct taking *t, enum fingers_from from, bool *ret_stable, struct err *err)
{
    uint64_t size = 0, size_after = 0, mtime_after = 0;
    if (!area_file_stat(t->handle, &t->size, &t->mtime_us, err))
        return false;
    if (t->file.size > t->size) {
        t->written = t->reprinted = true;
        if (!set_file(t, t->size, false, err))
            return false;
    }
    AUTO(fingers_pass)
    struct fingers_pass *own = fingers_begin(t->in->fingers, t->file.file, from, err);
    if (!own)
        return false;
    t->pass = own;
    reader_begin(t->in->reader, t->handle, t->size);
    bool ok = take_pieces(t, &size, err);
    reader_end(t->in->reader);
    if (!ok || !fingers_end(TAKE(own), err) ||
        !area_file_stat(t->handle, &size_after, &mtime_after, err))
        return false;
    *ret_stable = size == t->size && size_after == t->size && mtime_after == t->mtime_us;
    t->reprinted = t->reprinted || size != t->file.size;
    t->size = size;
    return true;
}

/* Size and time; nothing is said when nothing is new. */
static bool finish(struct taking *t, struct err *err)
{
    struct ingest *in = t->in;
    bool resized = t->file.size != t->size;
    if ((t->written || resized || t->file.mtime_us != t->mtime_us) &&
        !set_file(t, t->size, true, err))
        return false;
    in->report->changed += t->written || resized;
    if (t->trusted && !t->reprinted && !resized) {
        fingers_forget_pass(in->fingers, t->file.file);
        return true;
    }
    if (!own_grow((void **)&in->fresh, &in->fresh_capacity, in->fresh_count, sizeof *in->fresh,
                  err))
        return false;
    in->fresh[in->fresh_count++] = (struct ingest_fresh){t->file.file, t->file.generation, t->size};
    return true;
}

static bool passes(struct taking *t, struct err *err)
{
    unsigned tries = t->in->options->tries ? t->in->options->tries : TRIES;
    bool stable = false;
    t->trusted = may_trust(t->in, &t->file);
    enum fingers_from from = t->trusted ? FINGERS_KEPT : FINGERS_NONE;
    for (unsigned i = 0; !stable && i < tries && i < TRIES_MAX; i++) {
        if (!pass(t, from, &stable, err))
            return false;
        from = FINGERS_LATEST;
    }
    t->in->report->unstable += !stable;
    return (stable || ingest_note(t->in, INGEST_UNSTABLE, t->source->path, err)) && finish(t, err);
}

bool content_take(struct ingest *in, const struct area_file *source, struct err *err)
{
    struct taking t = {.in = in, .source = source};
    struct err own = {0};
    AUTO(area_handle) struct area_handle *handle = area_file_open(in->source, source->path, &own);
    if (!handle && own.code == ERR_NOT_FOUND)
        return names_remove(in, source->path, err);
    if (!handle) {
        *err = own;
        return false;
    }
    t.handle = handle;
    in->report->files++;
    return names_make(in, source->path, source->mtime_us, &t.file, err) && passes(&t, err);
}
