/* Fuzz target: a fingerprint file as found on a box, under a secret as found there. What proves to
 * be ours says what was written; the rest is as if it were not there, and the next pass mends it.
 */
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "drivers/vault/ingest/fingers.h"
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOLUME = 0x11, FILE_NUMBER = 0x22, PROVEN_BYTES = 64, HEADER_BYTES = 80, MANY = 8192 };
enum { MEND_PROOF = 1, SHORT_SECRET = 2, MEND_LENGTH = 4 };

static char folder[64];
static uint8_t secret[FINGERPRINT_SECRET_BYTES];

static void remove_folder(void)
{
    struct err err = {0};
    IGNORE(sys_remove_tree(folder, &err)); /* a test's own, in memory */
}

static void put(const char *name, const uint8_t *data, size_t size)
{
    char path[128];
    str_format(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert(file && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

/* What lies behind the proof, and behind the length, is reached, too. */
static size_t mend(uint8_t *bytes, size_t size, int how)
{
    struct fingerprint proof;
    if (size < HEADER_BYTES)
        return size;
    if (how & MEND_LENGTH) {
        uint64_t told = (size - HEADER_BYTES) / FINGERPRINT_BYTES * RECORD_BYTES;
        memcpy(bytes + 40, &told, sizeof told);
        size -= (size - HEADER_BYTES) % FINGERPRINT_BYTES;
    }
    if (how & MEND_PROOF) {
        fingerprint_of(secret, bytes, PROVEN_BYTES, &proof);
        memcpy(bytes + PROVEN_BYTES, proof.bytes, sizeof proof.bytes);
    }
    return size;
}

/* A pass from what is kept (if it is) to what is kept afterwards. */
static void pass_over(struct fingers *f, bool kept, const struct fingers_of *was, size_t records)
{
    static struct fingerprint prints[MANY];
    struct err err = {0};
    struct fingers_of now = {.volume = VOLUME, .file = FILE_NUMBER, .generation = 1, .sequence = 9};
    struct fingers_of found;
    size_t known = 0;
    struct fingers_pass *pass =
        fingers_begin(f, FILE_NUMBER, kept ? FINGERS_KEPT : FINGERS_NONE, &err);
    assert(pass && fingers_known(pass, prints, MANY, &known, &err));
    assert(known == (kept ? records : 0));
    now.size = kept ? was->size : (uint64_t)3 * RECORD_BYTES;
    if (!kept)
        memset(prints, 7, 3 * sizeof *prints);
    assert(fingers_seen(pass, prints, kept ? known : 3, &err) && fingers_end(pass, &err) &&
           fingers_keep(f, &now, &err));
    assert(fingers_find(f, FILE_NUMBER, &found) && memcmp(&found, &now, sizeof now) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    struct fingers_of of = {0};
    const uint64_t here = FILE_NUMBER, volume = VOLUME;
    char path[128];
    if (!folder[0]) {
        str_copy(folder, sizeof folder, "/dev/shm/evercopy-fuzz-XXXXXX");
        assert(mkdtemp(folder) && atexit(remove_folder) == 0);
        for (size_t i = 0; i < sizeof secret; i++)
            secret[i] = (uint8_t)(i * 37 + 11);
    }
    if (size < 1 || size > 1 << 16)
        return 0;
    put("secret", secret, data[0] & SHORT_SECRET ? size % sizeof secret : sizeof secret);
    AUTO(fingers) struct fingers *f = fingers_open(folder, VOLUME, &err);
    AUTO(mem) uint8_t *bytes = own_alloc(size, &err);
    assert(f && bytes);
    memcpy(bytes, data + 1, size - 1);
    size_t len = mend(bytes, size - 1, data[0]);
    str_format(path, sizeof path, "%016x/%06x", VOLUME, FILE_NUMBER);
    put(path, bytes, len);
    bool kept = fingers_find(f, FILE_NUMBER, &of);
    assert(!kept || (of.volume == VOLUME && of.file == FILE_NUMBER && len >= HEADER_BYTES &&
                     !(data[0] & SHORT_SECRET) && of.size <= (uint64_t)len * RECORD_BYTES));
    pass_over(f, kept, &of, kept ? (len - HEADER_BYTES) / FINGERPRINT_BYTES : 0);
    fingers_forget_pass(f, FILE_NUMBER);
    assert(fingers_sweep(f, &here, 1, &err) && fingers_find(f, FILE_NUMBER, &of));
    assert(fingers_sweep(f, NULL, 0, &err) && !fingers_find(f, FILE_NUMBER, &of));
    assert(fingers_sweep_volumes(folder, &volume, 1, &err) &&
           fingers_sweep_volumes(folder, NULL, 0, &err));
    return 0;
}
