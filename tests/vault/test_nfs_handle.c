/* File handles: what is ours comes back, anything else is known as such. */
#include "drivers/vault/nfs/handle.h"
#include <criterion/criterion.h>
#include <string.h>

Test(nfs_handle, comes_back_as_it_was)
{
    uint8_t bytes[HANDLE_BYTES];
    struct handle made = {0x1122334455667788, UINT64_MAX, 0xdeadbeef}, read;
    handle_encode(&made, bytes);
    cr_assert(handle_decode(bytes, sizeof bytes, &read));
    cr_assert(read.volume == made.volume && read.file == made.file &&
              read.generation == made.generation);
}

/* Clients keep handles over an update of the server: the bytes are a promise. */
Test(nfs_handle, has_the_bytes_it_always_had)
{
    static const uint8_t as_ever[HANDLE_BYTES] = {'E', 'V', 'C', 1, 0,    0,    0,    0,   0, 0,
                                                  0,   1,   0,   0, 0,    0,    0,    0,   0, 2,
                                                  0,   0,   0,   3, 0x53, 0x31, 0x83, 0x10};
    uint8_t bytes[HANDLE_BYTES];
    handle_encode(&(struct handle){1, 2, 3}, bytes);
    cr_assert_eq(memcmp(bytes, as_ever, HANDLE_BYTES), 0);
}

Test(nfs_handle, no_flipped_bit_and_no_other_length_passes)
{
    uint8_t bytes[HANDLE_BYTES + 4] = {0};
    struct handle read = {.volume = 99};
    handle_encode(&(struct handle){7, 8, 9}, bytes);
    for (size_t bit = 0; bit < (size_t)8 * HANDLE_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_expect(!handle_decode(bytes, HANDLE_BYTES, &read), "bit %zu", bit);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t len = 0; len <= sizeof bytes; len++)
        cr_expect(handle_decode(bytes, len, &read) == (len == HANDLE_BYTES), "%zu bytes", len);
    cr_assert_eq(read.volume, 7);
}
