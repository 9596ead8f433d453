/* Areas on an NFS server: the export is mounted, connections are lent out, broken ones made anew.
 */
#include "drivers/area/nfs_int.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/pool.h"
#include "agent/base/str.h"
#include <poll.h>
#include <string.h>
#include <time.h>

enum {
    DEFAULT_REQUEST_BYTES = 512 << 10,
    SMALLEST_REQUEST_BYTES = 4096,
    LARGEST_REQUEST_BYTES = 1 << 20,
    DEFAULT_IN_FLIGHT = 4,
    DEFAULT_REQUEST_MS = 10000,
    OPEN_MS = 10000, /* a server that is not there when an area is opened is told sooner */
    WHOLE_FACTOR = 10,
    PAUSE_FIRST_MS = 20,
    PAUSE_MAX_MS = 1000,
    SLICE_MS = 50,
    RESTARTS_MAX = 3,
    PORTMAPPER_PORT = 111,
    PROGRAM_NFS = 100003,
    PROGRAM_MOUNT = 100005,
};

bool nfs_named(const struct nfs *nfs, struct err *err)
{
    return err_wrap(err, "nfs server '%.200s'", nfs->url.host);
}

static bool was_stopped(void *arg)
{
    const struct nfs_op *op = arg;
    const struct area_nfs_options *options = &op->nfs->options;
    return op->nfs->closing || (op->abandoned && *op->abandoned) ||
           (options->cancelled && options->cancelled(options->arg));
}

/* ---- lending ---- */

static struct nfs_context *free_context(struct nfs *nfs)
{
    struct nfs_context *fresh = NULL;
    for (unsigned i = 0; i < nfs->options.contexts; i++) {
        if (nfs->contexts[i].lent)
            continue;
        if (nfs->contexts[i].link)
            return &nfs->contexts[i]; /* one that is connected, if there is any */
        fresh = &nfs->contexts[i];
    }
    return fresh;
}

static void wait_for_change(struct nfs *nfs)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)SLICE_MS * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    IGNORE(pthread_cond_timedwait(&nfs->changed, &nfs->lock, &until)); /* the caller looks again */
}

bool nfs_op_begin(struct nfs_op *op, struct nfs *nfs, const _Atomic bool *abandoned,
                  struct err *err)
{
    const struct area_nfs_options *options = &nfs->options;
    uint64_t now = clock_mono_ms();
    *op = (struct nfs_op){.nfs = nfs,
                          .abandoned = abandoned,
                          .until_ms = now + (uint64_t)options->operation_ms * WHOLE_FACTOR,
                          .ask = {.uid = nfs->url.uid, .gid = nfs->url.gid}};
    op->patience = (struct nfs_patience){.stopped = was_stopped, .arg = op};
    op->ask.patience = &op->patience;
    struct nfs_context *context = NULL;
    pthread_mutex_lock(&nfs->lock);
    while (!was_stopped(op) && clock_mono_ms() < now + options->operation_ms &&
           !(context = free_context(nfs)))
        wait_for_change(nfs);
    if (context)
        context->lent = true;
    pthread_mutex_unlock(&nfs->lock);
    op->context = context;
    if (context)
        return true;
    return was_stopped(op) ? err_set(err, ERR_CANCELLED, "reading was cancelled")
                           : err_set(err, ERR_TIMEOUT, "no connection became free in time");
}

static void drop_link(struct nfs_op *op)
{
    nfs_link_close(op->context->link);
    op->context->link = op->ask.link = NULL;
}

void nfs_op_end(struct nfs_op *op)
{
    if (!op->context)
        return;
    if (op->context->link && !nfs_link_is_sound(op->context->link))
        drop_link(op);
    pthread_mutex_lock(&op->nfs->lock);
    op->context->lent = false;
    pthread_cond_broadcast(&op->nfs->changed);
    pthread_mutex_unlock(&op->nfs->lock);
    op->context = NULL;
}

void nfs_op_renew(struct nfs_op *op)
{
    uint64_t until = clock_mono_ms() + op->nfs->options.request_ms;
    op->patience.until_ms = until < op->run_until_ms ? until : op->run_until_ms;
}

/* ---- trying ---- */

/* A connection of its own to another program of the server. */
static struct nfs_link *side_link(struct nfs_op *op, uint16_t port, struct nfs_asking *ret_ask,
                                  struct err *err)
{
    nfs_op_renew(op);
    struct nfs_link *link = nfs_link_open(op->nfs->url.host, port, &op->patience, err);
    *ret_ask = op->ask;
    ret_ask->link = link;
    return link;
}

static enum nfs_outcome outcome_of(const struct err *err)
{
    return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT ? NFS_BROKEN : NFS_FAILED;
}

static enum nfs_outcome find_port(struct nfs_op *op, uint16_t configured, uint32_t program,
                                  uint16_t *ret_port, struct err *err)
{
    struct nfs_asking ask;
    *ret_port = configured;
    if (configured)
        return NFS_DONE;
    AUTO(nfs_link) struct nfs_link *link = side_link(op, PORTMAPPER_PORT, &ask, err);
    if (!link) {
        err_wrap(err, "portmapper (hint: nfsport= and mountport= do without)");
        return outcome_of(err);
    }
    return nfs_call_port(&ask, program, 3, ret_port, err);
}

static enum nfs_outcome connect_link(struct nfs_op *op, struct err *err)
{
    uint16_t port;
    op->ask.link = op->context->link;
    if (op->context->link)
        return NFS_DONE;
    enum nfs_outcome outcome = find_port(op, op->nfs->url.nfs_port, PROGRAM_NFS, &port, err);
    if (outcome != NFS_DONE)
        return outcome;
    nfs_op_renew(op);
    op->context->link = nfs_link_open(op->nfs->url.host, port, &op->patience, err);
    op->ask.link = op->context->link;
    return op->ask.link ? NFS_DONE : outcome_of(err);
}

/* The first try after a lost connection comes at once, the further ones less and less often. */
static void pause_before(struct nfs_op *op, unsigned tries)
{
    uint64_t ms = tries <= 1 ? 0 : (uint64_t)PAUSE_FIRST_MS << (tries < 8 ? tries - 2 : 6);
    uint64_t until = clock_mono_ms() + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS);
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= until || now >= op->run_until_ms || was_stopped(op))
            return;
        uint64_t left = until - now;
        IGNORE(poll(NULL, 0, (int)(left < SLICE_MS ? left : SLICE_MS))); /* the clock decides */
    }
}

static void start_run(struct nfs_op *op)
{
    uint64_t until = clock_mono_ms() + op->nfs->options.operation_ms;
    op->run_until_ms = until < op->until_ms ? until : op->until_ms;
}

enum nfs_outcome nfs_op_run(struct nfs_op *op,
                            enum nfs_outcome (*attempt)(struct nfs_op *op, void *arg,
                                                        struct err *err),
                            void *arg, struct err *err)
{
    start_run(op);
    for (unsigned tries = 1;; tries++) {
        struct err why = {0};
        enum nfs_outcome outcome = connect_link(op, &why);
        if (outcome == NFS_DONE) {
            nfs_op_renew(op);
            outcome = attempt(op, arg, &why);
        }
        if (op->context->link && !nfs_link_is_sound(op->context->link))
            drop_link(op);
        if (outcome == NFS_DONE && tries > 2)
            log_warning("nfs server answers again server=%s tries=%u", op->nfs->url.host, tries);
        if (outcome == NFS_DONE)
            return outcome;
        bool again = outcome == NFS_BROKEN || outcome == NFS_LATER;
        if (again)
            pause_before(op, tries + (outcome == NFS_LATER));
        if (again && was_stopped(op)) {
            err_set(err, ERR_CANCELLED, "reading was cancelled");
            return NFS_FAILED;
        }
        if (!again || clock_mono_ms() >= op->run_until_ms) {
            *err = why;
            return again ? NFS_FAILED : outcome;
        }
    }
}

/* ---- the root ---- */

struct mounting {
    char path[NFS_PATH_MAX]; /* what is asked for: the whole, or less of it */
    struct nfs_handle root;
};

static enum nfs_outcome try_mount(struct nfs_op *op, void *arg, struct err *err)
{
    struct mounting *m = arg;
    struct nfs_asking ask;
    uint16_t port;
    enum nfs_outcome outcome = find_port(op, op->nfs->url.mount_port, PROGRAM_MOUNT, &port, err);
    if (outcome != NFS_DONE)
        return outcome;
    AUTO(nfs_link) struct nfs_link *link = side_link(op, port, &ask, err);
    if (!link) {
        err_wrap(err, "mount");
        return outcome_of(err);
    }
    return nfs_call_mount(&ask, m->path, &m->root, err);
}

struct looking {
    const struct nfs_handle *dir;
    const char *name; /* NULL: the directory's own attributes */
    struct nfs_handle handle;
    struct nfs_attr attr;
};

static enum nfs_outcome try_look(struct nfs_op *op, void *arg, struct err *err)
{
    struct looking *l = arg;
    enum nfs_outcome outcome = NFS_DONE;
    l->attr.known = false;
    l->handle = *l->dir;
    if (l->name)
        outcome = nfs_call_lookup(&op->ask, l->dir, l->name, &l->handle, &l->attr, err);
    if (outcome == NFS_DONE && !l->attr.known)
        outcome = nfs_call_getattr(&op->ask, &l->handle, &l->attr, err);
    return outcome;
}

enum nfs_outcome nfs_look_up(struct nfs_op *op, const struct nfs_handle *dir, const char *name,
                             struct nfs_handle *ret_handle, struct nfs_attr *ret_attr,
                             struct err *err)
{
    struct looking looking = {.dir = dir, .name = name};
    enum nfs_outcome outcome = nfs_op_run(op, try_look, &looking, err);
    if (outcome != NFS_DONE)
        return outcome;
    *ret_handle = looking.handle;
    *ret_attr = looking.attr;
    return NFS_DONE;
}

/* Name by name from a directory on; the outcome may be STALE. */
static enum nfs_outcome walk_from(struct nfs_op *op, const char *path, struct nfs_handle *handle,
                                  struct nfs_attr *attr, struct err *err)
{
    char name[AREA_PATH_MAX];
    while (*path) {
        size_t len = strcspn(path, "/");
        if (attr->kind != NFS_KIND_DIRECTORY) {
            err_set(err, ERR_IO, "a part of the path is no directory (links are not followed)");
            return NFS_FAILED;
        }
        memcpy(name, path, len);
        name[len] = '\0';
        struct nfs_handle dir = *handle;
        enum nfs_outcome outcome = nfs_look_up(op, &dir, name, handle, attr, err);
        if (outcome != NFS_DONE)
            return outcome;
        path += len + (path[len] == '/');
    }
    return NFS_DONE;
}

/* Many servers give out the export alone, not what lies below it: the rest is walked. */
static bool mount_export(struct nfs_op *op, struct nfs_handle *ret_root, struct nfs_attr *ret_attr,
                         struct err *err)
{
    struct mounting m = {0};
    struct err first = {0};
    const char *whole = op->nfs->url.path;
    size_t len = strlen(whole);
    for (;;) {
        struct err why = {0};
        IGNORE(!str_format(m.path, sizeof m.path, "%.*s", (int)len, whole)); /* it is no longer */
        if (nfs_op_run(op, try_mount, &m, &why) == NFS_DONE)
            break;
        if (first.code == ERR_NONE)
            first = why;
        bool may_be_above = why.code == ERR_NOT_FOUND || why.code == ERR_DENIED;
        while (len > 1 && whole[len - 1] != '/')
            len--;
        while (len > 1 && whole[len - 1] == '/')
            len--;
        if (!may_be_above || str_equal(m.path, "/")) {
            *err = first;
            return err_wrap(err, "'%.200s'", whole);
        }
    }
    struct nfs_handle handle = m.root;
    struct nfs_attr attr;
    struct looking self = {.dir = &m.root};
    if (nfs_op_run(op, try_look, &self, err) != NFS_DONE)
        return false;
    attr = self.attr;
    const char *rest = whole + strlen(m.path);
    if (walk_from(op, rest + (*rest == '/'), &handle, &attr, err) != NFS_DONE)
        return err_wrap(err, "'%.200s'", whole);
    if (attr.kind != NFS_KIND_DIRECTORY)
        return err_set(err, ERR_INVALID, "'%.200s' is no directory", whole);
    *ret_root = handle;
    *ret_attr = attr;
    return true;
}

bool nfs_root(struct nfs_op *op, bool anew, struct nfs_handle *ret_handle,
              struct nfs_attr *ret_attr, struct err *err)
{
    struct nfs *nfs = op->nfs;
    if (anew) {
        struct nfs_handle handle;
        struct nfs_attr attr;
        if (!mount_export(op, &handle, &attr, err))
            return false;
        pthread_mutex_lock(&nfs->lock);
        nfs->root = handle;
        nfs->root_attr = attr;
        pthread_mutex_unlock(&nfs->lock);
    }
    pthread_mutex_lock(&nfs->lock);
    *ret_handle = nfs->root;
    *ret_attr = nfs->root_attr;
    pthread_mutex_unlock(&nfs->lock);
    return true;
}

bool nfs_walk(struct nfs_op *op, const char *path, struct nfs_handle *ret_handle,
              struct nfs_attr *ret_attr, struct err *err)
{
    for (unsigned round = 1;; round++) {
        struct err why = {0};
        struct nfs_handle handle;
        struct nfs_attr attr;
        if (!nfs_root(op, round > 1, &handle, &attr, err))
            return false;
        enum nfs_outcome outcome = walk_from(op, path, &handle, &attr, &why);
        if (outcome == NFS_DONE) {
            *ret_handle = handle;
            *ret_attr = attr;
            return true;
        }
        if (outcome != NFS_STALE || round == RESTARTS_MAX) {
            *err = why;
            return false;
        }
    }
}

/* ---- opening ---- */

void nfs_unref(struct nfs *nfs)
{
    pthread_mutex_lock(&nfs->lock);
    bool last = --nfs->users == 0;
    pthread_mutex_unlock(&nfs->lock);
    if (!last)
        return;
    lane_free(nfs->readers);
    for (unsigned i = 0; i < NFS_CONTEXTS_MAX; i++)
        nfs_link_close(nfs->contexts[i].link);
    pthread_cond_destroy(&nfs->changed);
    pthread_mutex_destroy(&nfs->lock);
    own_free(nfs);
}

static void nfs_close(void *state) { nfs_unref(state); }

void nfs_release(struct nfs *nfs)
{
    if (nfs)
        nfs_unref(nfs);
}

static struct area_nfs_options completed(const struct area_nfs_options *options,
                                         const struct nfs_url *url)
{
    struct area_nfs_options o = options ? *options : (struct area_nfs_options){0};
    if (o.contexts == 0 || o.contexts > NFS_CONTEXTS_MAX)
        o.contexts = url->contexts;
    if (o.request_bytes == 0)
        o.request_bytes = DEFAULT_REQUEST_BYTES;
    if (o.in_flight == 0 || o.in_flight > DEFAULT_IN_FLIGHT)
        o.in_flight = DEFAULT_IN_FLIGHT;
    if (o.request_ms == 0)
        o.request_ms = DEFAULT_REQUEST_MS;
    if (o.operation_ms == 0)
        o.operation_ms = url->timeout_s * 1000;
    return o;
}

static struct nfs *nfs_new(const struct nfs_url *url, const struct area_nfs_options *options,
                           struct err *err)
{
    struct nfs *nfs = own_alloc(sizeof *nfs, err);
    if (!nfs)
        return NULL;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&nfs->lock, NULL);
    pthread_cond_init(&nfs->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    nfs->users = 1;
    nfs->url = *url;
    nfs->options = completed(options, url);
    return nfs;
}

static enum nfs_outcome try_fsinfo(struct nfs_op *op, void *arg, struct err *err)
{
    uint32_t *read_max = arg;
    return nfs_call_fsinfo(&op->ask, &op->nfs->root, read_max, &op->nfs->write_max, err);
}

static void set_request_bytes(struct nfs *nfs, uint32_t read_max)
{
    unsigned *bytes = &nfs->options.request_bytes;
    if (*bytes > read_max)
        *bytes = read_max;
    if (*bytes > LARGEST_REQUEST_BYTES)
        *bytes = LARGEST_REQUEST_BYTES;
    if (*bytes < SMALLEST_REQUEST_BYTES) /* also for a server that says 0 or 1 */
        *bytes = SMALLEST_REQUEST_BYTES;
}

static bool reach(struct nfs *nfs, struct err *err)
{
    struct nfs_handle root;
    struct nfs_attr attr;
    uint32_t read_max = 0;
    unsigned patient_ms = nfs->options.operation_ms;
    if (nfs->options.operation_ms > OPEN_MS)
        nfs->options.operation_ms = OPEN_MS;
    AUTO(nfs_op) struct nfs_op op = {0};
    if (!nfs_op_begin(&op, nfs, NULL, err) || !nfs_root(&op, true, &root, &attr, err) ||
        nfs_op_run(&op, try_fsinfo, &read_max, err) != NFS_DONE)
        return false;
    nfs->options.operation_ms = patient_ms;
    set_request_bytes(nfs, read_max);
    return true;
}

static const struct area_backend nfs_backend = {
    .list = nfs_list,
    .file_open = nfs_file_open,
    .file_stat = nfs_file_stat,
    .file_read = nfs_file_read,
    .file_close = nfs_file_close,
    .close = nfs_close,
};

struct nfs *nfs_open(const struct nfs_url *place, const struct area_nfs_options *options,
                     struct err *err)
{
    AUTO(nfs) struct nfs *nfs = nfs_new(place, options, err);
    if (!nfs)
        return NULL;
    if (!reach(nfs, err)) {
        nfs_named(nfs, err);
        return NULL;
    }
    return TAKE(nfs);
}

struct area *area_nfs_open(const char *url, const char *below,
                           const struct area_nfs_options *options, struct err *err)
{
    struct nfs_url place;
    struct nfs_url parsed;
    if (!nfs_url_parse(url, &parsed, err))
        return NULL;
    place = parsed;
    if (below && !nfs_url_below(&parsed, below, &place, err))
        return NULL;
    AUTO(nfs) struct nfs *nfs = nfs_open(&place, options, err);
    return nfs ? area_new(&nfs_backend, TAKE(nfs), err) : NULL;
}
