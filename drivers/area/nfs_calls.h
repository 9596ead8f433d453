/* The NFSv3, MOUNT and portmapper calls that reading and the vault's writing need. Arguments and
 * results are encoded by libnfs; what a server says passes the guard first (nfs_guard.h), data
 * never goes through it. */
#pragma once
#include "drivers/area/nfs_link.h"

enum nfs_outcome {
    NFS_DONE,
    NFS_FAILED, /* err says why; asking again would not help */
    NFS_BROKEN, /* the connection; err says how, and whether it was time or the caller that ended it
                 */
    NFS_STALE,  /* the handle is of a file that the server no longer knows by it */
    NFS_LATER,  /* the server asks to come again */
    NFS_COOKIE, /* the directory changed: its listing has to begin anew */
};

struct nfs_handle {
    uint32_t len;
    uint8_t bytes[64];
};

enum nfs_kind { NFS_KIND_FILE = 1, NFS_KIND_DIRECTORY = 2, NFS_KIND_LINK = 5 };

struct nfs_attr {
    bool known;
    uint32_t kind; /* enum nfs_kind, or another of NFSv3's */
    uint64_t size, mtime_us, fsid, fileid;
};

/* What every call needs. */
struct nfs_asking {
    struct nfs_link *link;
    const struct nfs_patience *patience;
    uint32_t uid, gid;
    const uint32_t *groups; /* further ones, at most 16; NULL: none */
    unsigned group_count;
    int64_t *said; /* gets the status of each answer that has one; NULL: not wanted */
};

enum nfs_outcome nfs_call_port(const struct nfs_asking *ask, uint32_t program, uint32_t version,
                               uint16_t *ret_port, struct err *err);
enum nfs_outcome nfs_call_mount(const struct nfs_asking *ask, const char *path,
                                struct nfs_handle *ret_root, struct err *err);
enum nfs_outcome nfs_call_fsinfo(const struct nfs_asking *ask, const struct nfs_handle *root,
                                 uint32_t *ret_read_max, uint32_t *ret_write_max, struct err *err);
enum nfs_outcome nfs_call_getattr(const struct nfs_asking *ask, const struct nfs_handle *handle,
                                  struct nfs_attr *ret_attr, struct err *err);
/* The attributes may be unknown. */
enum nfs_outcome nfs_call_lookup(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *name, struct nfs_handle *ret_handle,
                                 struct nfs_attr *ret_attr, struct err *err);

struct nfs_entry {
    const char *name;
    uint64_t cookie;
    struct nfs_attr attr;            /* may be unknown */
    const struct nfs_handle *handle; /* NULL: not told */
};
struct nfs_page {
    uint64_t cookie; /* in: where to go on */
    char verifier[8];
    bool (*entry)(void *arg, const struct nfs_entry *entry, struct err *err);
    void *arg;
    size_t count; /* out: entries in this page */
    bool at_end;
};
enum nfs_outcome nfs_call_list(const struct nfs_asking *ask, const struct nfs_handle *dir,
                               struct nfs_page *page, struct err *err);

/* Reading is asked and taken apart, so that several requests are under way on one link. */
enum nfs_outcome nfs_read_ask(const struct nfs_asking *ask, const struct nfs_handle *handle,
                              uint64_t offset, uint32_t count, uint32_t *ret_xid, struct err *err);
/* Whose answer comes next; largest is the longest read under way. */
enum nfs_outcome nfs_read_next(const struct nfs_asking *ask, uint32_t largest, uint32_t *ret_xid,
                               struct err *err);
struct nfs_read {
    uint32_t got; /* at most what was asked */
    bool at_end;
    struct nfs_attr attr; /* may be unknown */
};
/* Its bytes, straight from the socket to `to`. */
enum nfs_outcome nfs_read_take(const struct nfs_asking *ask, void *to, uint32_t asked,
                               struct nfs_read *ret_read, struct err *err);

/* ---- changing (nfs_change.c): for the vault's objects alone ---- */

/* A plain file of mode 0600 or a directory of mode 0700. A file that is there is emptied; a
 * directory that is there is EXISTS. Handle or attributes may be unknown (len 0). */
enum nfs_outcome nfs_call_make(const struct nfs_asking *ask, const struct nfs_handle *dir,
                               const char *name, enum nfs_kind kind, struct nfs_handle *ret_handle,
                               struct nfs_attr *ret_attr, struct err *err);
/* Asked and answered apart, so that several are under way on one link. Not on disk before a commit
 * answers with the same verifier: else the server forgot it. */
enum nfs_outcome nfs_write_ask(const struct nfs_asking *ask, const struct nfs_handle *handle,
                               uint64_t offset, const void *bytes, uint32_t len, uint32_t *ret_xid,
                               struct err *err);
/* Whose answer it is; how much was written has still to be compared with what was asked. */
enum nfs_outcome nfs_write_take(const struct nfs_asking *ask, uint32_t *ret_xid,
                                uint32_t *ret_written, uint64_t *ret_verifier, struct err *err);
enum nfs_outcome nfs_call_commit(const struct nfs_asking *ask, const struct nfs_handle *handle,
                                 uint64_t *ret_verifier, struct err *err);
enum nfs_outcome nfs_call_rename(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *from, const char *to, struct err *err);
enum nfs_outcome nfs_call_link(const struct nfs_asking *ask, const struct nfs_handle *file,
                               const struct nfs_handle *dir, const char *name, struct err *err);
enum nfs_outcome nfs_call_remove(const struct nfs_asking *ask, const struct nfs_handle *dir,
                                 const char *name, struct err *err);
enum nfs_outcome nfs_call_space(const struct nfs_asking *ask, const struct nfs_handle *root,
                                uint64_t *ret_total, uint64_t *ret_free, struct err *err);
