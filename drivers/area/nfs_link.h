/* One TCP connection of RPC records (RFC 5531, 11). Never waits beyond what it is told, never
 * keeps more than its buffer. Belongs to one thread at a time. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

/* How long somebody waits, and who may end it sooner (asked several times a second). */
struct nfs_patience {
    uint64_t until_ms; /* clock_mono_ms */
    bool (*stopped)(void *arg);
    void *arg;
};

enum { NFS_SCRATCH_BYTES = 72 << 10 }; /* the longest answer that is kept whole */

struct nfs_link;
/* From a port below 1024 when this process may. UNAVAILABLE, TIMEOUT, CANCELLED. */
struct nfs_link *nfs_link_open(const char *host, uint16_t port, const struct nfs_patience *patience,
                               struct err *err) MUST;
void nfs_link_close(struct nfs_link *link); /* NULL is fine */
OWN_DEFINE(nfs_link, struct nfs_link, nfs_link_close);

/* False after the first error on it: it is out of step with the other side, or was lied to. */
bool nfs_link_is_sound(const struct nfs_link *link);
/* Whether it comes from a port below 1024. */
bool nfs_link_is_low(const struct nfs_link *link);
/* What it said cannot be: the link is no longer sound. Returns false, as err_set does. */
bool nfs_link_lied(struct nfs_link *link, struct err *err, const char *fmt, ...) PRINTF(3, 4);
uint32_t nfs_link_next_xid(struct nfs_link *link);
uint8_t *nfs_link_scratch(struct nfs_link *link); /* NFS_SCRATCH_BYTES and 64 bytes of 0 behind */

/* Sends one record: its marker is put in front; data (may be NULL) and padding to four behind. */
bool nfs_link_send(struct nfs_link *link, const void *bytes, size_t len, const void *data,
                   size_t data_len, const struct nfs_patience *patience, struct err *err) MUST;
/* Receiving: begin, then take what is wanted, then end. IO when the record is shorter, or longer;
 * limit is what a record may have in all. */
bool nfs_link_begin(struct nfs_link *link, size_t limit, const struct nfs_patience *patience,
                    struct err *err) MUST;
bool nfs_link_take(struct nfs_link *link, void *to, size_t len, const struct nfs_patience *patience,
                   struct err *err) MUST;
bool nfs_link_take_u32(struct nfs_link *link, uint32_t *ret, const struct nfs_patience *patience,
                       struct err *err) MUST;
/* All that is left, into the scratch room. */
bool nfs_link_take_rest(struct nfs_link *link, size_t *ret_len, const struct nfs_patience *patience,
                        struct err *err) MUST;
bool nfs_link_end(struct nfs_link *link, struct err *err) MUST;
