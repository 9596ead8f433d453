/* A file table's slots as a tree of paths. */
#include "drivers/vault/store/listing.h"
#include "drivers/vault/store/family_int.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LISTING_PATH_MAX = 4096,
    LISTING_FILES_MAX = 100000,
    SLOTS_MAX = 1 << 24,
    SLOTS_OF_A_RECORD = RECORD_BYTES / INODE_BYTES
};

void listing_done(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        own_free(listing->files[i].path);
    own_free(listing->files);
    *listing = (struct listing){0};
}

/* ---- slots, by number ---- */

static bool add_slot(struct listing *listing, const struct inode *inode, struct err *err)
{
    if (listing->count == LISTING_FILES_MAX)
        return err_set(err, ERR_CORRUPT, "a file table has more than %d files", LISTING_FILES_MAX);
    if (!own_grow((void **)&listing->files, &listing->capacity, listing->count,
                  sizeof *listing->files, err))
        return false;
    listing->files[listing->count++] =
        (struct listing_file){.inode = *inode, .number = inode->file};
    return true;
}

struct stored {
    uint64_t *records; /* of the file table that are no holes: numbers are not used again */
    size_t count, capacity;
};

static bool note_stored(void *arg, uint64_t record, const struct place *place,
                        const struct pattern *pattern, struct err *err)
{
    struct stored *stored = arg;
    (void)pattern;
    if (place->kind == PLACE_HOLE)
        return true;
    if (stored->count > LISTING_FILES_MAX)
        return err_set(err, ERR_CORRUPT, "a file table has more than %d files", LISTING_FILES_MAX);
    if (!own_grow((void **)&stored->records, &stored->capacity, stored->count,
                  sizeof *stored->records, err))
        return false;
    stored->records[stored->count++] = record;
    return true;
}

static bool read_slots(struct family *family, const struct root *table, uint64_t slots,
                       struct listing *listing, struct err *err)
{
    struct inode inodes[SLOTS_OF_A_RECORD];
    struct stored stored = {0};
    struct map_source source = family_source(family);
    if (slots > SLOTS_MAX)
        return err_set(err, ERR_CORRUPT, "a file table of %" PRIu64 " slots", slots);
    uint64_t records = (slots + SLOTS_OF_A_RECORD - 1) / SLOTS_OF_A_RECORD;
    bool ok = !table->stored || map_walk(&source, table, 0, records, note_stored, &stored, err);
    for (size_t r = 0; ok && r < stored.count; r++) {
        ok = family_inodes(family, table, stored.records[r], inodes, err);
        for (size_t i = 0; ok && i < SLOTS_OF_A_RECORD; i++)
            ok = inodes[i].kind == INODE_FREE || inodes[i].file == INODE_ROOT ||
                 add_slot(listing, &inodes[i], err);
    }
    own_free(stored.records);
    return ok;
}

static const struct listing_file *by_number(const struct listing *listing, uint64_t file)
{
    size_t low = 0, high = listing->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (listing->files[middle].number < file)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < listing->count && listing->files[low].number == file;
    return found ? &listing->files[low] : NULL;
}

/* ---- paths ---- */

/* Written from its end; a circle of parents ends at the longest path there may be. */
static bool make_path(const struct listing *listing, struct listing_file *file, struct err *err)
{
    char path[LISTING_PATH_MAX + 1];
    size_t at = sizeof path - 1;
    const struct listing_file *f = file;
    path[at] = 0;
    for (;;) {
        size_t len = f->inode.name_len;
        bool more = f->inode.parent != INODE_ROOT;
        if (len == 0 || len + more > at)
            return err_set(err, ERR_CORRUPT, "the path of file %" PRIu64 " is none",
                           file->inode.file);
        memcpy(path + (at -= len), f->inode.name, len);
        if (!more)
            break;
        path[--at] = '/';
        uint64_t parent = f->inode.parent;
        f = by_number(listing, parent);
        if (!f || f->inode.kind != INODE_DIRECTORY)
            return err_set(err, ERR_CORRUPT,
                           "file %" PRIu64 " lies in folder %" PRIu64 ", which there is not",
                           file->inode.file, parent);
    }
    file->path = own_strdup(path + at, err);
    return file->path != NULL;
}

/* ---- further names ---- */

static bool has_name(const struct inode *inode) { return inode->name_len > 0; }

/* A name of a file says what the file's slot says; a slot without a name is none. */
static bool resolve(struct listing *listing, struct err *err)
{
    for (size_t i = 0; i < listing->count; i++) {
        struct listing_file *f = &listing->files[i];
        if (f->inode.kind != INODE_LINK)
            continue;
        const struct listing_file *target = by_number(listing, f->inode.target);
        /* The slots before are resolved: what names a further name is one of a file by now. */
        if (!target || target->inode.kind != INODE_FILE || target->inode.file != target->number)
            return err_set(err, ERR_CORRUPT,
                           "'%.200s' is a name of file %" PRIu64 ", which is none", f->path,
                           f->inode.target);
        f->inode = target->inode;
    }
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++)
        if (listing->files[i].path)
            listing->files[kept++] = listing->files[i];
    listing->count = kept;
    return true;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct listing_file *)a)->path, ((const struct listing_file *)b)->path);
}

struct numbered {
    uint64_t file;
    size_t at;
};

static int by_file(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static bool find_firsts(struct listing *listing, struct err *err)
{
    AUTO(mem) struct numbered *rows = own_alloc((listing->count + 1) * sizeof *rows, err);
    for (size_t i = 0; rows && i < listing->count; i++)
        rows[i] = (struct numbered){listing->files[i].inode.file, i};
    if (rows && listing->count > 0)
        qsort(rows, listing->count, sizeof *rows, by_file);
    for (size_t i = 0; rows && i < listing->count; i++) {
        bool same = i > 0 && rows[i - 1].file == rows[i].file;
        listing->files[rows[i].at].first = same ? listing->files[rows[i - 1].at].first : rows[i].at;
    }
    return rows;
}

bool listing_read(struct family *family, const struct root *table, uint64_t slots,
                  struct listing *ret, struct err *err)
{
    AUTO(listing) struct listing listing = {0};
    if (!read_slots(family, table, slots, &listing, err))
        return false;
    for (size_t i = 0; i < listing.count; i++) {
        const struct inode *inode = &listing.files[i].inode;
        bool bare = !has_name(inode) && !inode->parent && inode->kind == INODE_FILE;
        if (!bare && !make_path(&listing, &listing.files[i], err))
            return false;
    }
    if (!resolve(&listing, err))
        return false;
    if (listing.count > 0)
        qsort(listing.files, listing.count, sizeof *listing.files, by_path);
    for (size_t i = 1; i < listing.count; i++)
        if (strcmp(listing.files[i - 1].path, listing.files[i].path) == 0)
            return err_set(err, ERR_CORRUPT, "the path '%.200s' is there twice",
                           listing.files[i].path);
    if (!find_firsts(&listing, err))
        return false;
    *ret = listing;
    listing = (struct listing){0};
    return true;
}

bool listing_identity(const struct listing *listing, struct hash *ret, struct err *err)
{
    AUTO(identity) struct identity *identity = identity_begin(err);
    for (size_t i = 0; identity && i < listing->count; i++) {
        const struct inode *inode = &listing->files[i].inode;
        if (!identity_add(identity, inode->kind, listing->files[i].path, inode->size, &inode->root,
                          err))
            return false;
    }
    if (identity)
        identity_end(TAKE(identity), ret);
    return identity != NULL || err->code == ERR_NONE;
}

const char *listing_path(const struct listing *listing, uint64_t file)
{
    for (size_t i = 0; i < listing->count; i++)
        if (listing->files[i].inode.file == file)
            return listing->files[i].path;
    return NULL;
}
