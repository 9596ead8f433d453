/* What the files of the NFS backend share: connections on loan, and trying again. */
#pragma once
#include "drivers/area/area.h"
#include "drivers/area/nfs_calls.h"
#include "drivers/area/nfs_url.h"
#include <pthread.h>
#include <stdatomic.h>

struct lane;

struct nfs_context {
    struct nfs_link *link; /* NULL: not connected */
    bool lent;
};

/* One server's export. Freed with its last user: the area, or a file still open. */
struct nfs {
    struct nfs_url url;
    struct area_nfs_options options; /* no zeros left in it */
    pthread_mutex_t lock;            /* of all that follows, and of the slots of its files */
    pthread_cond_t changed;
    unsigned users;
    struct nfs_context contexts[NFS_CONTEXTS_MAX];
    struct nfs_handle root;
    struct nfs_attr root_attr;
    uint32_t write_max;   /* of one WRITE, as the server says; set once */
    struct lane *readers; /* reading ahead; made when first needed */
    _Atomic bool closing;
};

/* One thing somebody wants of the server; holds a connection from begin to end. */
struct nfs_op {
    struct nfs *nfs;
    struct nfs_context *context;
    struct nfs_asking ask;
    struct nfs_patience patience;
    uint64_t until_ms;             /* for the whole */
    uint64_t run_until_ms;         /* for the part of it that is being tried */
    const _Atomic bool *abandoned; /* NULL: nobody abandons it */
};

bool nfs_op_begin(struct nfs_op *op, struct nfs *nfs, const _Atomic bool *abandoned,
                  struct err *err) MUST;
void nfs_op_end(struct nfs_op *op);
OWN_DEFINE_INPLACE(nfs_op, struct nfs_op, nfs_op_end);
/* The next answer has its full time again, within the whole. */
void nfs_op_renew(struct nfs_op *op);
/* Tries until it is done, has failed, or the time is over; connects as needed. Only DONE, FAILED,
 * STALE and COOKIE come back; err is set for all but DONE. */
enum nfs_outcome nfs_op_run(struct nfs_op *op,
                            enum nfs_outcome (*attempt)(struct nfs_op *op, void *arg,
                                                        struct err *err),
                            void *arg, struct err *err) MUST;

/* From the root, name by name, never through a link. Attributes are known afterwards. */
bool nfs_walk(struct nfs_op *op, const char *path, struct nfs_handle *ret_handle,
              struct nfs_attr *ret_attr, struct err *err) MUST;
/* One name; attributes are known afterwards. */
enum nfs_outcome nfs_look_up(struct nfs_op *op, const struct nfs_handle *dir, const char *name,
                             struct nfs_handle *ret_handle, struct nfs_attr *ret_attr,
                             struct err *err) MUST;
/* The root as it is now known, asked for again when the server does not know it any more. */
bool nfs_root(struct nfs_op *op, bool anew, struct nfs_handle *ret_handle,
              struct nfs_attr *ret_attr, struct err *err) MUST;
/* Mounts the place and asks what the server can. Users: the caller, and each open file. */
struct nfs *nfs_open(const struct nfs_url *place, const struct area_nfs_options *options,
                     struct err *err) MUST;
void nfs_unref(struct nfs *nfs);
void nfs_release(struct nfs *nfs); /* the same; NULL is fine */
OWN_DEFINE(nfs, struct nfs, nfs_release);
/* Puts the server's name in front. Returns false. */
bool nfs_named(const struct nfs *nfs, struct err *err);

bool nfs_list(void *state, size_t max_files, struct area_list *ret_list, struct err *err) MUST;
void *nfs_file_open(void *state, const char *path, struct err *err) MUST;
bool nfs_file_stat(void *file, uint64_t *ret_size, uint64_t *ret_mtime_us, struct err *err) MUST;
ssize_t nfs_file_read(void *file, void *to, size_t size, uint64_t offset, struct err *err) MUST;
void nfs_file_close(void *file);

/* A file that was looked up already; found by its path when the server forgets it. */
void *nfs_file_at(struct nfs *nfs, const char *path, const struct nfs_handle *handle,
                  const struct nfs_attr *attr, struct err *err) MUST;
/* As nfs_file_read, and nothing is read ahead. */
ssize_t nfs_file_read_now(void *file, void *to, size_t size, uint64_t offset, struct err *err) MUST;

/* One directory: every name but "." and "..", once, with attributes (unknown: asked for); what went
 * meanwhile is left out. At most `max` names (LIMIT). */
typedef bool nfs_name_fn(void *arg, const char *name, const struct nfs_attr *attr, struct err *err);
enum nfs_outcome nfs_each_name(struct nfs_op *op, const struct nfs_handle *dir, size_t max,
                               nfs_name_fn *fn, void *arg, struct err *err) MUST;
