/* An export as somebody meets it who is about to use it: does its server answer, does MOUNT admit
 * this host, what does NFS let them do at its top. Changes nothing; trusts no answer (README.md).
 */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum nfs_finding {
    NFS_FOUND_GOOD,         /* may read and write */
    NFS_FOUND_NO_ADDRESS,   /* nobody knows where the server is */
    NFS_FOUND_NO_ANSWER,    /* nothing listens there, or it does not answer in time */
    NFS_FOUND_NO_NFS,       /* what answers there is no server of MOUNT and NFSv3 */
    NFS_FOUND_NO_EXPORT,    /* no such path */
    NFS_FOUND_NOT_ADMITTED, /* MOUNT refuses this host */
    NFS_FOUND_LOW_PORT,     /* it refuses our port, and offers the export to this host */
    NFS_FOUND_READ_ONLY,    /* whoever asks */
    NFS_FOUND_NOT_READ,     /* who asks may not read or look up */
    NFS_FOUND_NOT_WRITTEN,  /* who asks may not write */
    NFS_FOUND_UNCLEAR,      /* it failed in another way; `why` says how */
};

enum { NFS_PROBE_GROUPS_MAX = 16 }; /* as AUTH_SYS has them */
struct nfs_probe {
    const char *host, *path;
    uint16_t port;     /* of MOUNT and NFS */
    uint32_t uid, gid; /* who asks */
    uint32_t groups[NFS_PROBE_GROUPS_MAX];
    unsigned group_count;
    bool is_mounted;     /* by this host: then MOUNT's list goes on saying so */
    unsigned timeout_ms; /* for the whole; the C library resolves names in its own time */
};
struct nfs_found {
    enum nfs_finding finding;
    char why[160]; /* when nobody, something else or something unclear answers; or "" */
    bool has_top;  /* the top folder's, as the server tells: */
    uint32_t uid, gid, mode;
};
/* From a port below 1024 when this process may. */
void nfs_probe(const struct nfs_probe *probe, struct nfs_found *ret);

/* Whether MOUNT's list of exports, as it is on the wire, holds the path. False as well for a list
 * that is none. Pure. */
bool nfs_probe_lists(const uint8_t *bytes, size_t len, const char *path);

enum nfs_mapped {
    NFS_MAPPED_GOOD,      /* MOUNT and NFS at this port */
    NFS_MAPPED_NO_MAPPER, /* none answers */
    NFS_MAPPED_NOTHING,   /* it knows neither, or one of them alone */
    NFS_MAPPED_ELSEWHERE, /* at another port: another server's, or one that is gone */
    NFS_MAPPED_UNCLEAR,
};
/* What the host's port mapper tells who looks for MOUNT and NFSv3 over TCP. */
enum nfs_mapped nfs_probe_mapper(const char *host, uint16_t port, unsigned timeout_ms);
