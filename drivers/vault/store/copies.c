/* Copies: which snapshots other stores have. */
#include "drivers/vault/store/copies.h"
#include "agent/base/str.h"
#include "drivers/vault/store/family_int.h"
#include "drivers/vault/store/pack_int.h"
#include <stdlib.h>
#include <string.h>

enum { COPIES_MAX = 1 << 24, ROW_BYTES = 16, ID_BYTES = 16 };

void copies_of_done(struct copies_of *copies)
{
    own_free(copies->rows);
    *copies = (struct copies_of){0};
}

bool copies_encode(const struct copies_of *copies, uint64_t family, uint64_t seed, struct bytes *to,
                   struct err *err)
{
    if (!bytes_add(to, "ECCOPIES", 8, err) || !bytes_u32(to, VAULT_VERSION, err) ||
        !bytes_u32(to, (uint32_t)copies->count, err) || !bytes_u64(to, family, err) ||
        !bytes_add(to, copies->store, ID_BYTES, err) || !bytes_u64(to, copies->at_us, err))
        return false;
    for (size_t i = 0; i < copies->count; i++)
        if (!bytes_u64(to, copies->rows[i].volume, err) ||
            !bytes_u64(to, copies->rows[i].sequence, err))
            return false;
    return bytes_u64(to, format_sum(seed, to->data, to->len), err);
}

bool copies_decode(const void *data, size_t len, uint64_t family, uint64_t seed,
                   struct copies_of *ret, struct err *err)
{
    AUTO(copies_of) struct copies_of copies = {0};
    struct cursor c = cursor_over(data, len);
    const uint8_t *magic = cursor_take(&c, 8);
    bool good = magic && memcmp(magic, "ECCOPIES", 8) == 0 && cursor_u32(&c) == VAULT_VERSION;
    uint32_t count = cursor_u32(&c);
    good = good && cursor_u64(&c) == family;
    const uint8_t *store = cursor_take(&c, ID_BYTES);
    copies.at_us = cursor_u64(&c);
    if (!good || c.bad || cursor_left(&c) != (size_t)count * ROW_BYTES + 8 ||
        pack_take((const uint8_t *)data + len - 8, 8) != format_sum(seed, data, len - 8))
        return err_set(err, ERR_CORRUPT, "the list of what a second store has is damaged");
    memcpy(copies.store, store, ID_BYTES);
    copies.rows = own_alloc((count + (size_t)1) * sizeof *copies.rows, err);
    for (; copies.rows && copies.count < count; copies.count++) {
        copies.rows[copies.count].volume = cursor_u64(&c);
        copies.rows[copies.count].sequence = cursor_u64(&c);
    }
    if (!copies.rows)
        return false;
    *ret = copies;
    copies = (struct copies_of){0};
    return true;
}

bool copies_put(struct io *io, uint64_t seed, uint64_t family, const struct copies_of *copies,
                struct err *err)
{
    AUTO(bytes) struct bytes bytes = {0};
    char folder[IO_NAME_MAX], name[IO_NAME_MAX], hex[2 * ID_BYTES + 1];
    family_folder(family, "copy", folder);
    str_hex(copies->store, ID_BYTES, hex);
    IGNORE(str_format(name, sizeof name, "%s/%s", folder, hex));
    return copies_encode(copies, family, seed, &bytes, err) &&
           io_put(io, name, bytes.data, bytes.len, IO_REPLACE, err);
}

static int by_place(const void *a, const void *b)
{
    const struct copied *x = a, *y = b;
    if (x->volume != y->volume)
        return x->volume < y->volume ? -1 : 1;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

struct copied *family_copies(struct family *family, size_t *ret_count, struct err *err)
{
    AUTO(io_list) struct io_list list = {0};
    AUTO(copies_of) struct copies_of all = {0};
    char folder[IO_NAME_MAX], name[IO_NAME_MAX];
    size_t kept = 0, capacity = 0;
    family_folder(family->id, "copy", folder);
    if (!io_list(family->store->io, folder, &list, err))
        return NULL;
    for (size_t i = 0; i < list.count; i++) {
        AUTO(copies_of) struct copies_of one = {0};
        struct err failed = {0};
        size_t len = 0;
        IGNORE(str_format(name, sizeof name, "%s/%s", folder, list.entries[i].name));
        AUTO(mem) char *data = io_get(family->store->io, name, COPIES_MAX, &len, &failed);
        if (!data || !copies_decode(data, len, family->id, family->store->seed, &one, &failed))
            continue;
        for (size_t k = 0; k < one.count; k++) {
            if (!own_grow((void **)&all.rows, &capacity, all.count, sizeof *all.rows, err))
                return NULL;
            all.rows[all.count++] = one.rows[k];
        }
    }
    if (!all.rows && !(all.rows = own_alloc(sizeof *all.rows, err)))
        return NULL;
    qsort(all.rows, all.count, sizeof *all.rows, by_place);
    for (size_t i = 0; i < all.count; i++)
        if (kept == 0 || by_place(&all.rows[kept - 1], &all.rows[i]) != 0)
            all.rows[kept++] = all.rows[i];
    *ret_count = kept;
    return TAKE(all.rows);
}
