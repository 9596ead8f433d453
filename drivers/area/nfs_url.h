/* Where an area lies that is read over NFS: nfs://HOST/PATH?KEY=NUMBER&... */
#pragma once
#include "drivers/area/area.h"

enum {
    NFS_HOST_MAX = 256,
    NFS_PATH_MAX = 1024, /* MNTPATHLEN */
    NFS_CONTEXTS_MAX = 8,
};

struct nfs_url {
    char host[NFS_HOST_MAX]; /* a name or address; of an IPv6 address without its brackets */
    char path[NFS_PATH_MAX]; /* absolute, without '/' at its end (but "/" itself) */
    uint16_t nfs_port;       /* nfsport; 0: ask the server's portmapper */
    uint16_t mount_port;     /* mountport; the same */
    uint32_t uid, gid;       /* who asks: AUTH_SYS; without: the process's own */
    unsigned contexts;       /* connections, 2 */
    unsigned timeout_s;      /* of an operation with all its retries, 60 */
};

/* %XX is decoded; ".", "..", NUL, passwords and unknown keys are refused. CONFIG. */
bool nfs_url_parse(const char *text, struct nfs_url *ret_url, struct err *err) MUST;
/* The same place with a relative path below it. LIMIT when it grows too long. */
bool nfs_url_below(const struct nfs_url *url, const char *path, struct nfs_url *ret_url,
                   struct err *err) MUST;
