/* Export: a sealed state's files into a local folder, holes sparse; what is written was checked
 * against the content hashes that were sealed. */
#pragma once
#include "drivers/vault/store/store.h"

struct export_options {
    const char *under;       /* only this file or folder; NULL: all */
    bool (*stop)(void *arg); /* CANCELLED. NULL: never */
    void *arg;
};
struct export_result {
    uint64_t files, folders, bytes; /* bytes written, holes apart */
};
/* The folder is made, or is there and empty (else EXISTS). Owners are set when this process may.
 * A file that is damaged fails all with its path; what was written before stays. */
bool export_state(struct family *family, const struct snapshot_row *snapshot, const char *folder,
                  const struct export_options *options, struct export_result *ret, struct err *err)
    MUST;
