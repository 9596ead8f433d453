/* Records of a volume's journal: what each kind says, as bytes and back (README.md lists them). */
#pragma once
#include "drivers/vault/store/inode.h"

enum record_kind {
    RECORD_FACTS = 1, /* what the volume is; opens every state */
    RECORD_LAYER,     /* a layer is there */
    RECORD_SWAP,      /* writes go to layer `next` from here on; `sequence` is frozen */
    RECORD_SNAPSHOT,  /* layer `sequence` is a snapshot */
    RECORD_WHOLE,     /* the set `id` is whole */
    RECORD_DELETED,   /* the snapshot `sequence` is deleted */
    RECORD_SEALED,    /* layers up to `sequence` are in the store */
    RECORD_LOCKED,    /* of the snapshot `sequence` */
    RECORD_CREATE,
    RECORD_REMOVE,
    RECORD_RENAME, /* of file from folder to to_folder/name; `replaced` goes (0: none) */
    RECORD_ATTRIBUTES,
    RECORD_PART,   /* file's content is that of file `below` in origin `source` */
    RECORD_ANSWER, /* what a caller was told before the state was written */
    RECORD_LINK,   /* `file` becomes a further name of `below` */
    RECORD_KINDS,
};

enum { RECORD_MEMBERS_MAX = 16, RECORD_TEXT_MAX = 256 };

/* Which attributes a RECORD_ATTRIBUTES sets. */
enum {
    SET_MODE = 1,
    SET_UID = 2,
    SET_GID = 4,
    SET_MTIME = 8,
    SET_ATIME = 16,
    SET_CONTENT = 32, /* size or mtime are the layer's to keep: maybe not on disk with the record */
};

struct record {
    uint8_t kind;
    /* who asked, for replayed requests; sum of what was asked */
    uint64_t client, sum;
    uint32_t xid;
    uint8_t asked; /* ANSWER: the kind of what was done */
    uint64_t time_us;
    uint64_t sequence, next, id;
    uint64_t volume, family; /* FACTS */
    uint8_t clone, mapped;   /* mapped: composed, by PART records */
    uint64_t file, folder, to_folder, replaced, below, size;
    uint8_t source, file_kind, mask;
    uint16_t mode;
    uint32_t uid, gid;
    uint64_t mtime_us, atime_us;
    uint64_t remaining_ms, until_boot_ms;
    char boot_id[40];
    char name[RECORD_TEXT_MAX], origin[RECORD_TEXT_MAX];
    /* FACTS: (volume, sequence) of origins; SNAPSHOT: volumes of the set, (volume, 0) */
    uint8_t member_count;
    struct volume_pair {
        uint64_t volume, sequence;
    } members[RECORD_MEMBERS_MAX];
};
bool record_encode(const struct record *record, struct bytes *to, struct err *err) MUST;
/* CORRUPT when it is not exactly one record of that kind. */
bool record_decode(uint8_t kind, struct cursor *payload, struct record *ret, struct err *err) MUST;

/* Records behind one another, as in a state: varint length, kind, payload. */
bool record_append(struct bytes *list, const struct record *record, struct err *err) MUST;
typedef bool record_each(void *arg, const struct record *record, struct err *err);
bool record_walk(const void *list, size_t len, record_each *fn, void *arg, struct err *err) MUST;
