/* Numbers and names out of Oracle bytes, in the byte order of the platform that wrote them. */
#include "agent/oracle/bytes.h"

void bytes_name(const uint8_t *at, size_t len, char *ret)
{
    size_t n = 0;
    for (; n < len && at[n]; n++)
        ret[n] = (char)(at[n] < 0x20 || at[n] == 0x7f ? '?' : at[n]);
    ret[n] = '\0';
}

bool bytes_are_zero(const uint8_t *at, size_t len)
{
    /* All equal to their neighbour and the first zero: memcmp does the fast part. */
    return len == 0 || (at[0] == 0 && memcmp(at, at + 1, len - 1) == 0);
}

ptrdiff_t bytes_find(const uint8_t *at, size_t len, const char *text)
{
    const uint8_t *found = len ? memmem(at, len, text, strlen(text)) : NULL;
    return found ? found - at : -1;
}
