/* File handles: which file of which volume, for ever. 28 bytes on the wire, nothing in them is
 * trusted: rights are asked at each call. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HANDLE_BYTES = 28 };
struct handle {
    uint64_t volume, file;
    uint32_t generation;
};
void handle_encode(const struct handle *handle, uint8_t ret[HANDLE_BYTES]);
/* False: not one of ours (BADHANDLE). The bytes: "EVC" 1, volume, file, generation, CRC of these.
 */
bool handle_decode(const void *bytes, size_t len, struct handle *ret);
