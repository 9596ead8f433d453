/* evercopy renew: a new certificate for this host, before the present one ends. */
#include "agent/shim/renew.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include "agent/net/bundle.h"
#include "agent/net/x509.h"
#include "evercopy/v1/admin.pb-c.h"
#include <limits.h>
#include <stdio.h>

enum { CERT_FILE_MAX = 64 << 10 };

static bool read_own(const struct shim *shim, struct x509_facts *ret, struct err *err)
{
    size_t len;
    if (!config_require(shim->config, shim->db, "cert", err) ||
        !config_require(shim->config, shim->db, "key", err) ||
        !bundle_settle(shim->db->cert, shim->db->key, err))
        return false;
    AUTO(mem) char *text = sys_read_file(shim->db->cert, CERT_FILE_MAX, &len, err);
    return text && x509_read(text, ret, err);
}

bool renew_is_due(const struct shim *shim, bool *ret_due, struct err *err)
{
    AUTO(x509_facts) struct x509_facts facts = {0};
    if (!read_own(shim, &facts, err))
        return false;
    uint64_t now = clock_wall_us();
    uint64_t end = facts.peer.not_after_us;
    *ret_due = end <= now || (end - now) < (end - facts.not_before_us) / 3;
    return true;
}

/* The staged pair must open a connection before it takes the place of the one that works. */
static bool try_staged(const struct shim *shim, struct err *err)
{
    char cert[PATH_MAX];
    char key[PATH_MAX];
    struct config_database db = *shim->db;
    struct shim with_new = {.options = shim->options, .config = shim->config, .db = &db};
    if (!str_format(cert, sizeof cert, "%s.next", db.cert) ||
        !str_format(key, sizeof key, "%s.next", db.key))
        return err_set(err, ERR_INVALID, "path is too long: '%.80s...'", db.cert);
    db.cert = cert;
    db.key = key;
    bool ok = shim_is_answering(&with_new, err);
    rpc_client_free(with_new.client);
    return ok || err_wrap(err, "the agent does not take the new certificate; the old one stays");
}

bool renew_now(struct shim *shim, char ret_until[32], struct err *err)
{
    AUTO(x509_facts) struct x509_facts facts = {0};
    AUTO(x509_key) char *key = NULL;
    AUTO(mem) char *csr = NULL;
    if (!config_require(shim->config, shim->db, "cert", err) ||
        !config_require(shim->config, shim->db, "key", err))
        return false;
    AUTO(fd) int lock = bundle_lock(shim->db->cert, shim->db->key, err);
    if (lock < 0 || !read_own(shim, &facts, err) || !x509_ask(facts.peer.cn, &key, &csr, err))
        return false;
    Evercopy__V1__RenewCertificateRequest request = EVERCOPY__V1__RENEW_CERTIFICATE_REQUEST__INIT;
    request.idempotency_key = SHIM_KEY;
    request.certificate_request = csr;
    AUTO(reply)
    ProtobufCMessage *message =
        shim_call(shim, "Admin", "RenewCertificate", &request.base,
                  &evercopy__v1__renew_certificate_reply__descriptor, SHIM_CALL_MS, err);
    if (!message)
        return false;
    const Evercopy__V1__RenewCertificateReply *reply = (const void *)message;
    clock_format_utc(reply->not_after_us, ret_until);
    return bundle_stage(shim->db->cert, shim->db->key, reply->certificate, key, err) &&
           try_staged(shim, err) && bundle_swap(shim->db->cert, shim->db->key, err);
}

int verb_renew(const struct shim_options *options, const char *db)
{
    char until[32];
    AUTO(shim) struct shim shim = {0};
    struct err err = {0};
    if (!shim_open(&shim, options, db, &err) || !renew_now(&shim, until, &err))
        return shim_report(&shim, db, "renew", &err);
    AUTO(json) json_t *doc = options->json ? json_object() : NULL;
    if (doc &&
        (!json_put_text(doc, "certificate", shim.db->cert, &err) ||
         !json_put_text(doc, "valid_until", until, &err) || !shim_print_json(TAKE(doc), &err)))
        return shim_report(&shim, db, "renew", &err);
    if (!options->quiet && !options->json)
        printf("%s is renewed, valid until %s\n", shim.db->cert, until);
    return 0;
}
