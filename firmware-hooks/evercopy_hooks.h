/* Evercopy hooks: the C interface for those who build Evercopy into a storage box. C89; permanent:
 * see README.md for how it may grow. */
#ifndef EVERCOPY_HOOKS_H
#define EVERCOPY_HOOKS_H

/* Grows by one when something is added. What was built for a lower one goes on working. */
#define EVERCOPY_HOOKS_VERSION 1

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What on_event returns. Values from 2 to 99 are reserved, any other says "failed"; a failed hook
 * is told in the log and holds nothing up. */
enum evercopy_hooks_answer {
    EVERCOPY_HOOKS_GO_ON = 0,
    EVERCOPY_HOOKS_LATER = 1, /* only for an event that may be delayed: call again soon */
    EVERCOPY_HOOKS_RESERVED_FIRST = 2,
    EVERCOPY_HOOKS_RESERVED_LAST = 99,
    EVERCOPY_HOOKS_FAILED = 100
};

/* One event. All texts end with NUL, are borrowed until on_event returns, and may hold any byte
 * but NUL: names and messages come from database hosts. */
struct evercopy_hooks_event {
    size_t size;           /* of this struct as the caller knows it; test before newer members */
    unsigned long version; /* EVERCOPY_HOOKS_VERSION of the caller */
    const char *name;      /* "snapshot.after" */
    /* key, value, key, value, ..., NULL. Keys may be added at any time; order means nothing. */
    const char *const *pairs;
};

/* What the caller offers. */
struct evercopy_hooks_host {
    size_t size;
    unsigned long version;
    void *self; /* the caller's own, to be handed back */
    /* One reply: "message" is shown in the agent's log, "again_ms" says when to call again after
     * LATER. Unknown keys are ignored. */
    void (*reply)(void *self, const char *key, const char *value);
};

/* What the library gives. Must stay valid until the process ends. */
struct evercopy_hooks {
    size_t size;           /* sizeof(struct evercopy_hooks) when the library was built */
    unsigned long version; /* EVERCOPY_HOOKS_VERSION when the library was built */
    const char *name;      /* for messages */
    /* Called once in a process of its own, which ends afterwards; there is no other thread. */
    int (*on_event)(const struct evercopy_hooks_host *host,
                    const struct evercopy_hooks_event *event);
};

#if defined(__GNUC__)
#define EVERCOPY_HOOKS_EXPORT __attribute__((visibility("default")))
#else
#define EVERCOPY_HOOKS_EXPORT
#endif

/* The one symbol a library exports. NULL: it refuses this host. */
EVERCOPY_HOOKS_EXPORT const struct evercopy_hooks *
evercopy_hooks_entry(const struct evercopy_hooks_host *host);

#ifdef __cplusplus
}
#endif
#endif
