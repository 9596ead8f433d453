/* Fuzz target: commits and tables. The first byte says which; the rest is the payload, plain, under
 * a head and a sum that are right. What is read is written, read again and applied. */
#include "drivers/vault/store/commit.h"
#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED = 5 };

static bool envelope(bool table, const uint8_t *payload, size_t len, uint32_t changes,
                     struct bytes *to, struct err *err)
{
    return bytes_add(to, table ? "ECTABLE1" : "ECCOMMIT", 8, err) &&
           bytes_u32(to, VAULT_VERSION, err) && bytes_u32(to, 1, err) && bytes_u64(to, 7, err) &&
           bytes_u64(to, 9, err) && bytes_u32(to, changes, err) &&
           bytes_u32(to, (uint32_t)len, err) && bytes_u32(to, (uint32_t)len, err) &&
           bytes_u32(to, 0, err) && bytes_add(to, payload, len, err) &&
           bytes_u64(to, format_sum(SEED, to->data, to->len), err);
}

static void fuzz_table(const struct bytes *bytes)
{
    struct err err = {0};
    AUTO(bytes) struct bytes again = {0}, third = {0};
    AUTO(table) struct table *table = table_decode(bytes->data, bytes->len, SEED, &err);
    if (!table || !table_encode(table, SEED, &again, &err))
        return;
    AUTO(table) struct table *read = table_decode(again.data, again.len, SEED, &err);
    assert(read && table_encode(read, SEED, &third, &err));
    assert(again.len == third.len && memcmp(again.data, third.data, third.len) == 0);
    AUTO(table) struct table *copy = table_copy(table, &err);
    struct change drop = {.kind = CHANGE_SNAPSHOT_DROPPED};
    AUTO(freed) struct freed *freed = freed_new(1 << 20, &err);
    if (copy && freed && copy->snapshot_count > 0) {
        drop.volume = copy->snapshots[0].row.volume;
        drop.sequence = copy->snapshots[0].row.sequence;
        IGNORE(table_apply(copy, &drop, freed, &err)); /* refusing is fine */
    }
}

static void fuzz_commit(const struct bytes *bytes)
{
    struct err err = {0};
    AUTO(bytes) struct bytes again = {0};
    AUTO(commit) struct commit commit = {0}, read = {0};
    if (!commit_decode(bytes->data, bytes->len, SEED, &commit, &err))
        return;
    assert(commit_encode(&commit, SEED, &again, &err));
    assert(commit_decode(again.data, again.len, SEED, &read, &err) && read.count == commit.count);
    AUTO(table) struct table *table = table_new(7, &err);
    for (size_t i = 0; table && i < commit.count; i++)
        if (!table_apply(table, &commit.changes[i], NULL, &err))
            return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(bytes) struct bytes bytes = {0};
    if (size < 1 || !envelope(data[0] & 1, data + 1, size - 1, data[0] >> 1, &bytes, &err))
        return 0;
    if (data[0] & 1)
        fuzz_table(&bytes);
    else
        fuzz_commit(&bytes);
    return 0;
}
