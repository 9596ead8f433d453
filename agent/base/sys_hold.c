/* A disk that hangs, for tests. */
#include "agent/base/sys_hold.h"

#include "agent/base/err.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

_Atomic unsigned sys_hold_kinds;
static pthread_mutex_t hold_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t let_go = PTHREAD_COND_INITIALIZER;
static const char *hold_what;
static size_t held;
static bool closed; /* to calls that come */

void sys_hold(unsigned kinds, const char *what)
{
    IGNORE(pthread_mutex_lock(&hold_lock));
    hold_what = what;
    closed = false;
    sys_hold_kinds = kinds;
    IGNORE(pthread_cond_broadcast(&let_go));
    IGNORE(pthread_mutex_unlock(&hold_lock));
}

void sys_hold_no_more(void)
{
    IGNORE(pthread_mutex_lock(&hold_lock));
    closed = true;
    IGNORE(pthread_mutex_unlock(&hold_lock));
}

size_t sys_held(void)
{
    IGNORE(pthread_mutex_lock(&hold_lock));
    size_t count = held;
    IGNORE(pthread_mutex_unlock(&hold_lock));
    return count;
}

void sys_hold_here(enum sys_hold kind, const char *what)
{
    IGNORE(pthread_mutex_lock(&hold_lock));
    bool passes = closed;
    held++;
    while (!passes && (sys_hold_kinds & kind) && (!hold_what || strstr(what, hold_what)))
        IGNORE(pthread_cond_wait(&let_go, &hold_lock));
    held--;
    IGNORE(pthread_mutex_unlock(&hold_lock));
}
