/* File handles: which file of which volume, for ever. */
#include "drivers/vault/nfs/handle.h"

#include <endian.h>
#include <string.h>

enum { SUMMED = HANDLE_BYTES - 4 };
static const uint8_t mark[4] = {'E', 'V', 'C', 1};

/* CRC-32C by nibbles: sixteen numbers stay in the cache of a busy server, 1 KiB need not. */
static uint32_t sum(const uint8_t *bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = UINT32_MAX;
    for (int i = 0; i < SUMMED; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

void handle_encode(const struct handle *handle, uint8_t ret[HANDLE_BYTES])
{
    uint64_t volume = htobe64(handle->volume), file = htobe64(handle->file);
    uint32_t generation = htobe32(handle->generation);
    memcpy(ret, mark, 4);
    memcpy(ret + 4, &volume, 8);
    memcpy(ret + 12, &file, 8);
    memcpy(ret + 20, &generation, 4);
    uint32_t crc = htobe32(sum(ret));
    memcpy(ret + SUMMED, &crc, 4);
}

bool handle_decode(const void *bytes, size_t len, struct handle *ret)
{
    const uint8_t *at = bytes;
    uint64_t volume, file;
    uint32_t generation, crc;
    if (len != HANDLE_BYTES || memcmp(at, mark, 4) != 0)
        return false;
    memcpy(&crc, at + SUMMED, 4);
    if (be32toh(crc) != sum(at))
        return false;
    memcpy(&volume, at + 4, 8);
    memcpy(&file, at + 12, 8);
    memcpy(&generation, at + 20, 4);
    *ret = (struct handle){be64toh(volume), be64toh(file), be32toh(generation)};
    return true;
}
