/* A real evercopy-vaultd of the build under test, over folders the test names; it goes with the
 * process. Files are written through its control socket, as a host would over the network. */
#pragma once
#include "drivers/vault/control/wire.h"
#include <sys/types.h>

struct vault_server {
    char folder[128]; /* box, store, socket, configuration */
    char socket[160];
    char store[256]; /* what [store] url says */
    uint16_t port;   /* of NFS; 0: it is off */
    pid_t pid;
};

/* folder exists; store NULL: a folder beside the box. extra: further lines of the configuration,
 * such as "layer = 8M\n" in [vault]; NULL: none. Answers when it returns. */
bool vault_server_begin(struct vault_server *s, const char *folder, const char *store,
                        const char *extra, struct err *err) MUST;
/* SIGKILL, or an orderly stop; then it can be started again. */
void vault_server_kill(struct vault_server *s);
bool vault_server_stop(struct vault_server *s, struct err *err) MUST;
bool vault_server_start(struct vault_server *s, struct err *err) MUST;
/* Another `extra`, and SIGHUP: true when it says that it has read it, else EXTERNAL with its
 * reason. */
bool vault_server_reload(struct vault_server *s, const char *extra, struct err *err) MUST;
void vault_server_done(struct vault_server *s);
OWN_DEFINE_INPLACE(vault_server, struct vault_server, vault_server_done);

/* Folders above the file are made; durable when it returns. clone NULL: the live area. */
bool vault_server_write(struct vault_server *s, const char *volume, const char *clone,
                        const char *path, const void *bytes, size_t len, uint64_t offset,
                        struct err *err) MUST;
