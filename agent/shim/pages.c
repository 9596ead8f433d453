/* What is too long for one message, put together from pages. */
#include "agent/shim/pages.h"

#include "evercopy/v1/recovery.pb-c.h"
#include "evercopy/v1/snapshots.pb-c.h"
#include <stdlib.h>
#include <string.h>

enum { PAGE_BYTES = 1 << 20, RECIPE_PAGE = 5000, TRIES_MAX = 5, TEXT_MAX = 512 << 20 };

void gathered_done(struct gathered *g)
{
    for (size_t i = 0; i < g->reply_count; i++)
        shim_free_reply(g->replies[i]);
    own_free(g->replies);
    own_free(g->items);
    *g = (struct gathered){0};
}

static bool keep_page(struct gathered *g, const struct pages *pages, ProtobufCMessage *reply,
                      const char **ret_next, struct err *err)
{
    size_t count;
    void **items = pages->items(reply, &count, ret_next);
    if (!own_grow((void **)&g->replies, &g->reply_capacity, g->reply_count, sizeof(void *), err)) {
        shim_free_reply(reply);
        return false;
    }
    g->replies[g->reply_count++] = reply;
    for (size_t i = 0; i < count && (!pages->most || g->count < pages->most); i++) {
        if (!own_grow((void **)&g->items, &g->capacity, g->count, sizeof *items, err))
            return false;
        g->items[g->count++] = items[i];
    }
    return true;
}

bool pages_gather(struct shim *shim, const struct pages *pages, struct gathered *g, struct err *err)
{
    const char *next = "";
    do {
        if (g->reply_count && str_equal(next, *pages->token))
            return err_set(err, ERR_INTERNAL, "the agent's list does not end");
        *pages->token = (char *)next; /* of a reply that is kept */
        ProtobufCMessage *reply = shim_call(shim, pages->service, pages->method, pages->request,
                                            pages->output, SHIM_CALL_MS, err);
        if (!reply || !keep_page(g, pages, reply, &next, err))
            return false;
    } while (next[0] && (!pages->most || g->count < pages->most));
    return true;
}

/* ---- texts ---- */

static bool append(struct str *to, const ProtobufCBinaryData *part, uint64_t whole, struct err *err)
{
    if (whole > TEXT_MAX || to->len + part->len > whole)
        return err_set(err, ERR_LIMIT, "the agent's text of %llu bytes is too long",
                       (unsigned long long)whole);
    str_append_n(to, part->data, part->len);
    return true;
}

static bool read_version(pages_call *call, void *arg, const char *database, const char *snapshot,
                         struct str *manifest, struct str *facts, struct err *err)
{
    Evercopy__V1__GetManifestRequest request = EVERCOPY__V1__GET_MANIFEST_REQUEST__INIT;
    request.db_unique_name = (char *)database;
    request.snapshot = (char *)snapshot;
    request.limit = PAGE_BYTES;
    uint64_t all;
    do {
        AUTO(reply)
        ProtobufCMessage *message = call(arg, "Snapshots", "GetManifest", &request.base,
                                         &evercopy__v1__get_manifest_reply__descriptor, err);
        if (!message)
            return false;
        const Evercopy__V1__GetManifestReply *reply = (const void *)message;
        if (!append(manifest, &reply->manifest_json, reply->manifest_bytes, err) ||
            !append(facts, &reply->facts_json, reply->facts_bytes, err))
            return false;
        request.version = reply->version;
        request.offset += reply->manifest_json.len + reply->facts_json.len;
        all = reply->manifest_bytes + reply->facts_bytes;
        if (request.offset < all && !reply->manifest_json.len && !reply->facts_json.len)
            return err_set(err, ERR_INTERNAL, "the agent gave an empty page");
    } while (request.offset < all);
    return true;
}

bool pages_texts(pages_call *call, void *arg, const char *database, const char *snapshot,
                 char **ret_manifest, char **ret_facts, struct err *err)
{
    for (int left = TRIES_MAX; left > 0; left--) {
        AUTO(str) struct str manifest = {0};
        AUTO(str) struct str facts = {0};
        struct err why = {0};
        if (read_version(call, arg, database, snapshot, &manifest, &facts, &why)) {
            AUTO(mem) char *text = str_take(&manifest, err);
            *ret_facts = text ? str_take(&facts, err) : NULL;
            *ret_manifest = *ret_facts ? TAKE(text) : NULL;
            return *ret_manifest != NULL;
        }
        if (why.code != ERR_BUSY || left == 1) {
            *err = why;
            return false;
        }
    }
    return false;
}

/* ---- recipes ---- */

/* Moves the parts of a page behind those that are there; both arrays are of malloc. */
static bool move_parts(void ***to, size_t *to_count, void **from, size_t *from_count,
                       struct err *err)
{
    if (!*from_count)
        return true;
    void **grown = own_realloc(*to, sizeof *grown * (*to_count + *from_count), err);
    if (!grown)
        return false;
    memcpy(grown + *to_count, from, sizeof *grown * *from_count);
    *to = grown;
    *to_count += *from_count;
    *from_count = 0;
    return true;
}

static bool is_same(const Evercopy__V1__Recipe *a, const Evercopy__V1__Recipe *b)
{
    return b && a->until_scn == b->until_scn && str_equal(a->base_snapshot, b->base_snapshot) &&
           a->file_count == b->file_count && a->log_count == b->log_count &&
           str_equal(a->controlfile_snapshot, b->controlfile_snapshot);
}

static bool more_parts(struct shim *shim, const char *database, Evercopy__V1__Recipe *recipe,
                       struct err *err)
{
    Evercopy__V1__PlanRecoveryRequest request = EVERCOPY__V1__PLAN_RECOVERY_REQUEST__INIT;
    request.db_unique_name = (char *)database;
    request.scn = recipe->until_scn;
    request.files_from = (uint32_t)recipe->n_files;
    request.logs_from = (uint32_t)recipe->n_logs;
    request.limit = RECIPE_PAGE;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(shim, "Recovery", "PlanRecovery", &request.base,
                  &evercopy__v1__plan_recovery_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return false;
    Evercopy__V1__Recipe *page = ((Evercopy__V1__PlanRecoveryReply *)message)->recipe;
    if (!is_same(recipe, page) || (!page->n_files && !page->n_logs))
        return err_set(err, ERR_BUSY,
                       "the recipe changed while it was read; hint: drop the clone, try again");
    return move_parts((void ***)&recipe->files, &recipe->n_files, (void **)page->files,
                      &page->n_files, err) &&
           move_parts((void ***)&recipe->logs, &recipe->n_logs, (void **)page->logs, &page->n_logs,
                      err);
}

static bool whole_recipe(struct shim *shim, const char *database, Evercopy__V1__Recipe *recipe,
                         struct err *err)
{
    while (recipe && (recipe->n_files < recipe->file_count || recipe->n_logs < recipe->log_count))
        if (!more_parts(shim, database, recipe, err))
            return false;
    return true;
}

ProtobufCMessage *pages_plan(struct shim *shim, uint64_t scn, uint64_t time_us, struct err *err)
{
    Evercopy__V1__PlanRecoveryRequest request = EVERCOPY__V1__PLAN_RECOVERY_REQUEST__INIT;
    request.db_unique_name = (char *)shim->db->name;
    request.scn = scn;
    request.time_us = time_us;
    request.limit = RECIPE_PAGE;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(shim, "Recovery", "PlanRecovery", &request.base,
                  &evercopy__v1__plan_recovery_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return NULL;
    Evercopy__V1__PlanRecoveryReply *reply = (Evercopy__V1__PlanRecoveryReply *)message;
    if (!reply->reachable || !reply->recipe) {
        err_set(err, ERR_PRECONDITION, "that target cannot be reached: %s", reply->why);
        return NULL;
    }
    return whole_recipe(shim, request.db_unique_name, reply->recipe, err) ? TAKE(message) : NULL;
}

ProtobufCMessage *pages_create_clone(struct shim *shim, Evercopy__V1__CreateCloneRequest *request,
                                     struct err *err)
{
    request->recipe_limit = RECIPE_PAGE;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(shim, "Clones", "CreateClone", &request->base,
                  &evercopy__v1__create_clone_reply__descriptor, SHIM_SNAPSHOT_MS, err);
    if (!message)
        return NULL;
    Evercopy__V1__Recipe *recipe = ((Evercopy__V1__CreateCloneReply *)message)->recipe;
    return whole_recipe(shim, request->db_unique_name, recipe, err) ? TAKE(message) : NULL;
}
