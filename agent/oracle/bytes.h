/* Numbers and names out of Oracle bytes, in the byte order of the platform that wrote them. */
#pragma once
#include "agent/oracle/scn.h"
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline uint16_t bytes_u2(const uint8_t *at, enum byte_order order)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return order == ORDER_BIG ? be16toh(value) : le16toh(value);
}

static inline uint32_t bytes_u4(const uint8_t *at, enum byte_order order)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return order == ORDER_BIG ? be32toh(value) : le32toh(value);
}

/* Copies at most len bytes up to the first NUL; control signs become '?'. ret holds len + 1. */
void bytes_name(const uint8_t *at, size_t len, char *ret);
bool bytes_are_zero(const uint8_t *at, size_t len);
/* Offset of the text within the first len bytes, -1 when it is not there. */
ptrdiff_t bytes_find(const uint8_t *at, size_t len, const char *text);
