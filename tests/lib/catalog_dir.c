/* A catalog in a directory of its own, for a test. */
#include "tests/lib/catalog_dir.h"

#include "agent/base/str.h"
#include "tests/lib/engine_drive.h"
#include <assert.h>

struct catalog_dir catalog_dir_open(void)
{
    struct catalog_dir d = {.dir = drive_dir()};
    IGNORE(!str_format(d.path, sizeof d.path, "%s/catalog.db", d.dir)); /* fits */
    catalog_dir_reopen(&d);
    return d;
}

void catalog_dir_reopen(struct catalog_dir *d)
{
    struct err err = {0};
    catalog_close(d->catalog);
    d->catalog = catalog_open(d->path, &err);
    assert(d->catalog);
}

void catalog_dir_done(struct catalog_dir *d)
{
    catalog_close(d->catalog);
    drive_dir_free(d->dir);
}
