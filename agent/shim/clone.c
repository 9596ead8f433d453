/* evercopy clone create and drop. */
#include "agent/shim/shim.h"

#include "agent/shim/mount.h"
#include "agent/shim/words.h"
#include "evercopy/v1/clones.pb-c.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool shim_duration(const char *text, uint32_t *ret_s, struct err *err)
{
    enum { LONGEST_S = 366 * 86400 };
    *ret_s = 0;
    if (!text)
        return true;
    uint64_t value = words_parse_age(text, 1);
    if (!value || value > LONGEST_S)
        return err_set(err, ERR_INVALID, "'%.20s' is no time such as 90m, 12h or 3d", text);
    *ret_s = (uint32_t)value;
    return true;
}

static bool fill_target(struct shim *shim, Evercopy__V1__CreateCloneRequest *request,
                        struct err *err)
{
    if (!shim->options->snapshot)
        return shim_target(shim, &request->scn, &request->time_us, err);
    if (shim->options->to || shim->options->scn)
        return err_set(err, ERR_INVALID, "name one of --snapshot, --to, --scn");
    request->snapshot = (char *)shim->options->snapshot;
    return true;
}

/* What mounts and unmounts it here; both "" for what no host mounts. */
static void commands_of(const struct shim *shim, const Evercopy__V1__Clone *c,
                        char ret_mount[3 * PATH_MAX], char ret_unmount[2 * PATH_MAX])
{
    struct mount_place place;
    struct err none = {0};
    char dir[PATH_MAX], word[2 * PATH_MAX - 8];
    const char *above = shim->db->sandbox_mount[0] ? shim->db->sandbox_mount : "/mnt";
    ret_mount[0] = ret_unmount[0] = '\0';
    if (mount_parse(c->mount, &place, &none) && place.nfs &&
        mount_dir(above, c->name, dir, &none) && mount_command(&place, dir, ret_mount, &none) &&
        mount_quote(dir, word, sizeof word))
        IGNORE(!str_format(ret_unmount, (size_t)2 * PATH_MAX, "umount %s", word)); /* it fits */
}

static bool print_clone(const struct shim *shim, const Evercopy__V1__Clone *c, struct err *err)
{
    char mount[3 * PATH_MAX], unmount[2 * PATH_MAX];
    commands_of(shim, c, mount, unmount);
    if (shim->options->json) {
        AUTO(json) json_t *doc = json_object();
        return json_put_text(doc, "name", c->name, err) &&
               json_put_text(doc, "snapshot", c->snapshot, err) &&
               json_put_text(doc, "mount", c->mount, err) &&
               words_put_bytes(doc, "mount_command", mount, strlen(mount), err) &&
               words_put_bytes(doc, "unmount_command", unmount, strlen(unmount), err) &&
               json_put_u64(doc, "scn", c->scn, err) &&
               words_put_time(doc, "expires", c->expires_us, err) &&
               shim_print_json(TAKE(doc), err);
    }
    char until[48];
    shim_time(c->expires_us, 0, until);
    printf("clone '%s' of %s%s, until %s\n%s\n", c->name, c->snapshot,
           c->scn ? ", just the files that reach the target" : "", until, c->mount);
    if (mount[0])
        printf("mount:   %s\nunmount: %s\n", mount, unmount);
    return true;
}

int verb_clone_create(const struct shim_options *options, const char *db, const char *name)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__CreateCloneRequest request = EVERCOPY__V1__CREATE_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.name = (char *)(name ? name : "");
    request.purpose = (char *)(options->purpose ? options->purpose : "");
    AUTO(reply) ProtobufCMessage *reply = NULL;
    if (shim_open(&shim, options, db, &err) && shim_zone(&shim, &err) &&
        shim_duration(options->lease, &request.lease_s, &err) && fill_target(&shim, &request, &err))
        reply = shim_call(&shim, "Clones", "CreateClone", &request.base,
                          &evercopy__v1__create_clone_reply__descriptor, SHIM_SNAPSHOT_MS, &err);
    if (!reply || !print_clone(&shim, ((Evercopy__V1__CreateCloneReply *)reply)->clone, &err))
        return shim_report(&shim, db, "clone", &err);
    return 0;
}

int verb_clone_extend(const struct shim_options *options, const char *db, const char *name)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__ExtendCloneRequest request = EVERCOPY__V1__EXTEND_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.name = (char *)name;
    AUTO(reply) ProtobufCMessage *reply = NULL;
    if (!options->lease)
        err_set(&err, ERR_INVALID, "say for how long: --for 90m, 12h or 3d");
    else if (shim_open(&shim, options, db, &err) &&
             shim_duration(options->lease, &request.lease_s, &err))
        reply = shim_call(&shim, "Clones", "ExtendClone", &request.base,
                          &evercopy__v1__extend_clone_reply__descriptor, SHIM_CALL_MS, &err);
    if (!reply || !print_clone(&shim, ((Evercopy__V1__ExtendCloneReply *)reply)->clone, &err))
        return shim_report(&shim, db, "clone", &err);
    return 0;
}

int verb_clone_drop(const struct shim_options *options, const char *db, const char *name)
{
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    Evercopy__V1__DropCloneRequest request = EVERCOPY__V1__DROP_CLONE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.db_unique_name = (char *)db;
    request.name = (char *)name;
    request.force = options->force;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_open(&shim, options, db, &err)
            ? shim_call(&shim, "Clones", "DropClone", &request.base,
                        &evercopy__v1__drop_clone_reply__descriptor, SHIM_SNAPSHOT_MS, &err)
            : NULL;
    if (!reply)
        return shim_report(&shim, db, "clone", &err);
    AUTO(json) json_t *doc = options->json ? json_object() : NULL;
    if (doc && (!json_put_text(doc, "database", db, &err) ||
                !json_put_text(doc, "dropped", name, &err) || !shim_print_json(TAKE(doc), &err)))
        return shim_report(&shim, db, "print", &err);
    if (!options->quiet && !options->json)
        printf("clone '%s' dropped\n", name);
    return 0;
}
