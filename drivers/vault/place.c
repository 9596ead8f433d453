/* Folders and small files for a live area. */
#include "drivers/vault/place.h"

#include "agent/base/str.h"
#include "drivers/area/area.h"
#include <string.h>

enum { ROOT = 1, KIND_FILE = 1, KIND_FOLDER = 2, FILE_MODE = 0640, FOLDER_MODE = 0750 };

static bool own(struct links *links, uint64_t file, const struct place_owner *owner, uint64_t mode,
                struct err *err)
{
    AUTO(message) struct message answer = {0};
    if (!owner->uid && !owner->gid)
        return true; /* it is root's */
    AUTO(json) json_t *head = links_ask("file.set", err);
    return head && wire_put_u64(head, "file", file, err) &&
           json_put_u64(head, "uid", owner->uid, err) &&
           json_put_u64(head, "gid", owner->gid, err) && json_put_u64(head, "mode", mode, err) &&
           links_call(links, TAKE(head), NULL, 0, &answer, err);
}

static bool find(struct links *links, const char *path, uint64_t *ret_kind, uint64_t *ret_file,
                 struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("file.find", err);
    if (!head || !wire_put_name(head, "path", path, err) ||
        !links_call(links, TAKE(head), NULL, 0, &answer, err))
        return false;
    *ret_kind = json_u64(answer.head, "kind");
    *ret_file = wire_get_u64(answer.head, "file");
    return true;
}

static bool create(struct links *links, uint64_t folder, const char *name, uint64_t kind,
                   const struct place_owner *owner, uint64_t *ret_file, struct err *err)
{
    uint64_t mode = kind == KIND_FOLDER ? FOLDER_MODE : FILE_MODE;
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("file.create", err);
    if (!head || !wire_put_u64(head, "folder", folder, err) ||
        !wire_put_name(head, "name", name, err) || !json_put_u64(head, "kind", kind, err) ||
        !json_put_u64(head, "mode", mode, err) ||
        !links_call(links, TAKE(head), NULL, 0, &answer, err))
        return false;
    *ret_file = wire_get_u64(answer.head, "file");
    return own(links, *ret_file, owner, mode, err);
}

/* The folder at path[0..len), made when it is not there. */
static bool enter(struct links *links, const char *path, size_t len,
                  const struct place_owner *owner, uint64_t *ret_folder, struct err *err)
{
    *ret_folder = ROOT;
    for (size_t end = 0; end < len; end++) {
        char above[AREA_PATH_MAX];
        uint64_t kind, file;
        struct err why = {0};
        size_t begin = end;
        end += strcspn(path + end, "/");
        if (!str_format(above, sizeof above, "%.*s", (int)end, path))
            return err_set(err, ERR_LIMIT, "'%.200s' is too long a path", path);
        if (find(links, above, &kind, &file, &why)) {
            if (kind != KIND_FOLDER)
                return err_set(err, ERR_EXISTS, "'%.200s' is no folder", above);
        } else if (why.code != ERR_NOT_FOUND) {
            *err = why;
            return false;
        } else if (!create(links, *ret_folder, above + begin, KIND_FOLDER, owner, &file, err)) {
            return false;
        }
        *ret_folder = file;
    }
    return true;
}

bool place_folder(struct links *links, const char *path, const struct place_owner *owner,
                  struct err *err)
{
    uint64_t folder;
    return enter(links, path, strlen(path), owner, &folder, err);
}

static bool name_away(struct links *links, uint64_t folder, const char *name, struct err *err)
{
    AUTO(message) struct message answer = {0};
    struct err why = {0};
    AUTO(json) json_t *head = links_ask("file.remove", err);
    if (!head || !wire_put_u64(head, "folder", folder, err) ||
        !wire_put_name(head, "name", name, err))
        return false;
    if (links_call(links, TAKE(head), NULL, 0, &answer, &why) || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

static bool fill(struct links *links, uint64_t file, const uint8_t *bytes, size_t len,
                 struct err *err)
{
    for (size_t at = 0; at < len;) {
        size_t part = len - at < WIRE_DATA_MAX ? len - at : WIRE_DATA_MAX;
        AUTO(message) struct message answer = {0};
        AUTO(json) json_t *head = links_ask("file.write", err);
        if (!head || !wire_put_u64(head, "file", file, err) ||
            !wire_put_u64(head, "offset", at, err) || !json_put_flag(head, "stable", true, err) ||
            !links_call(links, TAKE(head), bytes + at, part, &answer, err))
            return false;
        at += part;
    }
    return true;
}

static bool rename_to(struct links *links, uint64_t folder, const char *from, const char *to,
                      struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("file.rename", err);
    return head && wire_put_u64(head, "folder", folder, err) &&
           wire_put_name(head, "name", from, err) && wire_put_u64(head, "to_folder", folder, err) &&
           wire_put_name(head, "to", to, err) &&
           links_call(links, TAKE(head), NULL, 0, &answer, err);
}

bool place_file(struct links *links, const char *path, const void *bytes, size_t len,
                const struct place_owner *owner, struct err *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    char half[AREA_PATH_MAX];
    uint64_t folder, file;
    /* One name for what is half written, so that the next call clears what a crash left. */
    return (str_format(half, sizeof half, "%s.tmp", name) ||
            err_set(err, ERR_LIMIT, "'%.200s' is too long a path", path)) &&
           enter(links, path, slash ? (size_t)(slash - path) : 0, owner, &folder, err) &&
           name_away(links, folder, half, err) &&
           create(links, folder, half, KIND_FILE, owner, &file, err) &&
           fill(links, file, bytes, len, err) && rename_to(links, folder, half, name, err);
}
