/* Who exports volumes to the network, as the control socket sees them: asked before a drop. */
#pragma once
#include "agent/base/json.h"
#include <sys/types.h>

struct exporter {
    void *arg;
    /* "NAME" or "LANDING/CLONE" is to be dropped, at the wish of this user. BUSY naming its clients
     * when it is used and force is not set; else it is out of everybody's hands, until restore is
     * told the number given here. */
    bool (*revoke)(void *arg, const char *name, bool force, uid_t uid, uint64_t *ret_id,
                   struct err *err);
    /* The drop has ended, either way. */
    void (*restore)(void *arg, uint64_t id);
    /* Puts what is exported, to whom, and who uses it (README.md, "exports"). */
    bool (*tell)(void *arg, json_t *answer, struct err *err);
};
