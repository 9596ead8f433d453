/* The steps of a story over the control socket of a vault that runs elsewhere. */
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/control/wire.h"
#include "tests/lib/vault_story.h"
#include <string.h>

enum { CALL_MS = 60000 };

struct asking {
    struct wire *wire;
    uint64_t view;
};

/* {"op", and names that are not NULL}. */
static json_t *head_of(const char *op, const char *volume, const char *name, struct err *err)
{
    AUTO(json) json_t *head = json_object();
    return head && json_put_text(head, "op", op, err) &&
                   (!volume || wire_put_name(head, "volume", volume, err)) &&
                   (!name || wire_put_name(head, "name", name, err))
               ? TAKE(head)
               : NULL;
}

/* head is taken over. */
static bool say(struct wire *wire, json_t *taken, const void *data, size_t len, const char *number,
                uint64_t *ret_number, struct err *err)
{
    AUTO(json) json_t *head = taken;
    AUTO(message) struct message answer = {0};
    if (!head || err->code != ERR_NONE ||
        !wire_call(wire, head, data, len, CALL_MS, &answer, NULL, err))
        return false;
    if (number)
        *ret_number = wire_get_u64(answer.head, number);
    return true;
}

/* ---- files ---- */

static json_t *file_head(const struct asking *a, const char *op, const char *name, uint64_t file,
                         struct err *err)
{
    AUTO(json) json_t *head = head_of(op, NULL, name, err);
    return head && wire_put_u64(head, "view", a->view, err) &&
                   wire_put_u64(head, "file", file, err) && wire_put_u64(head, "folder", file, err)
               ? TAKE(head)
               : NULL;
}

static bool find(const struct asking *a, const char *path, uint64_t *ret_file, struct err *err)
{
    AUTO(json) json_t *head = file_head(a, "file.find", NULL, 0, err);
    return head && wire_put_name(head, "path", path, err) &&
           say(a->wire, TAKE(head), NULL, 0, "file", ret_file, err);
}

static bool folder_of(const struct asking *a, const char *path, uint64_t *ret_folder,
                      const char **ret_name, struct err *err)
{
    const char *slash = strchr(path, '/');
    char folder[24];
    *ret_folder = VIEW_ROOT;
    *ret_name = slash ? slash + 1 : path;
    return !slash || (str_format(folder, sizeof folder, "%.*s", (int)(slash - path), path) &&
                      find(a, folder, ret_folder, err));
}

static bool ask_names(const struct story *s, const struct asking *a, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_entry *e = &s->states[n].volumes[op->volume].entries[op->entry];
    bool makes = op->kind == STORY_CREATE || op->kind == STORY_MKDIR;
    uint64_t folder, to;
    const char *name, *to_name;
    bool at_new = makes || op->kind == STORY_LINK;
    if (!folder_of(a, at_new ? op->path : e->path, &folder, &name, err))
        return false;
    AUTO(json)
    json_t *head = file_head(a,
                             makes                      ? "file.create"
                             : op->kind == STORY_REMOVE ? "file.remove"
                             : op->kind == STORY_LINK   ? "file.link"
                                                        : "file.rename",
                             name, folder, err);
    if (!head)
        return false;
    if (makes &&
        !json_put_u64(head, "kind", op->kind == STORY_MKDIR ? INODE_DIRECTORY : INODE_FILE, err))
        return false;
    if (op->kind == STORY_REMOVE && !json_put_flag(head, "folder_wanted", e->folder, err))
        return false;
    if (op->kind == STORY_LINK &&
        (!find(a, e->path, &to, err) || !wire_put_u64(head, "file", to, err)))
        return false;
    if (op->kind == STORY_RENAME &&
        (!folder_of(a, op->path, &to, &to_name, err) || !wire_put_name(head, "to", to_name, err) ||
         !wire_put_u64(head, "to_folder", to, err)))
        return false;
    return say(a->wire, TAKE(head), NULL, 0, NULL, NULL, err);
}

static bool ask_commit(const struct asking *a, const struct story_entry *e, struct err *err)
{
    uint64_t file;
    return find(a, e->path, &file, err) &&
           say(a->wire, file_head(a, "file.commit", NULL, file, err), NULL, 0, NULL, NULL, err);
}

static bool ask_bytes(const struct story *s, const struct asking *a, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_entry *e = &s->states[n + 1].volumes[op->volume].entries[op->entry];
    bool writes = op->kind == STORY_WRITE;
    uint64_t file;
    if (!find(a, e->path, &file, err))
        return false;
    AUTO(json) json_t *head = file_head(a, writes ? "file.write" : "file.set", NULL, file, err);
    if (!head)
        return false;
    if (writes ? !wire_put_u64(head, "offset", op->offset, err) ||
                     !json_put_flag(head, "stable", op->stable, err)
               : !wire_put_u64(head, "size", op->size, err))
        return false;
    const uint8_t *bytes = s->lives[e->life].images[e->now].bytes + op->offset;
    return say(a->wire, TAKE(head), writes ? bytes : NULL, writes ? op->size : 0, NULL, NULL, err);
}

static bool ask_in_view(const struct story *s, const struct asking *a, size_t n, size_t volume,
                        struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_entry *entries = s->states[n].volumes[volume].entries;
    if (op->kind == STORY_COMMIT)
        return ask_commit(a, &entries[op->entry], err);
    if (op->kind == STORY_WRITE || op->kind == STORY_RESIZE)
        return ask_bytes(s, a, n, err);
    if (op->kind != STORY_SWAP && op->kind != STORY_REOPEN)
        return ask_names(s, a, n, err);
    for (size_t i = 0; i < STORY_ENTRIES; i++)
        if (entries[i].used && !entries[i].folder && !ask_commit(a, &entries[i], err))
            return false;
    return true;
}

static bool ask_file(const struct story *s, struct wire *wire, size_t n, size_t volume,
                     struct err *err)
{
    struct asking a = {.wire = wire};
    const char *name = s->states[n].volumes[volume].name;
    if (!say(wire, head_of("view.open", name, NULL, err), NULL, 0, "view", &a.view, err))
        return false;
    struct err why = {0};
    bool ok = ask_in_view(s, &a, n, volume, &why);
    AUTO(json) json_t *head = head_of("view.close", NULL, NULL, err);
    bool closed = head && wire_put_u64(head, "view", a.view, err) &&
                  say(wire, TAKE(head), NULL, 0, NULL, NULL, err);
    if (!ok)
        *err = why;
    return ok && closed;
}

/* ---- the rest ---- */

static bool ask_snapshot(const struct story *s, struct wire *wire, size_t n, struct err *err)
{
    AUTO(json) json_t *head = head_of("snapshot.create", NULL, s->ops[n].name, err);
    json_t *volumes = json_array();
    if (!head || json_object_set_new(head, "volumes", volumes) != 0)
        return false;
    for (size_t i = 0; i < STORY_VOLUMES; i++)
        if (s->ops[n].members & 1u << i &&
            json_array_append_new(volumes, json_string(s->states[n].volumes[i].name)) != 0)
            return false;
    return say(wire, TAKE(head), NULL, 0, NULL, NULL, err);
}

static bool ask_clone(const struct story *s, struct wire *wire, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_volume *v = &s->states[n].volumes[op->volume];
    AUTO(json) json_t *head = head_of("clone.create", v->name, op->name, err);
    if (!head)
        return false;
    if (op->kind == STORY_CLONE)
        return wire_put_name(head, "snapshot", v->pasts[op->past].name, err) &&
               say(wire, TAKE(head), NULL, 0, NULL, NULL, err);
    json_t *parts = json_array();
    if (json_object_set_new(head, "parts", parts) != 0)
        return false;
    for (size_t i = 0; i < op->part_count; i++) {
        const struct story_part *part = &op->parts[i];
        const struct story_past *past = part->live ? NULL : &v->pasts[part->past];
        const struct story_entry *e = past ? &past->entries[part->entry] : &v->entries[part->entry];
        json_t *row = json_object();
        if (json_array_append_new(parts, row) != 0 ||
            (past && !wire_put_name(row, "snapshot", past->name, err)) ||
            !wire_put_name(row, "path", e->path, err) || !wire_put_name(row, "to", part->to, err))
            return false;
    }
    return say(wire, TAKE(head), NULL, 0, NULL, NULL, err);
}

static bool ask_past(const struct story *s, struct wire *wire, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_volume *v = &s->states[n].volumes[op->volume];
    const char *past = v->pasts[op->past].name;
    char note[16];
    IGNORE(str_format(note, sizeof note, "%u", op->number));
    if (op->kind == STORY_DROP)
        return say(wire, head_of("snapshot.drop", v->name, past, err), NULL, 0, NULL, NULL, err);
    AUTO(json)
    json_t *head = head_of(op->kind == STORY_NOTE ? "note.put" : "snapshot.lock", v->name,
                           op->kind == STORY_NOTE ? NULL : past, err);
    if (!head)
        return false;
    if (op->kind == STORY_NOTE)
        return wire_put_name(head, "snapshot", past, err) &&
               say(wire, TAKE(head), note, strlen(note), NULL, NULL, err);
    return wire_put_u64(head, "until_boot_ms", clock_boot_ms() + 3600000, err) &&
           say(wire, TAKE(head), NULL, 0, NULL, NULL, err);
}

bool story_ask(struct story *s, struct wire *wire, size_t n, struct err *err)
{
    const struct story_op *op = &s->ops[n];
    const struct story_state *state = &s->states[n];
    const struct story_volume *v = &state->volumes[op->volume];
    json_t *head;
    switch (op->kind) {
    case STORY_VOLUME:
        head = head_of("volume.create", NULL, op->name, err);
        break;
    case STORY_VOLUME_DROP:
        head = head_of("volume.drop", NULL, v->name, err);
        break;
    case STORY_CLONE_DROP:
        head = head_of("clone.drop", state->volumes[v->landing].name, v->last, err);
        break;
    case STORY_SEAL:
    case STORY_THIN:
        head = head_of(op->kind == STORY_SEAL ? "seal" : "thin", v->name, NULL, err);
        break;
    case STORY_SNAPSHOT:
        return ask_snapshot(s, wire, n, err);
    case STORY_CLONE:
    case STORY_COMPOSE:
        return ask_clone(s, wire, n, err);
    case STORY_DROP:
    case STORY_NOTE:
    case STORY_LOCK:
        return ask_past(s, wire, n, err);
    case STORY_REOPEN:
        for (size_t i = 0; i < STORY_VOLUMES; i++)
            if (state->volumes[i].used && !ask_file(s, wire, n, i, err))
                return false;
        return true;
    default:
        return ask_file(s, wire, n, op->volume, err);
    }
    return say(wire, head, NULL, 0, NULL, NULL, err);
}
