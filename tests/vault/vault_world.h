/* A family on a store in memory beside a model of it: files whose every record is known, sealed,
 * snapshotted, cloned and dropped. Shared by the tests of the store. */
#pragma once
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/store/store.h"
#include "tests/lib/memory_io.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    VW_FILES = 3,     /* of a volume, numbers 20, 21, ... */
    VW_RECORDS = 700, /* of a file: three leaves and a node above */
    VW_VOLUMES = 8,
    VW_SNAPSHOTS = 24,
    VW_FIRST_FILE = 20,
};

/* Of each record the number that its bytes are made from; 0: a hole. */
struct vw_content {
    uint64_t sizes[VW_FILES]; /* in records; 0: no such file */
    uint32_t records[VW_FILES][VW_RECORDS];
};
struct vw_snapshot {
    uint64_t volume, sequence;
    bool hidden;
    struct vw_content content;
};
struct vw_volume {
    uint64_t id, start;
    struct volume_origin origins[4];
    size_t origin_count;
    struct root table;
    bool composed; /* of these inodes, until its first seal */
    struct inode inodes[VW_FILES];
    struct vw_content now;
};
struct vw {
    unsigned seed;
    struct io *io;
    struct memory_io *memory;
    struct store *store;
    struct family *family;
    uint64_t sequence;
    uint32_t next_content;
    struct vw_volume volumes[VW_VOLUMES];
    size_t volume_count;
    struct vw_snapshot snapshots[VW_SNAPSHOTS];
    size_t snapshot_count;
};

static inline unsigned vw_below(struct vw *w, unsigned n) { return (unsigned)rand_r(&w->seed) % n; }

#define VW_OK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s (%s)", #what, err.text, err_code_name(err.code));             \
    } while (0)

/* A pattern, something that compresses, or noise. */
static inline void vw_record(uint32_t content, uint8_t *ret)
{
    unsigned seed = content;
    memset(ret, 0, RECORD_BYTES);
    if (content == 0)
        return;
    if (content % 5 == 0) {
        memcpy(ret + 100, &content, sizeof content);
        ret[8000] = 7;
        return;
    }
    size_t noise = content % 3 == 0 ? RECORD_BYTES : RECORD_BYTES / 4;
    for (size_t i = 0; i < noise; i += 2) {
        unsigned r = (unsigned)rand_r(&seed);
        memcpy(ret + i, &r, 2);
    }
    memcpy(ret + 512, &content, sizeof content);
}

static inline bool vw_try_open(struct vw *w, bool create, struct err *err)
{
    static const uint8_t box[16] = "a box";
    struct store_options options = {.cache_bytes = 4 << 20, .threads = 2};
    w->store = store_open(w->io, box, &options, err);
    w->family = w->store ? family_open(w->store, 5, create, err) : NULL;
    if (w->family)
        return true;
    store_close(TAKE(w->store));
    return false;
}

static inline void vw_close(struct vw *w)
{
    family_close(TAKE(w->family));
    store_close(TAKE(w->store));
}

static inline void vw_begin(struct vw *w, unsigned seed)
{
    struct err err = {0};
    *w = (struct vw){.seed = seed, .sequence = 10};
    w->io = memory_io_open(0, &w->memory, &err);
    VW_OK(w->io);
    VW_OK(vw_try_open(w, true, &err));
}

static inline void vw_end(struct vw *w)
{
    vw_close(w);
    io_close(w->io);
}

static inline bool vw_add_landing(struct vw *w, struct err *err)
{
    struct vw_volume *volume = &w->volumes[w->volume_count];
    struct volume_row row = {.id = ++w->sequence, .name = "landing"};
    *volume = (struct vw_volume){.id = row.id};
    return family_volume_add(w->family, &row, err) && ++w->volume_count;
}

static inline struct snapshot_row vw_row(struct vw *w, uint64_t volume, uint64_t sequence)
{
    struct err err = {0};
    size_t count = 0;
    AUTO(mem) struct snapshot_row *rows = family_snapshots(w->family, volume, &count, &err);
    VW_OK(rows);
    for (size_t i = 0; i < count; i++)
        if (rows[i].sequence == sequence)
            return rows[i];
    return (struct snapshot_row){0};
}

/* A clone of one snapshot, whole. */
static inline bool vw_add_clone(struct vw *w, const struct vw_snapshot *from, struct err *err)
{
    struct vw_volume *volume = &w->volumes[w->volume_count];
    struct volume_row row = {.id = ++w->sequence, .clone = true, .start = ++w->sequence};
    struct snapshot_row origin = vw_row(w, from->volume, from->sequence);
    row.origins[row.origin_count++] = (struct volume_origin){from->volume, from->sequence};
    row.table = origin.table;
    row.slots = origin.slots;
    IGNORE(str_format(row.name, sizeof row.name, "clone-%llu", (unsigned long long)row.id));
    *volume = (struct vw_volume){.id = row.id,
                                 .start = row.start,
                                 .origins = {row.origins[0]},
                                 .origin_count = 1,
                                 .table = origin.table,
                                 .now = from->content};
    return family_volume_add(w->family, &row, err) && ++w->volume_count;
}

/* A clone whose files come from two snapshots in turn; its table is written by its first seal. */
static inline bool vw_compose(struct vw *w, const struct vw_snapshot *const from[2],
                              struct err *err)
{
    struct vw_volume *volume = &w->volumes[w->volume_count];
    struct volume_row row = {.id = ++w->sequence, .clone = true, .start = ++w->sequence};
    *volume = (struct vw_volume){.id = row.id, .start = row.start, .composed = true};
    for (size_t k = 0; k < 2; k++) {
        row.origins[k] = (struct volume_origin){from[k]->volume, from[k]->sequence};
        volume->origins[k] = row.origins[k];
    }
    row.origin_count = volume->origin_count = 2;
    for (size_t i = 0; i < VW_FILES; i++) {
        const struct vw_snapshot *source = from[i % 2];
        struct snapshot_row origin = vw_row(w, source->volume, source->sequence);
        struct err missing = {0};
        if (!family_inode(w->family, &origin.table, VW_FIRST_FILE + i, &volume->inodes[i],
                          &missing) &&
            missing.code != ERR_NOT_FOUND) {
            *err = missing;
            return false;
        }
        volume->now.sizes[i] = source->content.sizes[i];
        memcpy(volume->now.records[i], source->content.records[i], sizeof volume->now.records[i]);
    }
    return family_volume_add(w->family, &row, err) && ++w->volume_count;
}

/* ---- sealing ---- */

static inline bool vw_old_inode(struct vw *w, const struct vw_volume *volume, size_t i,
                                struct inode *ret, struct err *err)
{
    struct err missing = {0};
    *ret = volume->composed ? volume->inodes[i] : (struct inode){0};
    if (!volume->table.stored || volume->composed)
        return true;
    if (family_inode(w->family, &volume->table, VW_FIRST_FILE + i, ret, &missing) ||
        missing.code == ERR_NOT_FOUND)
        return true;
    *err = missing;
    return false;
}

static inline bool vw_seal_file(struct vw *w, struct seal *seal, const struct vw_volume *volume,
                                const struct vw_content *next, size_t i, struct inode *inode,
                                struct err *err)
{
    uint8_t bytes[RECORD_BYTES];
    uint64_t before = volume->now.sizes[i], after = next->sizes[i];
    if (after == 0) {
        bool gone = before == 0 || seal_file_gone(seal, &inode->root, err);
        *inode = (struct inode){0};
        return gone;
    }
    if (!seal_file_begin(seal, VW_FIRST_FILE + i, before ? &inode->root : NULL, err))
        return false;
    bool cut = after < before && vw_below(w, 2) == 0;
    for (uint64_t r = 0; r < after; r++) {
        if (next->records[i][r] == volume->now.records[i][r] && r < before)
            continue;
        vw_record(next->records[i][r], bytes);
        if (!seal_record(seal, r, next->records[i][r] ? bytes : NULL, err))
            return false;
    }
    if (cut && !seal_cut(seal, after, err))
        return false;
    *inode = (struct inode){.file = VW_FIRST_FILE + i,
                            .parent = INODE_ROOT,
                            .kind = INODE_FILE,
                            .links = 1,
                            .size = after * RECORD_BYTES,
                            .name_len = 1,
                            .name = {(char)('a' + i)}};
    return seal_file_end(seal, inode->size, &inode->root, err);
}

/* Brings the volume's sealed head to `next`; the model follows when it is there. */
static inline bool vw_seal(struct vw *w, struct vw_volume *volume, const struct vw_content *next,
                           bool named, struct err *err)
{
    struct inode inodes[VW_FILES];
    uint8_t slots[2 * RECORD_BYTES] = {0};
    struct seal_result result = {.slots = VW_FIRST_FILE + VW_FILES, .named = named};
    uint64_t sequence = ++w->sequence;
    AUTO(seal) struct seal *seal = seal_begin(w->family, volume->id, sequence, err);
    for (size_t i = 0; seal && i < VW_FILES; i++)
        if (!vw_old_inode(w, volume, i, &inodes[i], err) ||
            (memcmp(next->records[i], volume->now.records[i], sizeof next->records[i]) != 0 &&
             !vw_seal_file(w, seal, volume, next, i, &inodes[i], err)))
            return false;
    for (size_t i = 0; seal && i < VW_FILES; i++)
        if (inodes[i].kind != INODE_FREE)
            inode_encode(&inodes[i], store_seed(w->store),
                         slots + (VW_FIRST_FILE + i) * INODE_BYTES);
    if (!seal || !seal_file_begin(seal, INODE_TABLE, &volume->table, err) ||
        !seal_record(seal, 1, slots + RECORD_BYTES, err) ||
        !seal_file_end(seal, sizeof slots, &result.table, err))
        return false;
    AUTO(identity) struct identity *identity = identity_begin(err);
    for (size_t i = 0; identity && i < VW_FILES; i++)
        if (inodes[i].kind != INODE_FREE && !identity_add(identity, inodes[i].kind, inodes[i].name,
                                                          inodes[i].size, &inodes[i].root, err))
            return false;
    if (!identity)
        return false;
    identity_end(TAKE(identity), &result.identity);
    result.id = sequence;
    result.created_us = 1;
    IGNORE(str_format(result.name, sizeof result.name, "s%llu", (unsigned long long)sequence));
    if (!seal_commit(TAKE(seal), &result, err))
        return false;
    volume->table = result.table;
    volume->composed = false;
    volume->now = *next;
    if (named)
        w->snapshots[w->snapshot_count++] =
            (struct vw_snapshot){volume->id, sequence, false, *next};
    return true;
}

/* A few of the records, now and then a file's size or the file itself. */
static inline void vw_change(struct vw *w, struct vw_content *content, unsigned per_mille)
{
    for (size_t i = 0; i < VW_FILES; i++) {
        uint64_t before = content->sizes[i];
        if (before == 0 || vw_below(w, 12) == 0)
            content->sizes[i] = vw_below(w, 8) == 0 ? 0 : 1 + vw_below(w, VW_RECORDS);
        for (uint64_t r = 0; r < content->sizes[i]; r++)
            if (r >= before || vw_below(w, 1000) < per_mille)
                content->records[i][r] = vw_below(w, 6) ? ++w->next_content : 0;
        for (uint64_t r = content->sizes[i]; r < VW_RECORDS; r++)
            content->records[i][r] = 0;
    }
}

/* ---- the truth ---- */

static inline bool vw_is_pinned(const struct vw *w, const struct vw_snapshot *snapshot)
{
    for (size_t i = 0; i < w->volume_count; i++)
        for (size_t k = 0; k < w->volumes[i].origin_count; k++)
            if (w->volumes[i].origins[k].volume == snapshot->volume &&
                w->volumes[i].origins[k].sequence == snapshot->sequence)
                return true;
    return false;
}

static inline bool vw_drop_snapshot(struct vw *w, struct vw_snapshot *snapshot, struct err *err)
{
    if (!family_snapshot_drop(w->family, snapshot->volume, snapshot->sequence, err))
        return false;
    if (vw_is_pinned(w, snapshot))
        snapshot->hidden = true;
    else
        *snapshot = w->snapshots[--w->snapshot_count];
    return true;
}

static inline bool vw_drop_volume(struct vw *w, struct vw_volume *volume, struct err *err)
{
    if (!family_volume_drop(w->family, volume->id, err))
        return false;
    *volume = w->volumes[--w->volume_count];
    for (size_t i = w->snapshot_count; i-- > 0;)
        if (w->snapshots[i].hidden && !vw_is_pinned(w, &w->snapshots[i]))
            w->snapshots[i] = w->snapshots[--w->snapshot_count];
    return true;
}

static inline void vw_check_content(struct vw *w, const struct root *table,
                                    const struct vw_content *content)
{
    struct err err = {0};
    uint8_t expected[RECORD_BYTES];
    AUTO(mem) uint8_t *read = own_alloc(VW_RECORDS * RECORD_BYTES, &err);
    for (size_t i = 0; i < VW_FILES; i++) {
        struct inode inode;
        bool there = family_inode(w->family, table, VW_FIRST_FILE + i, &inode, &err);
        cr_assert(there || err.code == ERR_NOT_FOUND, "%s", err.text);
        cr_assert_eq(there, content->sizes[i] > 0, "file %zu", i);
        err_clear(&err);
        if (!there)
            continue;
        cr_assert_eq(inode.size, content->sizes[i] * RECORD_BYTES);
        uint64_t count = content->sizes[i];
        for (uint64_t at = 0, n; at < count; at += n) {
            n = 1 + vw_below(w, 300);
            n = n < count - at ? n : count - at;
            VW_OK(family_read(w->family, &inode.root, at, n, read, &err));
            for (uint64_t r = 0; r < n; r++) {
                vw_record(content->records[i][at + r], expected);
                cr_assert(memcmp(read + r * RECORD_BYTES, expected, RECORD_BYTES) == 0,
                          "file %zu record %llu", i, (unsigned long long)(at + r));
            }
        }
    }
}

/* Every head and snapshot byte by byte; the figures against the objects. */
static inline void vw_check(struct vw *w)
{
    struct err err = {0};
    struct family_stat stat;
    uint64_t family_bytes = 0;
    for (size_t i = 0; i < w->volume_count; i++)
        if (w->volumes[i].table.stored)
            vw_check_content(w, &w->volumes[i].table, &w->volumes[i].now);
    for (size_t i = 0; i < w->snapshot_count; i++) {
        struct snapshot_row row = vw_row(w, w->snapshots[i].volume, w->snapshots[i].sequence);
        cr_assert_eq(row.sequence, w->snapshots[i].sequence, "a snapshot is missing");
        cr_assert_eq(row.hidden, w->snapshots[i].hidden);
        vw_check_content(w, &row.table, &w->snapshots[i].content);
    }
    VW_OK(family_stat(w->family, &stat, &err));
    char name[IO_NAME_MAX];
    for (size_t i = 0; memory_io_name(w->memory, i, name); i++) {
        uint64_t bytes = 0;
        VW_OK(io_size(w->io, name, &bytes, &err));
        family_bytes += strncmp(name, "f/", 2) == 0 ? bytes : 0;
    }
    cr_assert_eq(stat.stored_bytes, family_bytes, "%llu stored, %llu in objects",
                 (unsigned long long)stat.stored_bytes, (unsigned long long)family_bytes);
}
