/* What the files of the NFS procedures share: a call under way, and the rows that describe each
 * procedure. */
#pragma once
#include "drivers/vault/nfs/nfs3.h"
#include "drivers/vault/nfs/nfs3_args.h"
#include "drivers/vault/nfs/nfs3_put.h"
#include "drivers/vault/nfs/nfs3_seen.h"
#include "drivers/vault/nfs/permit.h"

enum { NFS3_TOLD = 64 };
struct nfs3 {
    struct exports *exports;
    struct nfs3_seen *seen;
    uint64_t verifier;
    /* When the log last heard of a call that failed, of files that fall on the same; atomic. */
    uint64_t told_us[NFS3_TOLD];
};

enum { NFS3_COOKIES = 1 }; /* the verifier of cookies: a number of how they are made */

struct nfs3_call {
    struct nfs3 *nfs3;
    struct nfsd_call *rpc;
    const struct nfs3_row *row;
    struct nfs3_args args;
    struct who who;
    const struct export *of[2]; /* of the handles */
    struct view_file file[2];
    struct view_change change[2]; /* as the tree told it */
    uint8_t *at;                  /* results of a success go here, behind the status */
};

enum nfs3_tells { NFS3_TELLS_NOTHING, NFS3_TELLS_AFTER, NFS3_TELLS_CHANGE };
enum {
    NFS3_CHANGES = 1, /* refused where the export is read-only */
    NFS3_SLOW = 2,    /* always waits for a disk */
    NFS3_STORE = 4    /* may wait for the store */
};
struct nfs3_row {
    /* NFS3_OK: the results are at call->at, up to where it points now. */
    enum nfsstat3 (*run)(struct nfs3_call *call);
    const char *name;
    uint8_t handles, flags;
    uint8_t tells[2];   /* enum nfs3_tells of a failure, for both handles */
    uint16_t status[3]; /* for NOT_FOUND, PRECONDITION, LIMIT; 0: the table's */
};

/* What a client is told of an error of the tree; what an operator must know is logged. */
enum nfsstat3 nfs3_failed(struct nfs3_call *call, const struct err *err);
/* The handle is a folder in which the client may do that (MAY_*). */
enum nfsstat3 nfs3_folder(struct nfs3_call *call, unsigned which, unsigned wanted);
struct view_caller nfs3_caller(const struct nfs3_call *call);
bool nfs3_in_group(const struct who *who, uint32_t gid);
/* A change by somebody who is not root takes these bits away, as a kernel does. */
uint16_t nfs3_without_ids(uint16_t mode);

/* nfs3_file.c */
enum nfsstat3 nfs3_getattr(struct nfs3_call *call);
enum nfsstat3 nfs3_setattr(struct nfs3_call *call);
enum nfsstat3 nfs3_access(struct nfs3_call *call);
enum nfsstat3 nfs3_readlink(struct nfs3_call *call);
/* nfs3_data.c */
enum nfsstat3 nfs3_read(struct nfs3_call *call);
enum nfsstat3 nfs3_write(struct nfs3_call *call);
enum nfsstat3 nfs3_commit(struct nfs3_call *call);
/* nfs3_names.c */
enum nfsstat3 nfs3_lookup(struct nfs3_call *call);
enum nfsstat3 nfs3_create(struct nfs3_call *call);
enum nfsstat3 nfs3_mkdir(struct nfs3_call *call);
enum nfsstat3 nfs3_symlink(struct nfs3_call *call);
enum nfsstat3 nfs3_mknod(struct nfs3_call *call);
enum nfsstat3 nfs3_remove(struct nfs3_call *call);
enum nfsstat3 nfs3_rmdir(struct nfs3_call *call);
enum nfsstat3 nfs3_rename(struct nfs3_call *call);
enum nfsstat3 nfs3_link(struct nfs3_call *call);
/* nfs3_list.c */
enum nfsstat3 nfs3_readdir(struct nfs3_call *call);
enum nfsstat3 nfs3_readdirplus(struct nfs3_call *call);
/* nfs3_space.c */
enum nfsstat3 nfs3_fsstat(struct nfs3_call *call);
enum nfsstat3 nfs3_fsinfo(struct nfs3_call *call);
enum nfsstat3 nfs3_pathconf(struct nfs3_call *call);
