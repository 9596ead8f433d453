/* Direct NFS inside: servers and mounts of an oranfstab, their connections, one call each. */
#pragma once
#include "files.h"
#include <nfsc/libnfs.h>

#include <nfsc/libnfs-raw.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

enum {
    DNFS_PATHS = 4, /* as many as oranfstab allows for a server */
    DNFS_MOUNTS = 64,
    DNFS_SERVERS = 16,
    DNFS_NAME = 256,
    DNFS_TEXT = 1024,
    DNFS_FLIGHT = 64,
    DNFS_IO_MAX = 1 << 20,
    DNFS_PATIENCE_S = 120, /* a hard mount waits for ever; a test does not */
    DNFS_TIMEO_MS = 15000,
};

struct dnfs_fh {
    uint32_t len;
    char data[NFS3_FHSIZE];
};
struct dnfs_chan {
    struct rpc_context *rpc;
    enum { CHAN_DOWN, CHAN_CONNECTING, CHAN_UP, CHAN_BROKEN } state;
    int64_t again_ms, since_ms;
};
struct dnfs_call;
struct dnfs_server {
    char name[DNFS_NAME], path[DNFS_PATHS][DNFS_NAME], why[DNFS_TEXT];
    int paths, nfs_port, mount_port, patience_s; /* ports 0: the port mapper is asked */
    struct dnfs_chan chan[DNFS_PATHS];
    int next_chan;
    struct dnfs_call *flight[DNFS_FLIGHT];
    int flights;
    size_t rtmax, wtmax;
};
struct dnfs_mount {
    struct dnfs_server *server;
    char export[DNFS_TEXT], mount[DNFS_TEXT];
    bool mounted;
    struct dnfs_fh root;
};

/* ---- oranfstab.c ---- */
/* Dies naming the line when it is not what Oracle documents. */
void oranfstab_load(const char *home);
/* The mount a path lies below, and what follows it ("" or "/..."). */
struct dnfs_mount *oranfstab_find(const char *path, const char **ret_rest);
struct dnfs_mount *oranfstab_nth(int n); /* NULL behind the last */

/* ---- dnfs_link.c ---- */
struct dnfs_call {
    int (*start)(struct rpc_context *rpc, struct dnfs_call *c);
    void (*take)(struct dnfs_call *c, const void *result);
    union {
        GETATTR3args getattr;
        SETATTR3args setattr;
        LOOKUP3args lookup;
        ACCESS3args access;
        READ3args read;
        WRITE3args write;
        COMMIT3args commit;
        CREATE3args create;
        MKDIR3args mkdir;
        REMOVE3args remove;
        RENAME3args rename;
        READDIRPLUS3args list;
        FSINFO3args fsinfo;
    } args;
    /* the answer */
    int status; /* nfsstat3; -1: none within the server's patience */
    bool has_fh, has_attr, folder, eof;
    struct dnfs_fh fh;
    uint64_t size, cookie;
    uint32_t count, access;
    char verf[8];
    void *to;
    bool done;
    /* on its way */
    bool sent;
    int chan;
    uint32_t xid;
    int64_t first_ms, sent_ms, again_ms;
};
/* Begins a call; it must stay where it is until it is done. */
void dnfs_begin(struct dnfs_server *s, struct dnfs_call *c);
/* Until all are done, whatever happens to connections and server. */
void dnfs_wait(struct dnfs_server *s, struct dnfs_call *c, int n);
/* Both; false and errno unless its status is NFS3_OK. */
bool dnfs_run(struct dnfs_server *s, struct dnfs_call *c);
bool dnfs_errno(const struct dnfs_call *c); /* sets it; true when there was no error */
bool dnfs_mnt(struct dnfs_mount *m);        /* asks for its root */
void dnfs_umnt(struct dnfs_mount *m);       /* says that it is left */
/* What a call's start hands to libnfs. */
void dnfs_answer(struct rpc_context *rpc, int status, void *data, void *arg);

/* ---- dnfs_call.c ---- */
bool dnfs_mount(struct dnfs_mount *m); /* MNT and FSINFO, once */
nfs_fh3 dnfs_wire(struct dnfs_fh *fh);

bool dnfs_lookup(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, struct dnfs_call *c);
bool dnfs_getattr(struct dnfs_server *s, struct dnfs_fh *fh, struct dnfs_call *c);
bool dnfs_can_read(struct dnfs_server *s, struct dnfs_fh *fh);
enum dnfs_how { DNFS_ANEW, DNFS_ONCE }; /* truncated if it is there; an error if it is */
bool dnfs_create(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, enum dnfs_how how,
                 mode_t mode, struct dnfs_fh *ret);
bool dnfs_make_folder(struct dnfs_server *s, struct dnfs_fh *dir, const char *name, mode_t mode);
bool dnfs_resize(struct dnfs_server *s, struct dnfs_fh *fh, uint64_t size);
bool dnfs_remove(struct dnfs_server *s, struct dnfs_fh *dir, const char *name);
bool dnfs_move(struct dnfs_server *s, struct dnfs_fh *from, const char *old, struct dnfs_fh *to,
               const char *name);
void dnfs_read_call(struct dnfs_call *c, struct dnfs_fh *fh, void *to, size_t n, uint64_t at);
void dnfs_write_call(struct dnfs_call *c, struct dnfs_fh *fh, char *from, size_t n, uint64_t at,
                     bool stable);
bool dnfs_commit(struct dnfs_server *s, struct dnfs_fh *fh, struct dnfs_call *c); /* all of it */
/* A page of a folder; names go to names. */
bool dnfs_page(struct dnfs_server *s, struct dnfs_fh *dir, struct dnfs_call *c,
               struct disk_names *names);
bool names_add(struct disk_names *names, const char *name);

/* ---- dnfs.c: paths below a mount, files by slot ---- */
int dnfs_open(struct dnfs_mount *m, const char *rest, int flags, mode_t mode, bool dots);
ssize_t dnfs_pread(int slot, void *to, size_t n, uint64_t at);
ssize_t dnfs_pwrite(int slot, const void *from, size_t n, uint64_t at);
int dnfs_truncate(int slot, uint64_t size);
int dnfs_close(int slot, bool keep);
void dnfs_settle_all(void);
int dnfs_stat(struct dnfs_mount *m, const char *rest, struct disk_stat *ret);
int dnfs_access(struct dnfs_mount *m, const char *rest, int mode);
int dnfs_unlink(struct dnfs_mount *m, const char *rest);
int dnfs_rename(struct dnfs_mount *m, const char *from, const char *to);
int dnfs_mkdir(struct dnfs_mount *m, const char *rest, mode_t mode);
int dnfs_list(struct dnfs_mount *m, const char *rest, struct disk_names *names);
