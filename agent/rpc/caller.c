/* The people behind connections: role and databases out of a certificate's URIs. */
#include "agent/rpc/server_int.h"

#include <string.h>

#define ROLE_PREFIX "evercopy:role/"
#define DATABASE_PREFIX "evercopy:db/"

void caller_unref(struct caller *caller)
{
    if (!caller || --caller->refs)
        return;
    for (size_t i = 0; i < caller->peer.database_count; i++)
        own_free(caller->peer.databases[i]);
    own_free(caller->peer.databases);
    own_free(caller);
}

static bool add_database(struct rpc_peer *peer, size_t *capacity, const char *name, struct err *err)
{
    if (!own_grow((void **)&peer->databases, capacity, peer->database_count,
                  sizeof *peer->databases, err))
        return false;
    char *copy = own_strdup(name, err);
    if (!copy)
        return false;
    peer->databases[peer->database_count++] = copy;
    return true;
}

static bool read_uris(struct rpc_peer *peer, const struct tls_peer *from, struct err *err)
{
    size_t capacity = 0;
    int roles = 0;
    for (size_t i = 0; i < from->uri_count; i++) {
        const char *uri = from->uris[i];
        if (str_starts(uri, ROLE_PREFIX)) {
            /* A role that does not fit is not a role; neither are two. */
            bool fits = str_copy(peer->role, sizeof peer->role, uri + strlen(ROLE_PREFIX));
            if (++roles > 1 || !fits)
                peer->role[0] = '\0';
        } else if (str_starts(uri, DATABASE_PREFIX) &&
                   !add_database(peer, &capacity, uri + strlen(DATABASE_PREFIX), err)) {
            return false;
        }
    }
    return true;
}

struct caller *caller_new(const struct tls_peer *from, const char *address, struct err *err)
{
    AUTO(caller) struct caller *caller = own_alloc(sizeof *caller, err);
    if (!caller)
        return NULL;
    caller->refs = 1;
    struct rpc_peer *peer = &caller->peer;
    str_copy(peer->cn, sizeof peer->cn, from->cn);
    str_copy(peer->serial, sizeof peer->serial, from->serial);
    str_copy(peer->fingerprint, sizeof peer->fingerprint, from->fingerprint);
    str_copy(peer->address, sizeof peer->address, address);
    peer->not_after_us = from->not_after_us;
    return read_uris(peer, from, err) ? TAKE(caller) : NULL;
}

bool rpc_peer_copy(const struct rpc_peer *peer, struct rpc_peer *ret_peer, struct err *err)
{
    *ret_peer = *peer;
    ret_peer->database_count = 0;
    ret_peer->databases = own_alloc(sizeof(char *) * (peer->database_count + 1), err);
    for (size_t i = 0; ret_peer->databases && i < peer->database_count; i++) {
        char *name = own_strdup(peer->databases[i], err);
        if (!name)
            return false;
        ret_peer->databases[ret_peer->database_count++] = name;
    }
    return ret_peer->databases != NULL;
}

void rpc_peer_done(struct rpc_peer *peer)
{
    for (size_t i = 0; i < peer->database_count; i++)
        own_free(peer->databases[i]);
    own_free(peer->databases);
    peer->databases = NULL;
    peer->database_count = 0;
}
