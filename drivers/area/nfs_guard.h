/* Looks a reply over before libnfs's decoders see a byte of it: they trust every length. Pure. */
#pragma once
#include "agent/base/err.h"
#include <stdint.h>

/* A shape, read left to right (README.md, "Shapes"):
 *   u  32 bits              h  64 bits              b  a flag, 0 or 1
 *   A  attributes (84)      W  size and times before a change (24)
 *   8  eight bytes          ?X a flag, then X when it is 1
 *   F  file handle, 1..64   N  name, 1..255, no '/' or NUL
 *   V  at most 32 numbers   *(...)  each led by a flag 1, a flag 0 ends them */
bool nfs_guard(const char *shape, const uint8_t *bytes, size_t len, struct err *err) MUST;
