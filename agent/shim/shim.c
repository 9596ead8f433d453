/* What every verb needs: configuration, the agent, the way to print. */
#include "agent/shim/shim.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "agent/net/bundle.h"
#include "agent/shim/progress.h"
#include "agent/shim/words.h"
#include "evercopy/v1/jobs.pb-c.h"
#include "evercopy/v1/recovery.pb-c.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHIM_TICKETS "/var/lib/evercopy/shim"

enum { ANSWER_MS = 10000 };

bool shim_open(struct shim *shim, const struct shim_options *options, const char *db_name,
               struct err *err)
{
    *shim = (struct shim){.options = options};
    shim->config = config_shim_load(options->config ? options->config : SHIM_CONFIG_PATH, err);
    if (!shim->config)
        return false;
    shim->db =
        db_name ? config_shim_find(shim->config, db_name, err) : config_shim_generic(shim->config);
    return shim->db != NULL;
}

void shim_close(struct shim *shim)
{
    rpc_client_free(shim->client);
    config_shim_free(shim->config);
    *shim = (struct shim){0};
}

/* "host:port", "[v6]:port" or "host". */
static bool split_address(const char *text, char host[256], uint16_t *port, struct err *err)
{
    const char *colon = strrchr(text, ':');
    uint64_t number = *port;
    if (colon && strchr(text, ']') && colon < strchr(text, ']'))
        colon = NULL;
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len >= 256 || (colon && (!str_to_u64(colon + 1, 65535, &number) || !number)))
        return err_set(err, ERR_INVALID, "'%.80s' is no HOST:PORT", text);
    if (len > 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    *port = (uint16_t)number;
    return true;
}

/* Beside the state of other programs, named after the certificate; the folder is made when its
 * parent is there. Where that may not be, connections are made anew each time, which is only
 * slower. */
static void ticket_place(const struct config_database *db, char ret[4096])
{
    struct err err = {0};
    if (*db->ticketfile) {
        IGNORE(!str_copy(ret, 4096, db->ticketfile));
        return;
    }
    const char *slash = strrchr(db->cert, '/');
    const char *name = slash ? slash + 1 : db->cert;
    const char *dot = strrchr(name, '.');
    int len = dot ? (int)(dot - name) : (int)strlen(name);
    IGNORE(!str_format(ret, 4096, SHIM_TICKETS "/%.*s.ticket", len, name));
    if (access(SHIM_TICKETS, F_OK) != 0)
        IGNORE(sys_mkdir(SHIM_TICKETS, 0700, &err));
}

bool shim_connect(struct shim *shim, struct err *err)
{
    if (shim->client)
        return true;
    char host[256];
    uint16_t port = shim->db->agent.port;
    IGNORE(!str_copy(host, sizeof host, shim->db->agent.host));
    if (shim->options->agent && !split_address(shim->options->agent, host, &port, err))
        return false;
    if (!host[0])
        return config_require(shim->config, shim->db, "agent", err);
    if (*shim->db->cert && *shim->db->key && !bundle_settle(shim->db->cert, shim->db->key, err))
        return false;
    char ticket[4096];
    ticket_place(shim->db, ticket);
    struct rpc_client_options options = {
        .ticket_file = ticket,
        .host = host,
        .port = port,
        .ca_file = shim->db->ca,
        .cert_file = shim->db->cert,
        .key_file = shim->db->key,
    };
    shim->client = rpc_client_new(&options, err);
    return shim->client != NULL;
}

ProtobufCMessage *shim_call(struct shim *shim, const char *service, const char *method,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *output, uint64_t timeout_ms,
                            struct err *err)
{
    char full[80];
    IGNORE(!str_format(full, sizeof full, "evercopy.v1.%s", service));
    if (!shim_connect(shim, err))
        return NULL;
    ProtobufCMessage *reply =
        rpc_client_call(shim->client, full, method, request, output, timeout_ms, err);
    if (reply && !shim->delivered)
        shim_deliver(shim);
    return reply;
}

void shim_free_reply(ProtobufCMessage *reply)
{
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
}

bool shim_is_answering(struct shim *shim, struct err *err)
{
    Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
    request.db_unique_name = (char *)shim->db->name;
    request.limit = 1;
    AUTO(reply)
    ProtobufCMessage *reply = shim_call(shim, "Jobs", "ListJobs", &request.base,
                                        &evercopy__v1__list_jobs_reply__descriptor, ANSWER_MS, err);
    return reply != NULL;
}

char *shim_key(char ret[33])
{
    uint8_t noise[16];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, ret);
    return ret;
}

void shim_time(uint64_t us, int offset_min, char ret[48]) { words_time(us, offset_min, ret); }

void shim_bytes(uint64_t bytes, char ret[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1024;
        unit++;
    }
    if (bytes == UINT64_MAX)
        IGNORE(!str_copy(ret, 32, "unknown"));
    else
        IGNORE(!str_format(ret, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]));
}

const char *shim_verdict_word(int wire_verdict)
{
    static const char *const words[] = {"-", "ok", "WARNING", "FAILED", "COULD NOT TELL"};
    return wire_verdict >= 0 && wire_verdict <= 4 ? words[wire_verdict] : "-";
}

bool shim_print_json(json_t *doc, struct err *err)
{
    AUTO(json) json_t *owned = doc;
    AUTO(mem) char *text = json_format_pretty(owned, err);
    return text && (puts(text) >= 0 || err_set(err, ERR_IO, "cannot write to stdout"));
}

bool shim_print_text(struct str *text, struct err *err)
{
    return str_ok(text, err) && ((fputs(text->text, stdout) >= 0 && fflush(stdout) == 0) ||
                                 err_set(err, ERR_IO, "cannot write to stdout"));
}

/* The agent's "cause; hint: what to do" in its two parts. */
static bool put_error(json_t *to, const char *db, const char *phase, const struct err *err,
                      enum verdict_kind kind, int exit_code, struct err *ret_err)
{
    char cause[sizeof err->text];
    const char *next = "";
    IGNORE(!str_copy(cause, sizeof cause, err->text));
    char *hint = strstr(cause, "; hint: ");
    if (hint) {
        *hint = '\0';
        next = hint + strlen("; hint: ");
    }
    return json_put_text(to, "verdict", verdict_word(kind), ret_err) &&
           json_put_text(to, "code", err_code_name(err->code), ret_err) &&
           words_put_bytes(to, "database", db ? db : "", strlen(db ? db : ""), ret_err) &&
           json_put_text(to, "phase", phase, ret_err) &&
           words_put_bytes(to, "cause", cause, strlen(cause), ret_err) &&
           words_put_bytes(to, "next", next, strlen(next), ret_err) &&
           json_put_u64(to, "exit_code", (uint64_t)exit_code, ret_err);
}

static void print_error(const char *db, const char *phase, const struct err *why,
                        enum verdict_kind kind, int exit_code)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    json_t *to = json_object();
    if (json_put(doc, "error", to, &err) && put_error(to, db, phase, why, kind, exit_code, &err))
        IGNORE(!shim_print_json(TAKE(doc), &err)); /* stderr has said it */
}

int shim_report(const struct shim *shim, const char *db, const char *phase, const struct err *err)
{
    char line[VERDICT_LINE_MAX + 1];
    enum verdict_kind kind = verdict_from_err(err);
    if (err->code == ERR_BUSY && str_starts(err->text, "already running"))
        kind = VERDICT_RUNNING; /* the run that is on will tell; no failure of this trigger */
    int code = verdict_exit(
        kind, shim && ((shim->options && shim->options->strict) || (shim->db && shim->db->strict)));
    progress_clear();
    IGNORE(fflush(stdout));
    verdict_line(kind, db, phase, err->text, NULL, line);
    fprintf(stderr, "%s\n", line);
    if (strlen(err->text) + 40 > VERDICT_LINE_MAX)
        fprintf(stderr, "%s\n", err->text);
    if (shim && shim->options && shim->options->json)
        print_error(db, phase, err, kind, code);
    return code;
}

/* The offset at that moment, not today's: the clocks may have been changed since. */
static bool database_offset(struct shim *shim, uint64_t local_us, int *ret_offset_min,
                            struct err *err)
{
    Evercopy__V1__GetWindowRequest request = EVERCOPY__V1__GET_WINDOW_REQUEST__INIT;
    request.db_unique_name = (char *)shim->db->name;
    request.at_local_us = local_us;
    AUTO(reply)
    ProtobufCMessage *reply =
        shim_call(shim, "Recovery", "GetWindow", &request.base,
                  &evercopy__v1__get_window_reply__descriptor, SHIM_CALL_MS, err);
    if (!reply)
        return false;
    *ret_offset_min = ((Evercopy__V1__GetWindowReply *)reply)->offset_min;
    return true;
}

bool shim_zone(struct shim *shim, struct err *err)
{
    int offset_min;
    if (!words_zone_set(shim->options->zone, err))
        return false;
    if (!words_zone_wants_db())
        return true;
    if (!shim->db->name[0])
        return err_set(err, ERR_INVALID, "--zone db needs a database to ask");
    if (!database_offset(shim, 0, &offset_min, err))
        return false;
    words_zone_db(offset_min);
    return true;
}

bool shim_target(struct shim *shim, uint64_t *ret_scn, uint64_t *ret_time_us, struct err *err)
{
    const char *to = shim->options->to;
    const char *scn = shim->options->scn;
    int offset_min = 0;
    *ret_scn = *ret_time_us = 0;
    if (!to == !scn)
        return err_set(err, ERR_INVALID, "name the target with --to TIME or --scn N, one of them");
    if (scn)
        return (str_to_u64(scn, UINT64_MAX - 1, ret_scn) && *ret_scn) ||
               err_set(err, ERR_INVALID, "--scn '%.40s' is no SCN", scn);
    if (!clock_parse(to, ret_time_us))
        return err_set(err, ERR_INVALID, "--to '%.40s' is no time such as '2026-11-21 14:32:07'",
                       to);
    if (str_ends(to, "Z"))
        return true;
    if (!database_offset(shim, *ret_time_us, &offset_min, err))
        return false;
    *ret_time_us -= (uint64_t)((int64_t)offset_min * 60 * 1000000);
    return true;
}
