/* Fuzz target: a journal, a state and a layer's presence log as found on a box. What opens goes on
 * working and opens again; nothing else than a clean error comes out of the rest. */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/volume/journal.h"
#include "drivers/vault/volume/layer.h"
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED = 1, SEQUENCE = 1 };

static char folder[64];

static void remove_folder(void)
{
    struct err err = {0};
    IGNORE(sys_remove_tree(folder, &err)); /* a test's own, in memory */
}

static void put(const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    struct err err = {0};
    str_format(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
    IGNORE(err.code);
}

/* Sums are mended, so that what lies behind them is reached: each record's, and a header's. */
static size_t mend(uint8_t *bytes, size_t size, size_t from, bool length_counts_all)
{
    while (size - from >= 20) {
        uint32_t length;
        memcpy(&length, bytes + from, sizeof length);
        size_t whole = length_counts_all ? length : (size_t)length + 20;
        if (whole < 20 || whole > size - from)
            break;
        uint32_t sum = (uint32_t)format_sum(length_counts_all ? SEED : 0, bytes + from, whole - 4);
        memcpy(bytes + from + whole - 4, &sum, sizeof sum);
        from += whole;
    }
    return from;
}

static void mend_header(uint8_t *bytes, size_t size)
{
    if (size < 32)
        return;
    uint64_t sum = format_sum(SEED, bytes, 24);
    memcpy(bytes + 24, &sum, sizeof sum);
    mend(bytes, size, 32, true);
}

static bool see_state(void *arg, const void *state, size_t len, struct err *err)
{
    (void)err;
    *(size_t *)arg += state ? len + 1 : 0;
    return true;
}

static bool see_record(void *arg, uint8_t kind, struct cursor *payload, struct err *err)
{
    (void)kind;
    (void)err;
    *(size_t *)arg += 1 + cursor_left(payload);
    return true;
}

static void try_journal(const uint8_t *data, size_t size)
{
    struct err err = {0};
    size_t seen = 0;
    size_t again = 0;
    bool clean;
    uint64_t number;
    put("journal", data, size);
    AUTO(journal)
    struct journal *j = journal_open(folder, see_state, see_record, &seen, &clean, &err);
    assert(j || err.code);
    AUTO(bytes) struct bytes payload = {0};
    if (!j)
        return;
    assert(bytes_u8(&payload, 1, &err) && journal_add(j, 3, &payload, &number, &err) &&
           journal_sync(j, number, &err) && journal_close(TAKE(j), &err));
    j = journal_open(folder, see_state, see_record, &again, &clean, &err);
    assert(j && clean && again == seen + 2);
}

static void try_log(const uint8_t *data, size_t size, bool clean)
{
    struct err err = {0};
    enum layer_has has;
    char byte[RECORD_BYTES];
    put("map", data, size);
    AUTO(layer) struct layer *layer = layer_open(folder, SEQUENCE, SEED, clean, &err);
    size_t count = 0;
    AUTO(mem) struct layer_file *files = layer ? layer_files(layer, &count, &err) : NULL;
    assert(layer ? files != NULL : err.code != ERR_NONE);
    for (size_t i = 0; i < count && i < 8; i++) {
        uint64_t span = layer_span(layer, files[i].file, 0, UINT64_MAX, &has);
        size_t records;
        AUTO(mem) uint64_t *list = layer_records_of(layer, files[i].file, &records, &err);
        assert(span > 0 && list && records == files[i].records);
        if (records)
            IGNORE(layer_read(layer, files[i].file, list[0], 1, byte, &err)); /* no data here */
    }
    if (layer && count)
        assert(layer_truncate(layer, files[0].file, 1, &err) &&
               layer_commit(layer, UINT64_MAX, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!folder[0]) {
        str_copy(folder, sizeof folder, "/dev/shm/evercopy-fuzz-XXXXXX");
        assert(mkdtemp(folder) && atexit(remove_folder) == 0);
    }
    if (size < 2 || size > 1 << 16)
        return 0;
    uint8_t *bytes = malloc(size);
    assert(bytes);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1) {
        if (data[0] & 2)
            mend(bytes, size - 1, 0, false);
        if (data[0] & 4)
            put("state", data + 1, size / 2);
        try_journal(bytes, size - 1);
        if (data[0] & 4) {
            char path[128];
            str_format(path, sizeof path, "%s/state", folder);
            unlink(path);
        }
    } else {
        if (data[0] & 2)
            mend_header(bytes, size - 1);
        try_log(bytes, size - 1, data[0] & 8);
    }
    free(bytes);
    return 0;
}
