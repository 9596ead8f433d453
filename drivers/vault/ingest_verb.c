/* The verb `ingest`, as a client of the control socket. */
#include "drivers/vault/ingest_verb.h"

#include "agent/base/str.h"
#include "drivers/vault/link.h"
#include <inttypes.h>
#include <stdio.h>

enum { WAIT_MS = 5000, TRIES_MAX = 99 };

static bool put_one(json_t *head, const char *key, const char *value, struct err *err)
{
    json_t *list = json_array();
    AUTO(mem) char *text = wire_escape(value, err);
    if (!json_put(head, key, list, err) || !text)
        return false;
    return json_add(list, json_string(text), err);
}

static bool begin(struct links *links, const struct ingest_verb *verb, char *ret_handle,
                  size_t size, struct err *err)
{
    AUTO(message) struct message answer = {0};
    AUTO(json) json_t *head = links_ask("ingest", err);
    uint64_t tries = 0;
    if (verb->tries && (!str_to_u64(verb->tries, TRIES_MAX, &tries) || tries == 0))
        return err_set(err, ERR_INVALID, "--tries takes a number from 1 to %d", TRIES_MAX);
    return head && wire_put_name(head, "name", verb->name, err) &&
           put_one(head, "volumes", verb->volume, err) &&
           put_one(head, "sources", verb->source, err) && json_put_u64(head, "tries", tries, err) &&
           json_put_flag(head, "allow_empty", verb->allow_empty, err) &&
           json_put_flag(head, "distrust", verb->distrust, err) &&
           links_call(links, TAKE(head), NULL, 0, &answer, err) &&
           (str_copy(ret_handle, size, json_text(answer.head, "handle")) ||
            err_set(err, ERR_CORRUPT, "the vault gave no handle"));
}

static void print_paths(const json_t *row, const char *key, const char *what)
{
    const json_t *list = json_object_get(row, key);
    for (size_t i = 0; i < json_array_size(list); i++)
        printf("%s: %s\n", what, json_string_value(json_array_get(list, i)));
}

static void print_report(const json_t *row, const struct ingest_verb *verb)
{
    printf("snapshot %s of %s: %" PRIu64 " files (%" PRIu64 " changed, %" PRIu64 " new, %" PRIu64
           " gone), %" PRIu64 " bytes read, %" PRIu64 " of %" PRIu64 " records written\n",
           verb->name, verb->volume, wire_get_u64(row, "files"), wire_get_u64(row, "changed"),
           wire_get_u64(row, "made"), wire_get_u64(row, "removed"), wire_get_u64(row, "bytes_read"),
           wire_get_u64(row, "records_written"), wire_get_u64(row, "records"));
    print_paths(row, "unstable", "changed while it was read");
    print_paths(row, "odd", "left out, no plain file");
}

bool ingest_verb(const struct ingest_verb *verb, const char *socket, struct err *err)
{
    char handle[64];
    if (!verb->volume || !verb->name)
        return err_set(err, ERR_INVALID, "'ingest' needs --volume and --name");
    AUTO(links) struct links *links = links_new(socket, NULL, NULL, NULL, err);
    if (!links || !begin(links, verb, handle, sizeof handle, err))
        return false;
    for (bool done = false; !done;) {
        AUTO(message) struct message answer = {0};
        AUTO(json) json_t *head = links_ask("ingest.poll", err);
        if (!head || !json_put_text(head, "handle", handle, err) ||
            !json_put_u64(head, "timeout_ms", WAIT_MS, err) ||
            !links_call(links, TAKE(head), NULL, 0, &answer, err)) {
            if (err->code == ERR_UNAVAILABLE)
                err->code = ERR_UNKNOWN; /* it had begun: nobody else may begin it anew for us */
            return false;
        }
        done = json_flag(answer.head, "done");
        if (done)
            print_report(json_array_get(json_object_get(answer.head, "reports"), 0), verb);
    }
    return true;
}
