/* WRITEs that were done lately. One that comes late a second time, over a connection its client has
 * given up, must not undo what was written since. In memory: such connections end with us. */
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
/* False: it was done. One that is under way is waited for. True: do it, then say how it went. */
bool nfs3_seen_begin(struct nfs3_seen *seen, uint64_t key) MUST;
void nfs3_seen_end(struct nfs3_seen *seen, uint64_t key, bool done);
