/* The whole agent, attacked by people with certificates: who is refused, what the audit shows. */
#include "agent/auth/audit.h"
#include "agent/auth/ca.h"
#include "agent/auth/deny.h"
#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/sys.h"
#include "agent/net/crypto.h"
#include "agent/net/x509.h"
#include "agent/rpc/client.h"
#include "agent/service/service.h"
#include "agent/shim/renew.h"
#include "evercopy/v1/admin.pb-c.h"
#include "evercopy/v1/backups.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 30000, CALL_MS = 20000 };

static char dir[64];
static pid_t agent;
static uint16_t port;

static const char *in(const char *name)
{
    static char paths[8][160];
    static int turn;
    char *path = paths[turn++ % 8];
    str_format(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void write_text(const char *path, const char *text)
{
    struct err err = {0};
    cr_assert(sys_write_file(path, text, strlen(text), 0600, &err), "%s", err.text);
}

static void write_config(const char *more)
{
    AUTO(str) struct str text = {0};
    str_printf(&text, "[agent]\nlisten = 127.0.0.1:0\nstate = %s\npki = %s\n%s", in("state"),
               in("pki"), more);
    write_text(in("agent.conf"), text.text);
}

static const char *program(void)
{
    static char path[4096];
    const char *build = getenv("EVERCOPY_BUILD");
    str_format(path, sizeof path, "%s/evercopyd", build ? build : "build/san-address-undefined");
    return path;
}

static void start_agent(void)
{
    const char *port_file = in("port");
    char *text = NULL;
    struct err err = {0};
    unlink(port_file);
    agent = fork();
    if (agent == 0) {
        int log = open(in("agent.log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(log, 2);
        execl(program(), "evercopyd", "--config", in("agent.conf"), "serve", "--port-file",
              port_file, (char *)NULL);
        _exit(127);
    }
    uint64_t deadline = clock_mono_ms() + START_MS;
    for (size_t len; !text && clock_mono_ms() < deadline; err_clear(&err)) {
        cr_assert_eq(waitpid(agent, NULL, WNOHANG), 0, "the agent ended; see %s", in("agent.log"));
        text = sys_read_file(port_file, 16, &len, &err);
        if (!text)
            IGNORE(poll(NULL, 0, 10) < 0);
    }
    cr_assert(text, "the agent did not start");
    port = (uint16_t)strtoul(text, NULL, 10);
    own_free(text);
}

static void stop_agent(int signal_no)
{
    if (agent <= 0)
        return;
    kill(agent, signal_no);
    waitpid(agent, NULL, 0);
    agent = 0;
}

static void enroll(const char *name, const char *role)
{
    static const char *const databases[] = {"MINE"};
    struct ca_request request = {
        .name = name, .role = role, .databases = databases, .database_count = 1};
    struct err err = {0};
    cr_assert(ca_enroll(in("pki"), &request, in("etc"), &err), "%s", err.text);
}

static void begin(void)
{
    static const char *const names[] = {"127.0.0.1"};
    struct ca_request server = {.name = "agent", .server_names = names, .server_name_count = 1};
    struct err err = {0};
    str_copy(dir, sizeof dir, "/tmp/evercopy-attack-XXXXXX");
    cr_assert(mkdtemp(dir));
    cr_assert(ca_init(in("pki"), &server, &err), "%s", err.text);
    enroll("host", "dbhost");
    enroll("boss", "admin");
    write_config("callsperminute = 200\n");
    start_agent();
}

static void end(void)
{
    struct err err = {0};
    stop_agent(SIGKILL);
    cr_assert(sys_remove_tree(dir, &err), "%s", err.text);
}

TestSuite(agent, .init = begin, .fini = end, .timeout = 120);

static struct rpc_client *client_of(const char *name)
{
    char cert[160];
    char key[160];
    struct err err = {0};
    str_format(cert, sizeof cert, "%s/etc/%s.crt", dir, name);
    str_format(key, sizeof key, "%s/etc/%s.key", dir, name);
    struct rpc_client_options options = {.host = "127.0.0.1",
                                         .port = port,
                                         .ca_file = in("etc/ca.crt"),
                                         .cert_file = cert,
                                         .key_file = key};
    struct rpc_client *client = rpc_client_new(&options, &err);
    cr_assert(client, "%s", err.text);
    return client;
}

/* ERR_NONE, or why not. */
static enum err_code call(struct rpc_client *client, const struct rpc_method *method,
                          const ProtobufCMessage *request, struct err *err)
{
    err_clear(err);
    ProtobufCMessage *reply = rpc_client_call(client, method->service, method->name, request,
                                              method->output, CALL_MS, err);
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
    return err->code;
}

static const struct rpc_method *find_method(const char *name)
{
    size_t count;
    const struct rpc_method *methods = service_methods(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    cr_assert_fail("there is no method %s", name);
    return NULL;
}

static enum err_code list_jobs(struct rpc_client *client, struct err *err)
{
    Evercopy__V1__ListJobsRequest request = EVERCOPY__V1__LIST_JOBS_REQUEST__INIT;
    return call(client, find_method("ListJobs"), &request.base, err);
}

/* A request with its texts set as an attacker would. */
static ProtobufCMessage *forge(const struct rpc_method *method)
{
    static const struct {
        const char *field, *text;
    } texts[] = {{"idempotency_key", "attack"}, {"db_unique_name", "OTHER"}, {"name", "x"}};
    struct err err = {0};
    ProtobufCMessage *request = own_alloc(method->input->sizeof_message, &err);
    method->input->message_init(request);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(method->input, texts[i].field);
        if (field && field->type == PROTOBUF_C_TYPE_STRING)
            *(const char **)((char *)request + field->offset) = texts[i].text;
    }
    return request;
}

struct sought {
    const char *method, *code;
    bool found;
};

static bool seek(void *arg, const char *line)
{
    struct sought *s = arg;
    struct err err = {0};
    AUTO(json) json_t *doc = json_parse(line, strlen(line), &err);
    s->found |= doc && strstr(json_text(doc, "method"), s->method) &&
                str_equal(json_text(doc, "code"), s->code) &&
                str_equal(json_text(doc, "cn"), "host") && json_text(doc, "serial")[0] &&
                str_starts(json_text(doc, "address"), "127.0.0.1:");
    return !s->found;
}

static bool audit_has(const char *method, const char *code)
{
    struct sought s = {method, code, false};
    struct err err = {0};
    cr_assert(audit_each(in("state"), "", "", seek, &s, &err), "%s", err.text);
    return s.found;
}

static void must_be_sound(void)
{
    struct audit_report r;
    struct err err = {0};
    cr_assert(audit_verify(in("state"), NULL, &r, &err), "%s", err.text);
    cr_assert(r.sound && !r.alarms, "%s:%zu: %s", r.file, (size_t)r.line, r.why);
}

/* What a database host may change: only additions to its own databases. A method that joins this
 * list must be looked at: could it delete, overwrite or age out history? */
static const char *const additions[] = {"RegisterDatabase",
                                        "BeginBackup",
                                        "ReportPhase",
                                        "FinishBackup",
                                        "TakeSnapshot",
                                        "RenewCertificate",
                                        "CancelJob" /* of a run of its own that is under way */,
                                        "PutFacts" /* one sheet, named by that run */};

static bool is_addition(const char *name)
{
    for (size_t i = 0; i < sizeof additions / sizeof *additions; i++)
        if (strcmp(additions[i], name) == 0)
            return true;
    return false;
}

Test(agent, a_database_host_changes_nothing_but_additions_to_its_own)
{
    size_t count;
    size_t refused = 0;
    const struct rpc_method *methods = service_methods(&count);
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    for (size_t i = 0; i < count; i++) {
        const struct rpc_method *method = &methods[i];
        struct err err = {0};
        if (!protobuf_c_message_descriptor_get_field_by_name(method->input, "idempotency_key"))
            continue;
        bool may = method->roles & ROLE_DBHOST;
        cr_expect(!may || is_addition(method->name), "%s is new to database hosts", method->name);
        bool named =
            protobuf_c_message_descriptor_get_field_by_name(method->input, "db_unique_name");
        if (may && !named)
            continue; /* guarded by its run's job and token, or for the caller itself alone */
        AUTO(mem) ProtobufCMessage *request = forge(method);
        enum err_code code = call(host, method, request, &err);
        cr_expect_eq(code, ERR_DENIED, "%s: %s %s", method->name, err_code_name(code), err.text);
        refused++;
    }
    cr_assert_gt(refused, 3);
    stop_agent(SIGTERM);
    for (size_t i = 0; i < count; i++)
        if (protobuf_c_message_descriptor_get_field_by_name(methods[i].input, "idempotency_key") &&
            !(methods[i].roles & ROLE_DBHOST))
            cr_expect(audit_has(methods[i].name, "DENIED"), "%s left no line", methods[i].name);
    cr_expect(audit_has("BeginBackup", "DENIED"));
    must_be_sound();
}

Test(agent, a_denied_certificate_is_out_at_its_next_call_and_in_again_when_allowed)
{
    struct err err = {0};
    size_t changed;
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    AUTO(rpc_client) struct rpc_client *boss = client_of("boss");
    cr_assert_eq(list_jobs(host, &err), ERR_NONE, "%s", err.text);
    cr_assert(deny_add(in("pki"), "host", "the laptop was stolen", &changed, &err));
    cr_assert_eq(list_jobs(host, &err), ERR_UNAUTHENTICATED, "%s", err.text);
    cr_assert(strstr(err.text, "the laptop was stolen"), "%s", err.text);
    cr_assert_eq(list_jobs(boss, &err), ERR_NONE, "%s", err.text);
    write_text(in("pki/deny.list"), "");
    cr_assert_eq(list_jobs(host, &err), ERR_UNAUTHENTICATED, "a broken list lets nobody in");
    cr_assert_eq(list_jobs(boss, &err), ERR_NONE, "nor anybody out");
    stop_agent(SIGTERM);
    cr_assert(audit_has("ListJobs", "UNAUTHENTICATED"));
    must_be_sound();
}

Test(agent, a_connection_of_a_denied_certificate_is_closed)
{
    struct err err = {0};
    size_t changed;
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    cr_assert_eq(list_jobs(host, &err), ERR_NONE, "%s", err.text);
    cr_assert(deny_add(in("pki"), "host", "gone", &changed, &err));
    uint64_t deadline = clock_mono_ms() + START_MS;
    while (!audit_has("connect", "UNAUTHENTICATED") && clock_mono_ms() < deadline)
        IGNORE(poll(NULL, 0, 20) < 0);
    cr_assert(audit_has("connect", "UNAUTHENTICATED"), "nobody looked at open connections");
}

Test(agent, calls_beyond_the_quota_wait_for_the_next_minute)
{
    struct err err = {0};
    size_t good = 0;
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    AUTO(rpc_client) struct rpc_client *boss = client_of("boss");
    while (good < 250 && list_jobs(host, &err) == ERR_NONE)
        good++;
    cr_assert_eq(good, 200);
    cr_assert_eq(err.code, ERR_QUOTA);
    cr_assert(strstr(err.text, "callsperminute") && strstr(err.text, "free again in"), "%s",
              err.text);
    cr_assert_eq(list_jobs(boss, &err), ERR_NONE, "people are not bounded: %s", err.text);
}

static enum err_code reload(struct rpc_client *client, const char *key, struct err *err)
{
    Evercopy__V1__ReloadRequest request = EVERCOPY__V1__RELOAD_REQUEST__INIT;
    request.idempotency_key = (char *)key;
    return call(client, find_method("Reload"), &request.base, err);
}

Test(agent, a_reload_keeps_connections_and_refuses_a_broken_file)
{
    struct err err = {0};
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    AUTO(rpc_client) struct rpc_client *boss = client_of("boss");
    cr_assert_eq(list_jobs(host, &err), ERR_NONE, "%s", err.text);
    cr_assert_eq(reload(host, "k", &err), ERR_DENIED, "%s", err.text);
    write_config("callsperminute = 1\n[broken\n");
    cr_assert_eq(reload(boss, "a", &err), ERR_CONFIG);
    cr_assert(strstr(err.text, "agent.conf:6:"), "%s", err.text);
    cr_assert_eq(list_jobs(host, &err), ERR_NONE, "%s", err.text);
    write_config("callsperminute = 1\nlisten = 127.0.0.1:1\n");
    cr_assert_eq(reload(boss, "b", &err), ERR_CONFIG, "a key stands twice");
    write_config("callsperminute = 1\nworkers = 9\n");
    cr_assert_eq(reload(boss, "c", &err), ERR_NONE, "%s", err.text);
    cr_assert_eq(list_jobs(host, &err), ERR_QUOTA, "the new bound holds on the old connection");
    struct ca_request again = {.name = "agent", .role = ""};
    cr_assert(ca_renew_server(in("pki"), &again, &err), "%s", err.text);
    cr_assert_eq(reload(boss, "d", &err), ERR_NONE, "%s", err.text);
    AUTO(rpc_client) struct rpc_client *fresh = client_of("boss");
    cr_assert_eq(list_jobs(fresh, &err), ERR_NONE, "the new certificate works: %s", err.text);
    cr_assert_eq(list_jobs(boss, &err), ERR_NONE, "and old connections go on: %s", err.text);
}

/* ---- killed in the midst of changes ---- */

struct hammer {
    pthread_t thread;
    struct rpc_client *client;
    _Atomic size_t answered;
    size_t round;
};

static void hammer_key(char ret[32], size_t round, size_t i)
{
    str_format(ret, 32, "hammer-%zu-%zu", round, i);
}

static void *hammer_on(void *arg)
{
    struct hammer *h = arg;
    struct err err = {0};
    char key[32];
    for (;;) {
        hammer_key(key, h->round, h->answered);
        if (reload(h->client, key, &err) != ERR_NONE)
            return NULL;
        h->answered++;
    }
}

struct outcomes {
    char wanted[17];
    bool found;
};

static bool seek_outcome(void *arg, const char *line)
{
    struct outcomes *o = arg;
    o->found |= strstr(line, "\"kind\":\"outcome\"") && strstr(line, o->wanted) &&
                strstr(line, "\"code\":\"ok\"");
    return !o->found;
}

Test(agent, no_kill_takes_an_answered_change_out_of_the_audit)
{
    for (size_t round = 0; round < 3; round++) {
        struct err err = {0};
        struct hammer h = {.client = client_of("boss"), .round = round};
        cr_assert_eq(pthread_create(&h.thread, NULL, hammer_on, &h), 0);
        uint64_t deadline = clock_mono_ms() + START_MS;
        while (h.answered < 5 + round && clock_mono_ms() < deadline)
            IGNORE(poll(NULL, 0, 1) < 0);
        stop_agent(SIGKILL);
        pthread_join(h.thread, NULL);
        rpc_client_free(h.client);
        cr_assert_geq(h.answered, 5);
        start_agent();
        must_be_sound();
        for (size_t i = 0; i < h.answered; i++) {
            char key[32];
            char hash[CRYPTO_SHA256_HEX];
            struct outcomes o = {.found = false};
            hammer_key(key, round, i);
            crypto_sha256_hex(key, strlen(key), hash);
            memcpy(o.wanted, hash, 16);
            cr_assert(audit_each(in("state"), "", "", seek_outcome, &o, &err));
            cr_expect(o.found, "round %zu: call %zu was answered and is not there", round, i);
        }
    }
}

Test(agent, renews_a_certificate_once_per_key)
{
    struct err err = {0};
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *csr = NULL;
    AUTO(mem) char *first = NULL;
    AUTO(rpc_client) struct rpc_client *host = client_of("host");
    cr_assert(x509_ask("host", &key, &csr, &err));
    Evercopy__V1__RenewCertificateRequest request = EVERCOPY__V1__RENEW_CERTIFICATE_REQUEST__INIT;
    request.idempotency_key = (char *)"once";
    request.certificate_request = csr;
    for (int i = 0; i < 2; i++) {
        ProtobufCMessage *reply =
            rpc_client_call(host, "evercopy.v1.Admin", "RenewCertificate", &request.base,
                            &evercopy__v1__renew_certificate_reply__descriptor, CALL_MS, &err);
        cr_assert(reply, "%s", err.text);
        const char *cert = ((Evercopy__V1__RenewCertificateReply *)reply)->certificate;
        cr_assert(x509_belong(cert, key));
        if (first)
            cr_assert_str_eq(first, cert);
        else
            first = own_strdup(cert, &err);
        protobuf_c_message_free_unpacked(reply, NULL);
    }
    request.certificate_request = (char *)"-----BEGIN CERTIFICATE REQUEST-----\nnonsense";
    request.idempotency_key = (char *)"twice";
    cr_assert_eq(call(host, find_method("RenewCertificate"), &request.base, &err), ERR_INVALID);
}

/* Issued `days_ago` for `days`, as if time had passed. */
static void issue_old(const char *name, int days_ago, int days)
{
    static const char *const uris[] = {"evercopy:role/admin"};
    char path[64];
    struct err err = {0};
    size_t len;
    uint64_t day_us = 86400ull * 1000000;
    struct x509_request request = {.common_name = name,
                                   .use = X509_CLIENT,
                                   .uris = uris,
                                   .uri_count = 1,
                                   .not_before_us = clock_wall_us() - (uint64_t)days_ago * day_us,
                                   .not_after_us =
                                       clock_wall_us() + (uint64_t)(days - days_ago) * day_us};
    AUTO(x509_pair) struct x509_pair authority = {0};
    AUTO(x509_pair) struct x509_pair own = {0};
    authority.cert = sys_read_file(in("pki/ca.crt"), 1 << 16, &len, &err);
    authority.key = x509_read_key(in("pki/ca.key"), &err);
    cr_assert(x509_issue(&request, &authority, &own, &err), "%s", err.text);
    str_format(path, sizeof path, "etc/%s.crt", name);
    write_text(in(path), own.cert);
    str_format(path, sizeof path, "etc/%s.key", name);
    write_text(in(path), own.key);
}

Test(agent, a_host_renews_in_the_last_third_and_keeps_what_works_when_it_cannot)
{
    struct err err = {0};
    char until[32];
    bool due;
    AUTO(str) struct str config = {0};
    issue_old("young", 5, 10);
    issue_old("old", 7, 10);
    for (int old = 0; old < 2; old++) {
        const char *name = old ? "old" : "young";
        str_clear(&config);
        str_printf(&config,
                   "[generic]\nagent = 127.0.0.1:%u\nca = %s\ncert = %s/etc/%s.crt\n"
                   "key = %s/etc/%s.key\nticketfile = %s\n[MINE]\noraclehome = /x\n",
                   port, in("etc/ca.crt"), dir, name, dir, name, in("ticket"));
        write_text(in("shim.conf"), config.text);
        AUTO(shim) struct shim shim = {0};
        struct shim_options options = {.config = in("shim.conf")};
        cr_assert(shim_open(&shim, &options, NULL, &err), "%s", err.text);
        cr_assert(renew_is_due(&shim, &due, &err), "%s", err.text);
        cr_assert_eq(due, old, "%s", name);
    }
    struct shim_options options = {.config = in("shim.conf"), .quiet = true};
    AUTO(shim) struct shim shim = {0};
    cr_assert(shim_open(&shim, &options, NULL, &err));
    cr_assert(renew_now(&shim, until, &err), "%s", err.text);
    cr_assert(renew_is_due(&shim, &due, &err) && !due, "%s", err.text);
    AUTO(rpc_client) struct rpc_client *renewed = client_of("old");
    cr_assert_eq(list_jobs(renewed, &err), ERR_NONE, "%s", err.text);
    size_t len;
    AUTO(mem) char *before = sys_read_file(in("etc/old.crt"), 1 << 16, &len, &err);
    stop_agent(SIGTERM);
    cr_assert_neq(verb_renew(&options, NULL), 0, "no agent, no renewal");
    AUTO(mem) char *after = sys_read_file(in("etc/old.crt"), 1 << 16, &len, &err);
    cr_assert_str_eq(before, after);
}
