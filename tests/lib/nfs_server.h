/* A real NFS server (nfs-ganesha, tests/lib/ganesha.sh) over a directory in memory that only this
 * process and its children see; it goes with the process. */
#pragma once
#include "tests/lib/privileged.h"
#include "tests/lib/script.h"

struct nfs_server {
    struct scratch scratch;
    char dir[160]; /* what it exports, as seen here */
    char url[512];
    struct script script;
};

/* Enters a network of its own, makes the directory, starts the server. UNSUPPORTED with the reason
 * where the machine does not allow it. */
bool nfs_server_begin(struct nfs_server *s, unsigned size_mb, struct err *err) MUST;
/* SIGKILL; and again. The directory stays. */
bool nfs_server_kill(struct nfs_server *s, struct err *err) MUST;
bool nfs_server_start(struct nfs_server *s, struct err *err) MUST;
void nfs_server_done(struct nfs_server *s);
OWN_DEFINE_INPLACE(nfs_server, struct nfs_server, nfs_server_done);
/* Takes the only address of the private network away, or gives it back: nothing is answered. */
bool nfs_server_network(bool there, struct err *err) MUST;
