/* evercopy reload: the agent reads its configuration again, and says what came of it. */
#include "agent/shim/shim.h"

#include "evercopy/v1/admin.pb-c.h"
#include <stdio.h>

static void print_text(const Evercopy__V1__ReloadReply *reply)
{
    for (size_t i = 0; i < reply->n_changed; i++)
        printf("changed  %s\n", reply->changed[i]);
    for (size_t i = 0; i < reply->n_kept; i++)
        printf("kept     %s\n", reply->kept[i]);
    if (!reply->n_changed && !reply->n_kept)
        printf("nothing has changed\n");
}

static bool put_lines(json_t *doc, const char *key, size_t count, char **lines, struct err *err)
{
    json_t *list = json_array();
    if (!json_put(doc, key, list, err))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!json_add(list, json_string(lines[i]), err))
            return false;
    return true;
}

static bool print_json(const Evercopy__V1__ReloadReply *reply, struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    return put_lines(doc, "changed", reply->n_changed, reply->changed, err) &&
           put_lines(doc, "kept", reply->n_kept, reply->kept, err) &&
           shim_print_json(json_incref(doc), err);
}

int verb_reload(const struct shim_options *options)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__ReloadRequest request = EVERCOPY__V1__RELOAD_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_open(&shim, options, NULL, &err)
            ? shim_call(&shim, "Admin", "Reload", &request.base,
                        &evercopy__v1__reload_reply__descriptor, SHIM_CALL_MS, &err)
            : NULL;
    if (!reply)
        return shim_report(&shim, NULL, "reload", &err);
    if (!options->json)
        print_text((Evercopy__V1__ReloadReply *)reply);
    else if (!print_json((Evercopy__V1__ReloadReply *)reply, &err))
        return shim_report(&shim, NULL, "print", &err);
    return 0;
}
