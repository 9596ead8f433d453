/* Who serves many on one thread is told before that thread waits for long: for a disk, for
 * another's work. Of this thread alone. */
#pragma once
#include <stdbool.h>

/* fn is called at the next wait, once; it may not wait itself, and the caller may hold locks.
 * NULL: nobody is told. */
void waiting_listen(void (*fn)(void *arg), void *arg);
bool waiting_is_heard(void);
/* Said before such a wait. Nothing happens where nobody listens. */
void waiting_begins(void);
