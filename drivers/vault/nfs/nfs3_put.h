/* Results of the NFSv3 procedures, piece by piece: each puts bytes at `at` and returns where the
 * next go. */
#pragma once
#include "drivers/vault/nfs/exports.h"
#include "drivers/vault/nfs/handle.h"

enum { NFS3_ATTRIBUTES_BYTES = 84, NFS3_HANDLE_BYTES = 4 + HANDLE_BYTES };

uint8_t *nfs3_put_u32(uint8_t *at, uint32_t n);
uint8_t *nfs3_put_u64(uint8_t *at, uint64_t n);
uint8_t *nfs3_put_time(uint8_t *at, uint64_t time_us);
/* With the length in front, padded with zeros. */
uint8_t *nfs3_put_opaque(uint8_t *at, const void *bytes, size_t len);
uint8_t *nfs3_put_handle(uint8_t *at, const struct export *export, const struct view_file *file);
uint8_t *nfs3_put_attributes(uint8_t *at, const struct export *export,
                             const struct view_file *file);
/* With the flag in front; a file of number 0, or NULL: not known. */
uint8_t *nfs3_put_after(uint8_t *at, const struct export *export, const struct view_file *file);
uint8_t *nfs3_put_change(uint8_t *at, const struct export *export,
                         const struct view_change *change);
