/* Who serves many on one thread is told before that thread waits for long: for a disk, for
 * another's work; and may call off what has waited too long. Each thread has its own listener. */
#pragma once
#include "agent/base/err.h"
#include <pthread.h>
#include <stdbool.h>

/* fn is called at the next wait, once; it may not wait itself, and the caller may hold locks.
 * NULL: nobody is told. */
void waiting_listen(void (*fn)(void *arg), void *arg);
bool waiting_is_heard(void);
/* Said before such a wait. Nothing happens where nobody listens. */
void waiting_begins(void);

/* What seldom waits, and cannot know before, is watched instead: when a thread has not come from
 * begin to end within WAITING_WATCH_MS to twice that, another one calls fn. So what fn touches is
 * left alone in between. Watches do not nest; where nobody listens nothing happens. */
enum { WAITING_WATCH_MS = 20 };
void waiting_watch_begin(void);
void waiting_watch_end(void);
/* The thread that watches, as long as one who started it has not stopped it. */
bool waiting_watch_start(struct err *err) MUST;
void waiting_watch_stop(void);

/* Locks. While any watched thread stays for so long, one that finds the lock taken says at once
 * that it waits: for the same, most likely. */
void waiting_lock(pthread_mutex_t *lock);

/* may, as above, is asked each time; NULL: nobody is. */
void waiting_ask(bool (*may)(void *arg), void *arg);
/* Asked before a change, with the lock that orders it among others held: false: it was called off
 * while it waited, and what was called off must not happen any more. True where nobody is asked. */
bool waiting_may_change(void) MUST;
