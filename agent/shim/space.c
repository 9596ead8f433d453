/* evercopy space: what area, snapshots and clones of a database occupy. */
#include "agent/shim/shim.h"

#include "agent/shim/words.h"
#include "evercopy/v1/databases.pb-c.h"
#include <stdio.h>

static bool put_space(json_t *to, const Evercopy__V1__Space *s, struct err *err)
{
    return json_put_text(to, "name", s->name, err) &&
           words_put_known(to, "files_bytes", s->files_bytes, err) &&
           words_put_known(to, "stored_bytes", s->stored_bytes, err) &&
           words_put_known(to, "unique_bytes", s->unique_bytes, err) &&
           words_put_time(to, "created", s->created_us, err);
}

static bool space_one(const void *item, json_t *to, struct err *err)
{
    return put_space(to, item, err);
}

static json_t *space_json(const Evercopy__V1__GetSpaceReply *r, struct err *err)
{
    json_t *area = json_object();
    AUTO(json)
    json_t *doc =
        words_list("snapshots", r->n_snapshots, (void *const *)r->snapshots, space_one, err);
    AUTO(json)
    json_t *clones = words_list("clones", r->n_clones, (void *const *)r->clones, space_one, err);
    bool ok = doc ? json_put(doc, "area", area, err) : (json_decref(area), false);
    return ok && clones && put_space(area, r->area, err) &&
                   words_put_known(doc, "capacity_bytes", r->capacity_bytes, err) &&
                   words_put_known(doc, "free_bytes", r->free_bytes, err) &&
                   json_object_update(doc, clones) == 0
               ? TAKE(doc)
               : NULL;
}

static void print_row(const char *kind, const Evercopy__V1__Space *s)
{
    char files[32], stored[32], unique[32];
    shim_bytes(s->files_bytes, files);
    shim_bytes(s->stored_bytes, stored);
    shim_bytes(s->unique_bytes, unique);
    printf("%-9s %-40s %10s %10s %10s\n", kind, s->name, files, stored, unique);
}

static void print_area(const Evercopy__V1__GetSpaceReply *r)
{
    char files[32], stored[32], left[32];
    const Evercopy__V1__Space *a = r->area;
    shim_bytes(a->files_bytes, files);
    shim_bytes(a->stored_bytes, stored);
    shim_bytes(r->free_bytes, left);
    printf("%s: files of %s in the live area, %s stored with all snapshots and clones, %s free\n",
           a->name, files, stored, left);
}

/* What all of them show beside what is stored: the same bytes are shown by many and stored once. */
static void print_sum(const Evercopy__V1__GetSpaceReply *r)
{
    char files[32];
    uint64_t sum = r->area->files_bytes;
    uint64_t stored = r->area->stored_bytes;
    for (size_t i = 0; i < r->n_snapshots; i++)
        if (r->snapshots[i]->files_bytes != UINT64_MAX && sum != UINT64_MAX)
            sum += r->snapshots[i]->files_bytes;
    if (sum == UINT64_MAX || stored == UINT64_MAX || !stored)
        return;
    shim_bytes(sum, files);
    printf("area and snapshots show %s: %.1f to 1\n", files, (double)sum / (double)stored);
}

int verb_space(const struct shim_options *options, const char *db)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__GetSpaceRequest request = EVERCOPY__V1__GET_SPACE_REQUEST__INIT;
    request.db_unique_name = (char *)db;
    AUTO(reply) ProtobufCMessage *message = NULL;
    if (shim_open(&shim, options, db, &err))
        message = shim_call(&shim, "Databases", "GetSpace", &request.base,
                            &evercopy__v1__get_space_reply__descriptor, SHIM_CALL_MS, &err);
    const Evercopy__V1__GetSpaceReply *r = (const void *)message;
    if (r && !r->area)
        err_set(&err, ERR_INTERNAL, "the agent told nothing of the area");
    if (!r || !r->area)
        return shim_report(&shim, db, "space", &err);
    if (options->json)
        return shim_print_json(space_json(r, &err), &err) ? 0
                                                          : shim_report(&shim, db, "print", &err);
    print_area(r);
    print_sum(r);
    if (r->n_snapshots + r->n_clones)
        printf("%-9s %-40s %10s %10s %10s\n", "", "", "files", "stored", "its own");
    for (size_t i = 0; i < r->n_snapshots; i++)
        print_row("snapshot", r->snapshots[i]);
    for (size_t i = 0; i < r->n_clones; i++)
        print_row("clone", r->clones[i]);
    return 0;
}
