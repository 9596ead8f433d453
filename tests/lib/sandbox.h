/* Sandboxes of the contract suite: for each driver a small storage of its own. A driver joins by
 * adding a row; what it may do differently is a named field. */
#pragma once
#include "drivers/driver.h"
#include "tests/lib/privileged.h"
#include "tests/lib/vault_server.h"

struct sandbox;

struct sandbox_row {
    const char *name;   /* for messages */
    const char *driver; /* in the registry */
    /* Makes the storage and sets the options; false with the reason when it cannot run here. */
    bool (*begin)(struct sandbox *s, struct err *err);
    void (*done)(struct sandbox *s);
    /* Writes as a database host would: into the live area (clone NULL) or a clone. */
    bool (*write)(struct sandbox *s, const char *volume, const char *clone, const char *path,
                  const void *bytes, size_t len, uint64_t offset, struct err *err);
    /* Takes all the room that is left. */
    bool (*fill)(struct sandbox *s, struct err *err);
    /* Counts what interrupted calls left and a sweep would remove; NULL: cannot be seen. */
    uint32_t (*residue)(const struct sandbox *s);
    /* allowances */
    bool one_process;       /* its state dies with the process: nothing to kill */
    bool own_clock;         /* a process of its own: the test's clock is not its clock */
    bool needs_no_option;   /* every option has a default */
    bool shares;            /* all but snapshots is the code of another row */
    bool copies;            /* a snapshot reads the live area and stores it anew */
    uint32_t delete_lag_ms; /* until deleted space shows as available */
};

struct sandbox {
    const struct sandbox_row *row;
    struct driver_option options[4];
    size_t option_count;
    char root[160]; /* of drivers that have one */
    char source[256];
    struct scratch scratch;
    struct vault_server vault; /* of the vault's row */
    struct driver_ref *d;      /* open */
};

size_t sandbox_count(void);
const struct sandbox_row *sandbox_row(size_t index);
/* Storage made, driver registered and open. False with the reason. */
bool sandbox_begin(struct sandbox *s, const struct sandbox_row *row, struct err *err) MUST;
/* Closes the driver and opens it again: an agent's restart. */
bool sandbox_reopen(struct sandbox *s, struct err *err) MUST;
void sandbox_done(struct sandbox *s);
OWN_DEFINE_INPLACE(sandbox, struct sandbox, sandbox_done);
bool sandbox_write(struct sandbox *s, const char *volume, const char *clone, const char *path,
                   const void *bytes, size_t len, uint64_t offset, struct err *err) MUST;

/* The whole file of an area as text (at most 64 KiB), owned. */
char *sandbox_read(struct sandbox *s, const char *volume, const char *snapshot, const char *clone,
                   const char *path, struct err *err) MUST;
