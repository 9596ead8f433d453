/* The control socket's server: who may ask, and a thread for each connection. */
#pragma once
#include "drivers/vault/control/exporter.h"
#include "drivers/vault/volume/vault.h"
#include <sys/types.h>

struct control;
struct control_options {
    const char *path;                /* an old socket there is replaced, anything else is refused */
    const uid_t *allow;              /* besides root and our own user; borrowed while it starts */
    size_t allow_count;              /* at most 16 */
    unsigned connections;            /* at once; 0: 64 */
    const char *box;                 /* the vault's, for ingests; NULL: none are taken */
    const struct exporter *exporter; /* copied; NULL: nothing is exported */
};
/* vault is borrowed. Answers when it returns. */
struct control *control_start(struct vault *vault, const struct control_options *options,
                              struct err *err) MUST;
/* Ends the connections after their running requests, and removes the socket. NULL is fine. */
void control_stop(struct control *control);
OWN_DEFINE(control, struct control, control_stop);
