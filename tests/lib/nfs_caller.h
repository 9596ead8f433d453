/* An NFS client of single calls over TCP: libnfs encodes arguments and decodes results, the rest is
 * the test's to choose: who asks, which number a call has, what lies in it. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

#include <nfsc/libnfs-raw-nfs.h>

enum { NFS_CALLER_GROUPS = 16 };
struct nfs_caller {
    uint32_t uid, gid, groups[NFS_CALLER_GROUPS], group_count;
    const char *machine;
    uint32_t xid; /* of the call sent last */
    uint32_t wait_ms;
    int fd;
    uint8_t *bytes;
    ZDR decoded;
};
/* As root of the machine "test"; 127.0.0.1, or what address says. */
bool nfs_caller_open(struct nfs_caller *c, const char *address, uint16_t port, struct err *err)
    MUST;
/* From this address and port of ours (NULL, 0: any). */
bool nfs_caller_open_from(struct nfs_caller *c, const char *from, uint16_t from_port,
                          const char *address, uint16_t port, struct err *err) MUST;
void nfs_caller_close(struct nfs_caller *c);
OWN_DEFINE_INPLACE(nfs_caller, struct nfs_caller, nfs_caller_close);

struct nfs_caller_answer {
    uint32_t xid, accepted; /* 0: SUCCESS */
    uint8_t *results;       /* until the next call */
    size_t len;
};
bool nfs_caller_send(struct nfs_caller *c, uint32_t xid, uint32_t program, uint32_t procedure,
                     const void *args, size_t len, struct err *err) MUST;
bool nfs_caller_receive(struct nfs_caller *c, struct nfs_caller_answer *ret, struct err *err) MUST;

/* One call and its results, decoded; they are good until the next call. xid 0: the next one. */
bool nfs_caller_call(struct nfs_caller *c, uint32_t xid, uint32_t procedure, zdrproc_t encode,
                     void *args, zdrproc_t decode, void *results, size_t results_size,
                     struct err *err) MUST;
/* xid: of this very call, sent again. */
#define NFS_CALL_AS(c, xid, NAME, args, results, err)                                              \
    nfs_caller_call(c, xid, NFS3_##NAME, (zdrproc_t)zdr_##NAME##3args, args,                       \
                    (zdrproc_t)zdr_##NAME##3res, results, sizeof *(results), err)
#define NFS_CALL(c, NAME, args, results, err) NFS_CALL_AS(c, 0, NAME, args, results, err)
/* The handle of an export's top, or of a folder below: MOUNT. DENIED, NOT_FOUND as it answers. */
bool nfs_caller_mount(struct nfs_caller *c, const char *path, uint8_t ret[64], size_t *ret_len,
                      struct err *err) MUST;
