/* The list of records that the block check refused: bounded, its count whole. */
#include "drivers/vault/store/bad.h"

#include "drivers/vault/store/commit.h"
#include "drivers/vault/store/family_int.h"

void bad_list_done(struct bad_list *list)
{
    own_free(list->rows);
    *list = (struct bad_list){0};
}

uint64_t bad_rest(const struct bad_record *row)
{
    return row->record & BAD_REST ? row->record & ~BAD_REST : 0;
}

static uint64_t add(uint64_t a, uint64_t b)
{
    return a < BAD_REST - 1 - b ? a + b : BAD_REST - 1; /* what was read may say anything */
}

uint64_t bad_total(const struct bad_record *rows, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total = add(total, rows[i].record & BAD_REST ? bad_rest(&rows[i]) : 1);
    return total;
}

/* The row that counts the rest of a file; NULL: none yet. */
static struct bad_record *find_rest(struct bad_list *list, uint64_t file)
{
    for (size_t i = list->count; i-- > 0;)
        if (list->rows[i].file == file && list->rows[i].record & BAD_REST)
            return &list->rows[i];
    return NULL;
}

bool bad_add(struct bad_list *list, const struct bad_record *row, struct err *err)
{
    uint64_t more = row->record & BAD_REST ? bad_rest(row) : 1;
    bool named = !(row->record & BAD_REST) && list->count < BAD_NAMED;
    struct bad_record *rest = named ? NULL : find_rest(list, row->file);
    uint64_t file = row->file;
    if (!named && !rest && list->count >= BAD_MAX - 1) {
        rest = find_rest(list, 0);
        file = 0;
    }
    if (rest) {
        rest->record = BAD_REST | add(bad_rest(rest), more);
        return true;
    }
    if (!own_grow((void **)&list->rows, &list->capacity, list->count, sizeof list->rows[0], err))
        return false;
    list->rows[list->count++] = named ? *row : (struct bad_record){file, BAD_REST | more};
    return true;
}

/* ---- of a volume's head ---- */

/* The table keeps the rows of snapshots alone; those of other states are in their seal frames. */
static struct bad_record *read_seal(struct family *family, struct addr seal, size_t *ret_count,
                                    struct err *err)
{
    struct source source = {family, NULL};
    AUTO(change) struct change volume = {0}, sealed = {0};
    AUTO(cache_frame) struct cache_frame *frame = family_frame(&source, seal, err);
    size_t len = 0;
    if (!frame)
        return NULL;
    const uint8_t *raw = cache_raw(frame, &len);
    struct cursor from = cursor_over(raw, len);
    if (!change_decode(&from, &volume, err) || !change_decode(&from, &sealed, err))
        return NULL;
    *ret_count = sealed.bad_count;
    return sealed.bad ? TAKE(sealed.bad) : own_alloc(sizeof *sealed.bad, err);
}

struct bad_record *family_bad_head(struct family *family, uint64_t volume, size_t *ret_count,
                                   struct err *err)
{
    AUTO(table) struct table *table = family_table(family);
    const struct table_volume *row = table_volume(table, volume);
    *ret_count = 0;
    if (!row || !row->sealed)
        return own_alloc(sizeof(struct bad_record), err);
    if (table_snapshot(table, volume, row->row.sealed))
        return family_bad_records(family, volume, row->row.sealed, ret_count, err);
    return read_seal(family, row->seal, ret_count, err);
}
