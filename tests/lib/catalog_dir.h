/* A catalog in a directory of its own, for a test. */
#pragma once
#include "agent/catalog/catalog.h"

struct catalog_dir {
    char *dir;
    char path[4200];
    struct catalog *catalog;
};
/* Asserts that it works. */
struct catalog_dir catalog_dir_open(void);
void catalog_dir_reopen(struct catalog_dir *d);
void catalog_dir_done(struct catalog_dir *d);
OWN_DEFINE_INPLACE(catalog_dir, struct catalog_dir, catalog_dir_done);
