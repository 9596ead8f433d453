/* The NFS doctor: where each area and clone is to be mounted, how, what this host does otherwise,
 * and what the export does not let it do. Pure, but for doctor_look and the verb. */
#pragma once
#include "agent/shim/directnfs.h"
#include "agent/shim/export.h"
#include "agent/shim/mounttab.h"

struct doctor_place {
    const char *database, *clone; /* clone "": the live area */
    const char *trouble;          /* why it is not known where it is; "" */
    struct mount_place place;
    bool known;                     /* place is */
    bool gone;                      /* a mount of a clone that is no more: place is what it was */
    bool is_needed;                 /* this host cannot do without */
    bool by_kernel;                 /* false: by Direct NFS alone, as configured */
    char dir[PATH_MAX];             /* where it is, or would be, on this host */
    const struct mounttab_row *row; /* what is there; NULL: nothing */
    char home[512];                 /* Oracle's; "": not known */
    bool direct_nfs;                /* it has it on */
    struct directnfs_entry entry;
    struct export_look look;
    struct mounttab_judged judged;
};

struct doctor {
    struct mounttab tab;
    struct doctor_place *places;
    size_t count, capacity;
};
void doctor_done(struct doctor *doctor);
OWN_DEFINE_INPLACE(doctor, struct doctor, doctor_done);

/* Finds the place's row, compares, fills judged. */
void doctor_judge(const struct doctor *doctor, struct doctor_place *place);
/* After doctor_judge: asks the server what the export lets this host do, where it is needed or in
 * use here, and adds what is wrong. A server that did not answer for an earlier place is not asked
 * again. */
void doctor_look(const struct doctor *doctor, struct doctor_place *place);
/* Mounts of this server's clones below the live area's export that are none of `places`: the server
 * has dropped them. */
bool doctor_find_gone(struct doctor *doctor, struct err *err) MUST;
void doctor_render(const struct doctor *doctor, struct str *out);
/* "ok", "warning" or "failed" of all. */
const char *doctor_verdict(const struct doctor *doctor);
