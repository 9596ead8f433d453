/* evercopy.v1.Admin: certificates that end, and a configuration that changed. */
#include "agent/service/ask.h"

#include "agent/auth/ca.h"
#include "agent/base/log.h"
#include "agent/base/str.h"
#include "agent/net/x509.h"
#include "evercopy/v1/admin.pb-c.h"
#include <string.h>

struct renewal {
    char note[80], key[80];
    char *cert;
};

static void renewal_free(void *state)
{
    struct renewal *r = state;
    own_free(r->cert);
    own_free(r);
}

static void tell_cert(struct ask *ask, const char *cert)
{
    Evercopy__V1__RenewCertificateReply *reply = ask_alloc(ask, sizeof *reply);
    AUTO(x509_facts) struct x509_facts facts = {0};
    if (!reply || !x509_read(cert, &facts, &ask->err))
        return;
    evercopy__v1__renew_certificate_reply__init(reply);
    reply->certificate = ask_text(ask, cert);
    reply->not_after_us = facts.peer.not_after_us;
    ask->reply = &reply->base;
}

/* On the readers' lane: signing costs milliseconds, and the lists are files. */
static void run_renew(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    const Evercopy__V1__RenewCertificateRequest *request = (const void *)ask->request;
    struct renewal *r = ask->state;
    IGNORE(!ca_renew(world_config(ask_world(ask))->pki, &ask->peer, request->certificate_request,
                     &r->cert, &ask->err)); /* told by ask->err */
}

/* The last renewal of a certificate is remembered: the same key again gets the same answer. */
static bool remember(struct ask *ask, const struct renewal *r)
{
    AUTO(json) json_t *doc = json_object();
    if (!json_put_text(doc, "key", r->key, &ask->err) ||
        !json_put_text(doc, "cert", r->cert, &ask->err))
        return false;
    AUTO(mem) char *text = json_format(doc, &ask->err);
    return text && catalog_note_put(ask_catalog(ask), "", r->note, text, &ask->err);
}

static void renewed(struct work *work)
{
    struct ask *ask = (struct ask *)((char *)work - offsetof(struct ask, read));
    struct renewal *r = ask->state;
    if (ask->err.code == ERR_NONE && remember(ask, r)) {
        tell_cert(ask, r->cert);
        log_info("certificate renewed cn=%s role=%s", ask->peer.cn, ask->peer.role);
    }
    ask_answer(ask);
}

/* True when it was answered before. */
static bool replay(struct ask *ask, const struct renewal *r)
{
    struct err none = {0};
    AUTO(mem) char *text = catalog_note_get(ask_catalog(ask), "", r->note, &none);
    AUTO(json) json_t *doc = text ? json_parse(text, strlen(text), &none) : NULL;
    if (!r->key[0] || !doc || !str_equal(json_text(doc, "key"), r->key))
        return false;
    tell_cert(ask, json_text(doc, "cert"));
    return true;
}

void admin_renew(struct ask *ask)
{
    const Evercopy__V1__RenewCertificateRequest *request = (const void *)ask->request;
    struct renewal *r = own_alloc(sizeof *r, &ask->err);
    ask->state = r;
    ask->state_free = renewal_free;
    if (!r || !ask_key(ask, "renew", request->idempotency_key, r->key)) {
        ask_answer(ask);
        return;
    }
    IGNORE(!str_format(r->note, sizeof r->note, "renewal/%.64s", ask->peer.fingerprint));
    if (replay(ask, r)) {
        ask_answer(ask);
        return;
    }
    ask->read = (struct work){
        .run = run_renew, .done = renewed, .home = lane_post(service_lane(ask->service))};
    lane_submit(world_readers(ask_world(ask)), &ask->read);
}

/* ---- reload ---- */

struct reloading {
    struct service_reload wish; /* first */
    struct work home;
    struct ask *ask;
};

static void reloading_free(void *state)
{
    struct reloading *r = state;
    config_changes_done(&r->wish.changes);
    own_free(r);
}

static bool tell_lines(struct ask *ask, struct str *text, char ***ret_lines, size_t *ret_count)
{
    size_t count = 0;
    for (const char *p = text->text; p && *p; p++)
        count += *p == '\n';
    *ret_lines = ask_alloc(ask, sizeof(char *) * (count + 1));
    if (!*ret_lines)
        return false;
    for (char *cursor = text->text; cursor && *cursor;)
        (*ret_lines)[(*ret_count)++] = ask_text(ask, str_field(&cursor, '\n'));
    return true;
}

static void reloaded(struct service_reload *wish)
{
    struct reloading *r = (struct reloading *)wish;
    struct ask *ask = r->ask;
    Evercopy__V1__ReloadReply *reply = ask_alloc(ask, sizeof *reply);
    if (wish->err.code != ERR_NONE) {
        ask_fail(ask, &wish->err);
        return;
    }
    if (reply) {
        evercopy__v1__reload_reply__init(reply);
        if (tell_lines(ask, &wish->changes.changed, &reply->changed, &reply->n_changed) &&
            tell_lines(ask, &wish->changes.kept, &reply->kept, &reply->n_kept))
            ask->reply = &reply->base;
    }
    ask_answer(ask);
}

static void wish_on_loop(struct work *work)
{
    struct reloading *r = (struct reloading *)((char *)work - offsetof(struct reloading, home));
    service_reload(r->ask->service, &r->wish);
}

void admin_reload(struct ask *ask)
{
    struct reloading *r = own_alloc(sizeof *r, &ask->err);
    ask->state = r;
    ask->state_free = reloading_free;
    if (!r) {
        ask_answer(ask);
        return;
    }
    struct post *home = loop_post(service_loop(ask->service));
    r->ask = ask;
    r->wish.done = reloaded;
    r->home = (struct work){.done = wish_on_loop, .home = home};
    home->submit(home, &r->home);
}
