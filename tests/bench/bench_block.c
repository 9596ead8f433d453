/* How fast blocks and logs are verified: bench_block DATAFILE [LOG]. */
#include "agent/oracle/block.h"
#include "agent/oracle/datafile.h"
#include "agent/oracle/identify.h"
#include "agent/oracle/redo.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 7, SET_BYTES = 256 << 20, FILE_MAX = 1 << 30 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Whole copies of the file until the set is larger than any cache. */
static uint8_t *load(const char *path, size_t *ret_len, size_t *ret_copies)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return NULL;
    }
    fseek(file, 0, SEEK_END);
    size_t len = (size_t)ftell(file);
    rewind(file);
    size_t copies = len && len < SET_BYTES ? SET_BYTES / len : 1;
    uint8_t *bytes =
        len && len < FILE_MAX ? aligned_alloc(1 << 21, ((len * copies >> 21) + 1) << 21) : NULL;
    size_t got = bytes ? fread(bytes, 1, len, file) : 0;
    fclose(file);
    if (got != len || !bytes) {
        fprintf(stderr, "%s: cannot be read whole into memory\n", path);
        free(bytes);
        return NULL;
    }
    IGNORE(madvise(bytes, len * copies, MADV_HUGEPAGE)); /* fewer page walks where allowed */
    for (size_t i = 1; i < copies; i++)
        memcpy(bytes + i * len, bytes, len);
    *ret_len = len;
    *ret_copies = copies;
    return bytes;
}

static double scan(const uint8_t *bytes, size_t len, size_t copies, const struct manifest_entry *e)
{
    static struct block_summary summary;
    summary = (struct block_summary){0};
    double start = now();
    for (size_t i = 0; i < copies; i++) {
        struct block_place place = datafile_place(e, 0);
        block_verify_run(bytes + i * len, len / e->block_size, &place, &summary, NULL, NULL);
    }
    double spent = now() - start;
    if (summary.bad)
        fprintf(stderr, "%llu bad blocks\n", (unsigned long long)summary.bad);
    return (double)len * (double)copies / spent / 1e9;
}

static double check(const uint8_t *bytes, size_t len, size_t copies, const struct manifest_entry *e)
{
    static struct redo_check c;
    double start = now();
    for (size_t i = 0; i < copies; i++) {
        struct err err = {0};
        struct manifest_entry found = {0};
        redo_check_init(&c, len);
        for (size_t at = 0; at < len; at += 1 << 20)
            redo_check_feed(&c, bytes + i * len + at, len - at < 1 << 20 ? len - at : 1 << 20);
        if (!redo_check_finish(&c, &found, &err) || found.state != STATE_GOOD)
            fprintf(stderr, "log is %s: %s\n", file_state_text(found.state), found.why);
        manifest_entry_done(&found);
    }
    return e->size ? (double)len * (double)copies / (now() - start) / 1e9 : 0;
}

static bool run(const char *path, const char *label, enum file_kind kind,
                double (*round)(const uint8_t *, size_t, size_t, const struct manifest_entry *))
{
    size_t len, copies;
    double rates[ROUNDS];
    uint8_t *bytes = load(path, &len, &copies);
    if (!bytes)
        return false;
    struct manifest_entry e = {0};
    oracle_identify(bytes, len < IDENTIFY_HEAD_BYTES ? len : IDENTIFY_HEAD_BYTES, len, path, &e);
    if (e.kind != kind)
        fprintf(stderr, "%s: not a %s but a %s\n", path, file_kind_text(kind),
                file_kind_text(e.kind));
    for (int i = 0; i < ROUNDS && e.kind == kind; i++)
        rates[i] = round(bytes, len, copies, &e);
    free(bytes);
    if (e.kind != kind)
        return false;
    qsort(rates, ROUNDS, sizeof *rates, compare);
    printf("%s %.2f\n", label, rates[ROUNDS / 2]);
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_block DATAFILE [LOG]\n");
        return 2;
    }
    bool ok = run(argv[1], "block_verify_gbs", FILE_DATAFILE, scan);
    if (argc > 2)
        ok = run(argv[2], "log_check_gbs", FILE_ARCHIVED_LOG, check) && ok;
    return !ok;
}
