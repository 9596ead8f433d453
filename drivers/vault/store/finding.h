/* What the tools have to say of a store, one thing at a time. */
#pragma once
#include "drivers/vault/store/store.h"

enum finding_kind {
    FINDING_DAMAGE,  /* something cannot be read, or is not what it was */
    FINDING_MISSING, /* needed, and the rows would let it be deleted */
    FINDING_LEAKED,  /* kept, and nobody needs it: room, no danger */
    FINDING_BACK,    /* was deleted, is whole and is back in rebuilt rows */
    FINDING_LOST,    /* a seal tells of it; not all of it is there any more */
    FINDING_STRAY,   /* an object that no row names: a crash's rest, or a running seal's */
    FINDING_REPAIRED,
    FINDING_CLOSED,  /* a volume that takes no changes, as who serves it says */
    FINDING_REFUSED, /* stored as it was written, and the block check says it is broken */
    FINDING_KINDS
};
/* Texts are borrowed for the call; empty or NULL where it has none. */
struct finding {
    enum finding_kind kind;
    uint64_t family;
    const char *object;            /* its name in the store */
    const char *volume, *snapshot; /* snapshot NULL: the volume's head */
    const char *path;              /* of the file */
    uint64_t first, count;         /* records; count 0: none are named */
    const char *text;
};
typedef void finding_fn(void *arg, const struct finding *finding);
/* "damage", "missing", ... */
const char *finding_word(enum finding_kind kind);
/* Whether the store is less than it should be: exit code 1. */
bool finding_is_damage(enum finding_kind kind);
