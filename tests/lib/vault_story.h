/* A seeded story of a vault - writes, names, snapshots of sets, clones, drops, seals - with all it
 * may be after each step, so that what a crash or a failure leaves can be judged. */
#pragma once
#include "drivers/vault/volume/vault.h"
#include "tests/lib/random.h"

enum {
    STORY_VOLUMES = 6,
    STORY_LANDINGS = 3, /* the first ones */
    STORY_ENTRIES = 7,  /* of a volume: files and folders */
    STORY_PASTS = 4,
    STORY_BYTES = 6 * RECORD_BYTES,
    STORY_PAGE = 4096,
};

enum story_kind {
    STORY_VOLUME,
    STORY_CREATE,
    STORY_MKDIR,
    STORY_WRITE,
    STORY_COMMIT,
    STORY_RESIZE,
    STORY_REMOVE,
    STORY_RENAME,
    STORY_LINK,
    STORY_SNAPSHOT,
    STORY_DROP,
    STORY_CLONE,
    STORY_COMPOSE,
    STORY_CLONE_DROP,
    STORY_VOLUME_DROP,
    STORY_NOTE,
    STORY_LOCK,
    STORY_SWAP,
    STORY_SEAL,
    STORY_THIN,
    STORY_REOPEN,
    STORY_KINDS,
};
struct story_op {
    enum story_kind kind;
    size_t volume, entry, past, clone; /* by index; clone: the new one, of a link too */
    uint32_t members;                  /* snapshot: a bit per volume */
    uint64_t size, offset;
    bool stable;
    uint32_t number; /* of a note */
    char path[24], name[16];
    struct story_part {
        bool live;
        size_t past, entry;
        char to[24];
    } parts[4];
    size_t part_count;
};

/* All that a file's content ever was; never shortened. */
struct story_image {
    size_t size;
    uint8_t *bytes; /* STORY_BYTES, zeros behind size */
};
struct story_life {
    struct story_image *images;
    size_t count, capacity;
};

struct story_entry {
    bool used, folder;
    char path[24];
    /* images: last acknowledged to be on disk; latest. Names of one file share a life. */
    size_t life, stable, now;
};
struct story_past {
    bool used, locked;
    char name[16];
    uint32_t note; /* 0: none */
    struct story_entry entries[STORY_ENTRIES];
};
struct story_volume {
    bool used, clone;
    size_t landing, parent;
    char name[32], last[16]; /* as the vault's calls take it; a clone's own */
    struct story_entry entries[STORY_ENTRIES];
    struct story_past pasts[STORY_PASTS];
};
struct story_state {
    struct story_volume volumes[STORY_VOLUMES];
};
struct story_seen { /* identities as first told */
    char volume[32], name[16];
    struct hash identity;
};
struct story {
    struct rnd rnd;
    uint32_t names;
    struct story_life *lives;
    size_t life_count, life_capacity;
    struct story_op *ops;
    struct story_state *states; /* states[n]: after n operations */
    size_t op_count;
    size_t is; /* the state whose names the last check found */
    struct story_seen *seen;
    size_t seen_count, seen_capacity;
};

/* Operations that all can be done, one after the other. */
struct story *story_new(struct rnd rnd, size_t op_count, struct err *err) MUST;
void story_free(struct story *story);
OWN_DEFINE(story, struct story, story_free);
const char *story_kind_name(enum story_kind kind);
/* Operation n. For STORY_REOPEN the caller opens again. */
bool story_do(struct story *story, struct vault *vault, size_t n, struct err *err) MUST;
/* What clients do after a new start: all files once more as they are in states[n], stable. */
bool story_send_again(struct story *story, struct vault *vault, size_t n, struct err *err) MUST;
/* The error says that it was done before. */
bool story_was_done(const struct story *story, size_t n, const struct err *err);

/* What may be after `done` acknowledged operations with the next one under way (under_way), or
 * none. ret_sum: of everything that was read. */
bool story_check(struct story *story, struct vault *vault, size_t done, bool under_way,
                 uint64_t *ret_sum, struct err *err) MUST;
/* Whoever opened it goes on: all of it is written, grown, snapshotted, dropped; nothing is left. */
bool story_goes_on(struct vault *vault, struct err *err) MUST;

/* Operation n, asked of a vault behind a control socket. A swap, or opening again, is a commit of
 * all files there. */
struct wire;
bool story_ask(struct story *story, struct wire *wire, size_t n, struct err *err) MUST;
