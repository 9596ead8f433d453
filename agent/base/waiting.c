/* Who is told before this thread waits. */
#include "agent/base/waiting.h"

#include <stddef.h>

static _Thread_local struct {
    void (*fn)(void *arg);
    void *arg;
} listener;

void waiting_listen(void (*fn)(void *arg), void *arg)
{
    listener.fn = fn;
    listener.arg = arg;
}

bool waiting_is_heard(void) { return listener.fn != NULL; }

void waiting_begins(void)
{
    void (*fn)(void *arg) = listener.fn;
    if (!fn)
        return;
    listener.fn = NULL;
    fn(listener.arg);
}
