/* The verb `exports`: asks the running vault, prints for who has to mount. */
#include "drivers/vault/exports_verb.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "drivers/vault/link.h"
#include <inttypes.h>
#include <unistd.h>

static void print_users(FILE *out, const json_t *users)
{
    for (size_t i = 0; i < json_array_size(users); i++) {
        const json_t *user = json_array_get(users, i);
        uint64_t last_us = wire_get_u64(user, "last_us");
        char when[32] = "before the start";
        if (last_us)
            clock_format_utc(last_us, when);
        fprintf(out, "    %s %s: %s%s%" PRIu64 " calls, last %s\n",
                json_flag(user, "uses") ? "used by" : "was used by", json_text(user, "client"),
                json_flag(user, "mounted") ? "mounted, " : "",
                json_flag(user, "connected") ? "connected, " : "", wire_get_u64(user, "calls"),
                when);
    }
}

static void print_export(FILE *out, const json_t *row, const char *host)
{
    const char *path = json_text(row, "path");
    const json_t *clients = json_object_get(row, "clients");
    fprintf(out, "%s\n    clients", path);
    for (size_t i = 0; i < json_array_size(clients); i++)
        fprintf(out, " %s", json_string_value(json_array_get(clients, i)));
    fprintf(out, "; squash %s%s%s\n", json_text(row, "squash"),
            json_flag(row, "read_only") ? ", read-only" : "",
            json_flag(row, "privileged") ? ", privileged ports" : "");
    print_users(out, json_object_get(row, "users"));
    fprintf(out, "    mount -t nfs -o %s %s:%s /nfs%s\n", json_text(row, "options"), host, path,
            path);
}

/* One server with all its exports: that is how Direct NFS reads the file. */
static void print_oranfstab(FILE *out, const json_t *rows, const char *host)
{
    fprintf(out,
            "\noranfstab (where the kernel has mounted them too):\n    server: %s\n"
            "    path: %s\n    nfs_version: nfsv3\n",
            host, host);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *path = json_text(json_array_get(rows, i), "path");
        fprintf(out, "    export: %s mount: /nfs%s\n", path, path);
    }
}

static void print_head(FILE *out, const json_t *answer)
{
    uint64_t port = json_u64(answer, "port");
    if (!port)
        fprintf(out, "NFS is off; hint: 'clients' in an [export]\n");
    else
        fprintf(out, "NFS port %" PRIu64 ", port mapper: %s\n", port,
                *json_text(answer, "rpcbind") ? json_text(answer, "rpcbind") : "not told");
    if (port && !json_flag(answer, "registered"))
        fprintf(out, "Direct NFS asks the port mapper; not told there, this server is left to the "
                     "kernel's mount\n");
}

bool exports_verb(const char *socket, bool json, FILE *out, struct err *err)
{
    char host[256] = "";
    AUTO(links) struct links *links = links_new(socket, NULL, NULL, NULL, err);
    AUTO(message) struct message answer = {0};
    if (!links || !links_call(links, links_ask("exports", err), NULL, 0, &answer, err))
        return false;
    if (json) {
        AUTO(mem) char *text = json_format(answer.head, err);
        return text && fprintf(out, "%s\n", text) >= 0;
    }
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        IGNORE(!str_copy(host, sizeof host, "HOST")); /* it fits */
    const json_t *rows = json_object_get(answer.head, "exports");
    print_head(out, answer.head);
    for (size_t i = 0; i < json_array_size(rows); i++)
        print_export(out, json_array_get(rows, i), host);
    if (json_u64(answer.head, "port") && json_array_size(rows))
        print_oranfstab(out, rows, host);
    return true;
}
