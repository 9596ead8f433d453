/* What is exported to whom, and who uses it. Thread-safe; asked at each call. */
#pragma once
#include "drivers/vault/nfs/server.h"
#include "drivers/vault/nfs/tree.h"

enum export_squash { EXPORT_SQUASH_ROOT, EXPORT_SQUASH_NONE, EXPORT_SQUASH_ALL };
enum { EXPORT_NETS_MAX = 64, EXPORT_PATH_MAX = 300, EXPORT_NET_TEXT = 64 };
struct export_net {
    uint8_t address[16]; /* IPv4: mapped */
    uint8_t bits;        /* of 128 */
};
struct export_rule {
    struct export_net nets[EXPORT_NETS_MAX]; /* of clients; none: nobody */
    size_t net_count;
    enum export_squash squash;
    bool read_only, privileged; /* privileged: only from ports below 1024 */
    uint32_t anon_uid, anon_gid;
};
/* "10.1.0.0/16 fd00::/8 192.168.7.4", blanks or commas between; CONFIG names the word that is
 * wrong. A network of IPv6 lets in no IPv4: all are "0.0.0.0/0 ::/0". */
bool export_nets_parse(const char *text, struct export_rule *rule, struct err *err) MUST;
void export_net_text(const struct export_net *net, char ret[EXPORT_NET_TEXT]);
/* The network that lets this peer in; NULL: none, or its port is not one of root's. */
const struct export_net *export_admits(const struct export_rule *rule,
                                       const struct nfsd_peer *peer);

/* One export, counted. id is the volume's, never used again, and the fsid clients see. */
struct export
{
    uint64_t id;
    char path[EXPORT_PATH_MAX]; /* "/NAME", "/LANDING/CLONE" */
    struct export_rule rule;
    const struct nfsd_tree_ops *ops;
    void *tree;
};
struct exports;
struct exports_options {
    /* Which volume has this id or this name ("NAME", "LANDING/CLONE"; NULL: by id) and its rule, as
     * the configuration now says; NOT_FOUND. Nothing is opened: who is not admitted opens nothing,
     * and a revoked export is open nowhere. */
    bool (*find)(void *arg, uint64_t id, const char *name, struct export *ret, struct err *err);
    /* Whether any rule of the configuration admits this address, whatever its port; no volume is
     * looked at. Optional: all are known. */
    bool (*knows)(void *arg, const struct nfsd_peer *peer);
    /* Fills in ops and tree of one that was found and whose rule admits the peer. */
    bool (*open)(void *arg, struct export *export, struct err *err);
    /* Optional: makes an open one's files as the configuration now says (whose its top folder is).
     * When it was opened, and at the first call after a reload; while it fails, at later calls. */
    bool (*settle)(void *arg, const struct export *export, struct err *err);
    /* Names of all, for MOUNT's EXPORT (ops and tree are not looked at): fn false stops. */
    bool (*each)(void *arg, bool (*fn)(void *to, const struct export *export), void *to,
                 struct err *err);
    /* Optional: ends the connections of this address. By a forced revoke, to its users, when their
     * calls do not end by themselves: a client that does not read must not hold it. */
    void (*cut)(void *arg, const uint8_t address[16]);
    void *cut_arg;
    void *arg;
    uint64_t drain_ms; /* a revoke waits for calls that are inside; 0: 30,000 */
};
struct exports *exports_new(const struct exports_options *options, struct err *err) MUST;
void exports_free(struct exports *exports); /* after the server stopped */
OWN_DEFINE(exports, struct exports, exports_free);

/* Whether this address may use anything: strangers are DENIED without a look at what there is. */
bool exports_knows(const struct exports *exports, const struct nfsd_peer *peer);
/* Given back by export_put. NOT_FOUND when there is none (handle: stale); DENIED when this peer may
 * not; BUSY while it is being dropped, which may yet fail; cheap when the same id was asked before.
 */
const struct export *exports_get(struct exports *exports, uint64_t id, const struct nfsd_peer *peer,
                                 struct err *err) MUST;
const struct export *exports_get_path(struct exports *exports, const char *path,
                                      const struct nfsd_peer *peer, struct err *err) MUST;
void export_put(struct exports *exports, const struct export *export);
/* Those this peer may use, for MOUNT's EXPORT. fn false stops. */
bool exports_each(struct exports *exports, const struct nfsd_peer *peer,
                  bool (*fn)(void *to, const struct export *export), void *to, struct err *err)
    MUST;

/* The configuration changed: each has its new rule when this returns, also one that is being opened
 * or dropped; calls that began before end by the rule they began with. What `find` does not find
 * any more admits nobody. False: names those whose rule could not be learnt, and that keep the old
 * one.
 */
bool exports_reload(struct exports *exports, struct err *err) MUST;
/* A volume or clone is to go: BUSY naming its clients while somebody uses it and force is not set;
 * else its calls are BUSY from now on, those under way have ended, its tree is closed. */
bool exports_revoke(struct exports *exports, uint64_t id, bool force, struct err *err) MUST;
/* The drop has ended, either way: what `find` finds is served again, the rest is stale for ever. */
void exports_restore(struct exports *exports, uint64_t id);

/* ---- who uses what: MOUNT's list and what is called (v3 knows no open) ----
 * A client uses an export while it is connected or called within EXPORT_USE_MS. One that has said
 * UMNT, and calls nevertheless, uses it while it is connected and called within that time. Looking
 * at it once (libnfs does, at each export below the one it mounts) is no use. */
enum { EXPORT_USE_MS = 120000 };
void exports_mounted(struct exports *exports, const struct export *export,
                     const struct nfsd_peer *peer, bool mounted);
void exports_unmounted_all(struct exports *exports, const struct nfsd_peer *peer);
void exports_peer_gone(struct exports *exports, const struct nfsd_peer *peer);
struct export_user {
    char client[64], path[EXPORT_PATH_MAX];
    uint64_t id; /* the export's */
    bool mounted, connected, uses;
    uint64_t calls, last_us;
};
/* id 0: of all; peer NULL: all clients, else this one. */
struct export_user *exports_users(struct exports *exports, uint64_t id,
                                  const struct nfsd_peer *peer, size_t *ret_count, struct err *err)
    MUST;
