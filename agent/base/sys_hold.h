/* Test hook: a disk that hangs. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum sys_hold {
    SYS_HOLD_WRITE = 1, /* sys_pwrite, sys_write */
    SYS_HOLD_SYNC = 2,  /* sys_fsync, sys_fdatasync */
    SYS_HOLD_OPEN = 4,  /* sys_openat, sys_open */
};

/* From now on calls of these kinds (bits; 0: none) wait before they do anything, until they are no
 * longer held. `what`: only those whose `what` (of an open, the name) holds this text; NULL: all.
 * It outlives the hold. */
void sys_hold(unsigned kinds, const char *what);
/* Those that wait go on waiting; no other comes to. */
void sys_hold_no_more(void);
/* How many wait at this moment; a test waits for that rather than for a time. */
size_t sys_held(void);

/* Of sys.c, before such a call. */
extern _Atomic unsigned sys_hold_kinds;
void sys_hold_here(enum sys_hold kind, const char *what);
static inline void sys_hold_point(enum sys_hold kind, const char *what)
{
    if (__builtin_expect(sys_hold_kinds & kind, 0))
        sys_hold_here(kind, what);
}
