/* Identities: pinned against hashes that another program made of the spelled-out bytes. */
#include "drivers/vault/store/store.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define NO_ERR(call)                                                                               \
    do {                                                                                           \
        struct err no_err = {0};                                                                   \
        struct err *err = &no_err;                                                                 \
        cr_assert(call, "%s: %s", #call, no_err.text);                                             \
    } while (0)

/* Python's hashlib: H(x) is SHA-256, Z(-1) = H(8192 zeros), Z(n) = H(n, 256 times Z(n - 1)).
 * empty = H("tree"). tree = H("tree" and, for each: kind, u16 bytes of path, path, file hash):
 *   2 ""      H("file" u64 0 u8 0 Z(0))
 *   2 "D"     the same
 *   1 "D/a"   H("file" u64 2457500 u8 1 ROOT), of 300 records 0 is all 'A', 256 is bytes i % 251
 *   1 "D/ä"   H("file" u64 2^40 u8 3 Z(3)) */
static const char empty[] = "dc9c5edb8b2d479e697b4b0b8ab874f32b325138598ce9e7b759eb8292110622";
static const char root_hash[] = "c82b4e1f00993ae3043aae5318fa3b5109ce1a4af17a0c4ef6f4f4bb32add946";
static const char tree[] = "fa5bb278ab65330308e4d9c53c25e02a4a525fbdc3f1bc18bb165249ab4dbf69";
static const char zeros_4[] = "e17b0b65512daf83e6e68c891efd5bc43b8c50ab1f85f93820d21f42a0eff905";

static void is(const struct hash *hash, const char *wanted)
{
    char text[2 * HASH_BYTES + 1];
    for (size_t i = 0; i < HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash->bytes[i]);
    cr_assert_str_eq(text, wanted);
}

static bool put_node(void *arg, const struct bytes *encoded, struct addr *ret_addr, struct err *err)
{
    uint32_t *count = arg;
    (void)encoded;
    (void)err;
    *ret_addr = (struct addr){1, (*count)++, 0};
    return true;
}

/* The map of "D/a", as a seal makes it. */
static struct root root_of_a(void)
{
    uint8_t record[RECORD_BYTES];
    uint32_t count = 0;
    struct root root;
    struct map_source source = {0};
    struct map_sink sink = {.node = put_node, .arg = &count};
    struct map_change change = {.kind = PLACE_STORED, .addr = {2, 0, 0}};
    struct map_update *update = NULL;
    NO_ERR((update = map_update_begin(&source, &sink, NULL, 1, err)));
    memset(record, 'A', sizeof record);
    hash_bytes(record, sizeof record, &change.hash);
    NO_ERR(map_update_set(update, &change, err));
    for (size_t i = 0; i < sizeof record; i++)
        record[i] = (uint8_t)(i % 251);
    hash_bytes(record, sizeof record, &change.hash);
    change.record = 256;
    change.addr.item = 1;
    NO_ERR(map_update_set(update, &change, err));
    NO_ERR(map_update_end(update, 300 * RECORD_BYTES - 100, &root, err));
    return root;
}

Test(identity, is_what_another_program_makes_of_the_same_bytes)
{
    AUTO(identity) struct identity *identity = NULL;
    struct hash hash;
    struct root a = root_of_a();
    is(hash_zero(4), zeros_4);
    is(&a.hash, root_hash);
    NO_ERR((identity = identity_begin(err)));
    identity_end(TAKE(identity), &hash);
    is(&hash, empty);
    NO_ERR((identity = identity_begin(err)));
    NO_ERR(identity_add(identity, INODE_DIRECTORY, "", 512, NULL, err));
    NO_ERR(identity_add(identity, INODE_DIRECTORY, "D", 4096, &a, err));
    NO_ERR(identity_add(identity, INODE_FILE, "D/a", 300 * RECORD_BYTES - 100, &a, err));
    NO_ERR(identity_add(identity, INODE_FILE, "D/\xc3\xa4", (uint64_t)1 << 40, NULL, err));
    identity_end(TAKE(identity), &hash);
    is(&hash, tree);
}

Test(identity, tells_sizes_apart_that_have_the_same_records)
{
    struct root a = root_of_a();
    struct hash one, other;
    for (int i = 0; i < 2; i++) {
        AUTO(identity) struct identity *identity = NULL;
        NO_ERR((identity = identity_begin(err)));
        NO_ERR(identity_add(identity, INODE_FILE, "a", (uint64_t)(299 * RECORD_BYTES + 1 + i), &a,
                            err));
        identity_end(TAKE(identity), i ? &other : &one);
    }
    cr_assert_not(hash_equal(&one, &other));
}

static void refused(struct identity *identity, uint8_t kind, const char *path, uint64_t size,
                    const struct root *root, enum err_code code)
{
    struct err err = {0};
    cr_expect_not(identity_add(identity, kind, path, size, root, &err));
    cr_expect_eq(err.code, code, "%s", err.text);
}

Test(identity, refuses_what_is_out_of_order_or_impossible)
{
    static char deep[4098];
    struct root a = root_of_a();
    struct hash before, after;
    for (int i = 0; i < 2; i++) {
        AUTO(identity) struct identity *identity = NULL;
        NO_ERR((identity = identity_begin(err)));
        NO_ERR(identity_add(identity, INODE_FILE, "m", 5, NULL, err));
        if (i == 1) {
            memset(deep, 'x', sizeof deep - 1);
            refused(identity, INODE_FILE, "m", 5, NULL, ERR_INVALID);
            refused(identity, INODE_FILE, "A", 5, NULL, ERR_INVALID);
            refused(identity, INODE_FREE, "n", 5, NULL, ERR_INVALID);
            refused(identity, 9, "n", 5, NULL, ERR_INVALID);
            refused(identity, INODE_FILE, deep, 5, NULL, ERR_INVALID);
            refused(identity, INODE_FILE, "n", 5, &a, ERR_CORRUPT);
        }
        identity_end(TAKE(identity), i ? &after : &before);
    }
    cr_assert(hash_equal(&before, &after), "what is refused leaves no trace");
}
