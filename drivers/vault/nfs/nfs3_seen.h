/* WRITEs that were done lately, and changes that were called off. One that comes late a second
 * time, over a connection its client has given up, must not undo what was changed since. In memory:
 * such connections end with us. */
#pragma once
#include "agent/base/own.h"
#include "drivers/vault/volume/vault.h"

struct nfs3_seen;
struct nfs3_seen *nfs3_seen_new(struct err *err) MUST;
void nfs3_seen_free(struct nfs3_seen *seen); /* NULL is fine */
OWN_DEFINE(nfs3_seen, struct nfs3_seen, nfs3_seen_free);

struct nfs3_seen_write {
    uint64_t volume, file, offset;
    uint32_t count, stable;
    const uint8_t *data;
};
/* Who asks, what for, and all of the bytes; never 0. Another one after each start. */
uint64_t nfs3_seen_key(const struct nfs3_seen *seen, const struct view_caller *caller,
                       const struct nfs3_seen_write *write);
/* Of any other change: who asks, by which procedure, and all of its arguments. */
uint64_t nfs3_seen_key_of(const struct nfs3_seen *seen, const struct view_caller *caller,
                          uint32_t procedure, const uint8_t *args, size_t len);

enum nfs3_seen_how {
    NFS3_SEEN_NOT,        /* do it, then say how it went; the end of one that failed: forget it */
    NFS3_SEEN_DONE,       /* it was done */
    NFS3_SEEN_CALLED_OFF, /* its client was told to come again, and has */
};
/* One that is under way is waited for. */
enum nfs3_seen_how nfs3_seen_begin(struct nfs3_seen *seen, uint64_t key) MUST;
void nfs3_seen_end(struct nfs3_seen *seen, uint64_t key, enum nfs3_seen_how how);
