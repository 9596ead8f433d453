/* A table from rows, behind a commit that fences other owners. */
#include "drivers/vault/store/rows.h"
#include "drivers/vault/store/family_int.h"
#include <string.h>

enum { TRIES = 16 };

bool rows_highest(struct store *store, uint64_t family, uint64_t *ret_number, struct err *err)
{
    static const char *const kinds[] = {"commit", "table"};
    uint64_t highest = 0, number;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        AUTO(io_list) struct io_list list = {0};
        char folder[IO_NAME_MAX];
        family_folder(family, kinds[i], folder);
        if (!io_list(store->io, folder, &list, err))
            return false;
        for (size_t k = 0; k < list.count; k++)
            if (family_hex(list.entries[k].name, 16, &number) && number > highest)
                highest = number;
    }
    *ret_number = highest;
    return true;
}

/* The commit of an owner and nothing else; EXISTS: somebody was there first. */
static bool put_fence(struct store *store, uint64_t family, uint64_t number, struct err *err)
{
    AUTO(commit)
    struct commit commit = {.epoch = store->epoch, .family = family, .number = number};
    AUTO(bytes) struct bytes bytes = {0};
    struct change change = {.kind = CHANGE_OWNER, .epoch = store->epoch};
    char name[IO_NAME_MAX];
    memcpy(change.box_id, store->box_id, sizeof change.box_id);
    family_object(family, "commit", number, name);
    return commit_add(&commit, &change, err) && commit_encode(&commit, store->seed, &bytes, err) &&
           io_put(store->io, name, bytes.data, bytes.len, IO_NEW, err);
}

static bool put_table(struct store *store, const struct table *rows, struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    char name[IO_NAME_MAX];
    AUTO(table) struct table *again = NULL;
    family_object(rows->family, "table", rows->number, name);
    if (!table_encode(rows, store->seed, &bytes, err) ||
        !(again = table_decode(bytes.data, bytes.len, store->seed, err)))
        return false; /* rows that nobody could read are not written */
    return io_put(store->io, name, bytes.data, bytes.len, IO_NEW, err);
}

static void take_back(struct store *store, const struct table *rows)
{
    struct err ignored = {0};
    char name[IO_NAME_MAX];
    family_object(rows->family, "table", rows->number, name);
    IGNORE(io_delete(store->io, name, &ignored));
}

/* Over rows that can be read the fence goes first. Where there are none it would be all there is,
 * and look like an empty family: then the table does. */
static bool try_number(struct store *store, struct table *rows, bool over_rows, struct err *err)
{
    if (over_rows)
        return put_fence(store, rows->family, rows->number, err) && put_table(store, rows, err);
    if (!put_table(store, rows, err))
        return false;
    if (put_fence(store, rows->family, rows->number, err))
        return true;
    if (err->code == ERR_EXISTS)
        take_back(store, rows);
    return false;
}

static bool write_once(struct store *store, struct table *rows, bool over_rows, struct err *err)
{
    for (int i = 0; i < TRIES; i++) {
        struct err failed = {0};
        uint64_t number = 0;
        if (!rows_highest(store, rows->family, &number, err))
            return false;
        rows->number = number + 1;
        if (try_number(store, rows, over_rows, &failed))
            return true;
        if (failed.code != ERR_EXISTS) {
            *err = failed;
            return false;
        }
    }
    return err_set(err, ERR_FENCED, "another owner goes on writing the family");
}

/* Twice, as no commits say the same: recovery falls back upon the table before the newest. */
bool rows_write(struct store *store, struct table *rows, bool over_rows, struct err *err)
{
    if (store->read_only)
        return err_set(err, ERR_DENIED, "the store is open for reading only");
    rows->epoch = store->epoch;
    memcpy(rows->box_id, store->box_id, sizeof rows->box_id);
    return write_once(store, rows, over_rows, err) && write_once(store, rows, true, err);
}
