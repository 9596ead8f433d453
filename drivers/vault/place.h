/* Folders and small files put into a live area through the control socket. links has the area's
 * view open. */
#pragma once
#include "drivers/vault/link.h"

struct place_owner { /* of what is made */
    uint32_t uid, gid;
};
/* With the folders above; one that is there is fine. */
bool place_folder(struct links *links, const char *path, const struct place_owner *owner,
                  struct err *err) MUST;
/* With the folders above; replaced whole or not at all, durable. One writer a path. */
bool place_file(struct links *links, const char *path, const void *bytes, size_t len,
                const struct place_owner *owner, struct err *err) MUST;
