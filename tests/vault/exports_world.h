/* Exports over a table of volumes that exist only here, and clients made of an address and a port.
 */
#pragma once
#include "agent/base/str.h"
#include "drivers/vault/nfs/exports.h"
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <string.h>

#define EW_OK(what)                                                                                \
    do {                                                                                           \
        if (!(what))                                                                               \
            cr_assert(false, "%s: %s (%s)", #what, err.text, err_code_name(err.code));             \
    } while (0)

enum { EW_VOLUMES = 16 };
struct ew_volume {
    uint64_t id;
    char name[64];
    struct export_rule rule;
    atomic_int opened, closed;
    bool gone;
    enum err_code find_fails; /* 0: it does not */
};
struct ew {
    struct ew_volume volumes[EW_VOLUMES];
    size_t count;
    atomic_int finds, lists, settles;
    bool settle_fails;
    void (*while_settling)(struct ew *w);
    const struct export *held;           /* by a client that lets go when it is cut off */
    uint8_t cut[16];                     /* the last */
    void (*while_opening)(struct ew *w); /* once, between finding and what follows */
    struct exports *exports;
};

/* A tree: / data(2)/deep(3), data/file(4), data/link(5). */
static inline bool ew_stat(void *tree, uint64_t file, uint32_t generation, struct view_file *ret,
                           struct err *err)
{
    (void)tree;
    (void)generation;
    (void)err;
    *ret = (struct view_file){.file = file, .generation = 7, .kind = INODE_DIRECTORY};
    return true;
}

static inline bool ew_lookup(void *tree, uint64_t folder, const char *name, struct view_file *ret,
                             struct err *err)
{
    static const struct {
        uint64_t folder;
        const char *name;
        uint64_t file;
        uint8_t kind;
    } entries[] = {{VIEW_ROOT, "data", 2, INODE_DIRECTORY},
                   {2, "deep", 3, INODE_DIRECTORY},
                   {2, "file", 4, INODE_FILE},
                   {2, "link", 5, INODE_SYMLINK}};
    (void)tree;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (entries[i].folder == folder && str_equal(entries[i].name, name)) {
            *ret = (struct view_file){
                .file = entries[i].file, .generation = 8, .kind = entries[i].kind};
            return true;
        }
    return err_set(err, ERR_NOT_FOUND, "no '%s'", name);
}

static inline void ew_close(void *tree)
{
    struct ew_volume *volume = tree;
    volume->closed++;
}

static const struct nfsd_tree_ops ew_ops = {
    .stat = ew_stat, .lookup = ew_lookup, .close = ew_close};

static inline bool ew_find(void *arg, uint64_t id, const char *name, struct export *ret,
                           struct err *err)
{
    struct ew *w = arg;
    w->finds++;
    for (size_t i = 0; i < w->count; i++) {
        struct ew_volume *volume = &w->volumes[i];
        if (volume->gone || (name ? !str_equal(volume->name, name) : volume->id != id))
            continue;
        if (volume->find_fails)
            return err_set(err, volume->find_fails, "it cannot be found");
        *ret = (struct export){.id = volume->id, .rule = volume->rule};
        str_format(ret->path, sizeof ret->path, "/%s", volume->name);
        return true;
    }
    return err_set(err, ERR_NOT_FOUND, "no volume");
}

static inline bool ew_knows(void *arg, const struct nfsd_peer *peer)
{
    const struct ew *w = arg;
    struct nfsd_peer any_port = *peer;
    any_port.port = 0;
    for (size_t i = 0; i < w->count; i++)
        if (export_admits(&w->volumes[i].rule, &any_port))
            return true;
    return false;
}

static inline bool ew_open(void *arg, struct export *export, struct err *err)
{
    struct ew *w = arg;
    void (*meanwhile)(struct ew *) = w->while_opening;
    (void)err;
    w->while_opening = NULL;
    if (meanwhile)
        meanwhile(w);
    for (size_t i = 0; i < w->count; i++)
        if (w->volumes[i].id == export->id) {
            w->volumes[i].opened++;
            export->ops = &ew_ops;
            export->tree = &w->volumes[i];
        }
    return true;
}

static inline bool ew_settle(void *arg, const struct export *export, struct err *err)
{
    struct ew *w = arg;
    w->settles++;
    cr_assert(export->tree, "not open");
    if (w->while_settling)
        w->while_settling(w);
    return !w->settle_fails || err_set(err, ERR_BUSY, "it is busy");
}

static inline void ew_cut(void *arg, const uint8_t address[16])
{
    struct ew *w = arg;
    memcpy(w->cut, address, sizeof w->cut);
    export_put(w->exports, w->held);
    w->held = NULL;
}

static inline bool ew_each(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                           struct err *err)
{
    struct ew *w = arg;
    w->lists++;
    for (size_t i = 0; i < w->count; i++) {
        struct export export;
        if (w->volumes[i].gone)
            continue;
        if (!ew_find(w, w->volumes[i].id, NULL, &export, err))
            return false;
        if (!fn(to, &export))
            break;
    }
    return true;
}

static inline struct ew_volume *ew_add(struct ew *w, uint64_t id, const char *name,
                                       const char *clients)
{
    struct err err = {0};
    struct ew_volume *volume = &w->volumes[w->count++];
    volume->id = id;
    str_copy(volume->name, sizeof volume->name, name);
    volume->rule = (struct export_rule){.anon_uid = 65534, .anon_gid = 65534};
    EW_OK(export_nets_parse(clients, &volume->rule, &err));
    return volume;
}

static inline void ew_begin(struct ew *w)
{
    struct err err = {0};
    enum { DRAIN_MS = 2000 };
    struct exports_options options = {.find = ew_find,
                                      .knows = ew_knows,
                                      .open = ew_open,
                                      .settle = ew_settle,
                                      .cut = ew_cut,
                                      .cut_arg = w,
                                      .each = ew_each,
                                      .arg = w,
                                      .drain_ms = DRAIN_MS};
    memset(w, 0, sizeof *w);
    w->exports = exports_new(&options, &err);
    EW_OK(w->exports);
}

static inline void ew_end(struct ew *w)
{
    exports_free(w->exports);
    for (size_t i = 0; i < w->count; i++)
        cr_expect_eq(w->volumes[i].opened, w->volumes[i].closed, "'%s' stays open",
                     w->volumes[i].name);
}

static inline struct nfsd_peer ew_peer(const char *address, uint16_t port)
{
    struct nfsd_peer peer = {.port = port};
    str_copy(peer.text, sizeof peer.text, address);
    if (inet_pton(AF_INET6, address, peer.address) != 1) {
        peer.address[10] = peer.address[11] = 0xff;
        cr_assert_eq(inet_pton(AF_INET, address, peer.address + 12), 1);
    }
    return peer;
}
