/* The export itself, as this host finds it: asked as who owns Oracle's files, judged, each wrong
 * thing with its fix. */
#pragma once
#include "agent/shim/mounttab.h"
#include "drivers/area/nfs_probe.h"

struct export_look {
    bool asked, mapper_asked;
    uint32_t uid; /* who asked */
    struct nfs_found found;
    enum nfs_mapped mapped;
};
/* What it matters for. */
struct export_use {
    bool by_kernel;             /* false: by Direct NFS alone */
    bool direct_nfs;            /* the Oracle home has it on */
    bool is_mounted, has_entry; /* in the mount table, in oranfstab */
};

/* As the owner of ORACLE_HOME/bin/oracle when this is root, else as who runs this. At most 5 s, and
 * 2 s for the port mapper, which is asked where it matters. */
void export_look(const struct mount_place *place, const struct export_use *use,
                 const char *oracle_home, struct export_look *ret);
/* Adds to `judged`. Pure. */
void export_judge(const struct export_look *look, const struct export_use *use,
                  struct mounttab_judged *judged);
