/* Folders and small files put into a live area through the control socket. */
#pragma once
#include "drivers/vault/link.h"

struct place_owner { /* of what is made; is_set false: root */
    bool is_set;
    uint32_t uid, gid;
};
/* "54321:54321". */
bool place_owner_parse(const char *text, struct place_owner *ret, struct err *err) MUST;
/* The area's own folder gets that owner. links has the area's view open. */
bool place_own_root(struct links *links, const struct place_owner *owner, struct err *err) MUST;
/* With the folders above; one that is there is fine. */
bool place_folder(struct links *links, const char *path, const struct place_owner *owner,
                  struct err *err) MUST;
/* With the folders above; replaced whole or not at all, durable. One writer a path. */
bool place_file(struct links *links, const char *path, const void *bytes, size_t len,
                const struct place_owner *owner, struct err *err) MUST;
