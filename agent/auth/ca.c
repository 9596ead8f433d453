/* The agent's own certificate authority. */
#include "agent/auth/ca.h"

#include "agent/auth/deny.h"
#include "agent/auth/issued.h"
#include "agent/auth/roles.h"
#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/bundle.h"
#include <limits.h>
#include <string.h>
#include <unistd.h>

enum {
    CA_DAYS = 3650,
    DAYS_MAX = 3650,
    DATABASES_MAX = 64,
    CERT_FILE_MAX = 64 << 10,
    BACKDATE_S = 300, /* for clocks that are a little behind ours */
    URI_MAX = 80,
    AUTHORITY_WARN_DAYS = 180,
    SERVER_WARN_DAYS = 30,
};
#define DAY_US (86400ull * 1000000)

static bool is_made_of(const char *text, size_t max, const char *extra)
{
    size_t len = strlen(text);
    if (!len || len > max)
        return false;
    for (const char *p = text; *p; p++) {
        bool plain =
            (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!plain && !strchr(extra, *p))
            return false;
    }
    return true;
}

/* The name becomes a file name too, so ".." and hidden files are out, and so is ca.crt. */
static bool check_name(const char *name, struct err *err)
{
    if (str_equal(name, "ca"))
        return err_set(err, ERR_INVALID, "the name 'ca' is the certificate authority's own");
    if (name && is_made_of(name, 64, "._-") && name[0] != '.' && name[0] != '-')
        return true;
    return err_set(
        err, ERR_INVALID,
        "'%.80s' is no name for a certificate: letters, digits, '.', '_' and '-', at most "
        "64 of them, not beginning with '.' or '-'",
        name ? name : "");
}

static bool check_server_names(const struct ca_request *request, struct err *err)
{
    if (!request->server_name_count || request->server_name_count > CA_SERVER_NAMES_MAX)
        return err_set(err, ERR_INVALID, "a server's certificate needs 1 to %d names",
                       CA_SERVER_NAMES_MAX);
    for (size_t i = 0; i < request->server_name_count; i++) {
        uint8_t ip[16];
        size_t len;
        const char *name = request->server_names[i];
        if (!x509_parse_ip(name, ip, &len) &&
            (!is_made_of(name, 253, ".-_") || name[0] == '.' || name[0] == '-'))
            return err_set(err, ERR_INVALID, "'%.80s' is neither a host name nor an IP address",
                           name);
    }
    return true;
}

static bool check_days(int days, struct err *err)
{
    return (days >= 0 && days <= DAYS_MAX) ||
           err_set(err, ERR_INVALID, "a certificate is valid for 1 to %d days, not %d", DAYS_MAX,
                   days);
}

static bool check_server(const struct ca_request *request, struct err *err)
{
    return check_name(request->name, err) && check_server_names(request, err) &&
           check_days(request->days, err);
}

static bool check_client(const struct ca_request *request, struct err *err)
{
    uint32_t role = role_from_name(request->role);
    if (!check_name(request->name, err) || !check_days(request->days, err))
        return false;
    if (!role)
        return err_set(err, ERR_INVALID,
                       "'%.40s' is no role; hint: dbhost, restore, operator, monitor or admin",
                       request->role);
    if (role == ROLE_DBHOST && !request->database_count)
        return err_set(err, ERR_INVALID, "the role 'dbhost' needs its databases; hint: --db");
    if (request->database_count > DATABASES_MAX)
        return err_set(err, ERR_INVALID, "at most %d databases per certificate", DATABASES_MAX);
    for (size_t i = 0; i < request->database_count; i++)
        if (!is_made_of(request->databases[i], 30, "_$#"))
            return err_set(err, ERR_INVALID, "'%.40s' is no db_unique_name", request->databases[i]);
    return true;
}

static void set_validity(struct x509_request *to, int days)
{
    uint64_t now = clock_wall_us();
    to->not_before_us = now - BACKDATE_S * 1000000ull;
    to->not_after_us = now + (uint64_t)(days ? days : CA_DAYS_DEFAULT) * DAY_US;
}

static bool issue_server(const struct ca_request *request, const struct x509_pair *issuer,
                         struct x509_pair *ret, struct err *err)
{
    struct x509_request what = {
        .common_name = request->name,
        .use = X509_SERVER,
        .names = request->server_names,
        .name_count = request->server_name_count,
    };
    set_validity(&what, request->days);
    return x509_issue(&what, issuer, ret, err);
}

/* What a client's certificate says; the texts last as long as `texts`. */
struct client_texts {
    char texts[DATABASES_MAX + 1][URI_MAX];
    const char *uris[DATABASES_MAX + 1];
};

static struct x509_request describe_client(const struct ca_request *request,
                                           struct client_texts *texts)
{
    str_format(texts->texts[0], URI_MAX, "evercopy:role/%s", request->role);
    for (size_t i = 0; i < request->database_count; i++)
        str_format(texts->texts[i + 1], URI_MAX, "evercopy:db/%s", request->databases[i]);
    for (size_t i = 0; i <= request->database_count; i++)
        texts->uris[i] = texts->texts[i];
    struct x509_request what = {
        .common_name = request->name,
        .use = X509_CLIENT,
        .uris = texts->uris,
        .uri_count = request->database_count + 1,
    };
    set_validity(&what, request->days);
    return what;
}

static bool issue_client(const struct ca_request *request, const struct x509_pair *issuer,
                         struct x509_pair *ret, struct err *err)
{
    struct client_texts texts = {0};
    struct x509_request what = describe_client(request, &texts);
    return x509_issue(&what, issuer, ret, err);
}

static bool issue_authority(struct x509_pair *ret, struct err *err)
{
    uint8_t noise[4];
    char hex[9];
    char name[32];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, hex);
    str_format(name, sizeof name, "Evercopy CA %s", hex);
    struct x509_request what = {.common_name = name, .use = X509_AUTHORITY};
    set_validity(&what, CA_DAYS);
    return x509_issue(&what, NULL, ret, err);
}

/* Files of one bundle, in the order they are written; the last one makes the bundle count. */
struct bundle_file {
    char path[PATH_MAX];
    const char *text;
    mode_t mode;
};

static bool bundle_name(struct bundle_file *file, const char *dir, const char *name,
                        const char *suffix, struct err *err)
{
    return str_format(file->path, sizeof file->path, "%s/%s%s", dir, name, suffix) ||
           err_set(err, ERR_INVALID, "path is too long: '%.80s...'", dir);
}

static bool bundle_write(struct bundle_file *files, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!files[i].text ||
            sys_write_file(files[i].path, files[i].text, strlen(files[i].text), files[i].mode, err))
            continue;
        /* Half a bundle helps nobody; the failed file may have got its name already. */
        for (size_t k = 0; k <= i; k++)
            if (files[k].text)
                IGNORE(unlink(files[k].path));
        return false;
    }
    return true;
}

static bool is_there(const char *path, bool *ret_there, struct err *err)
{
    struct stat info;
    struct err why = {0};
    bool there = sys_lstat(path, &info, &why);
    if (!there && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    *ret_there = there;
    return true;
}

static bool check_absent(const struct bundle_file *files, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        bool there;
        if (!is_there(files[i].path, &there, err))
            return false;
        if (there)
            return err_set(err, ERR_EXISTS, "'%s' is there already; hint: move it away first",
                           files[i].path);
    }
    return true;
}

static int days_of(const struct ca_request *request)
{
    return request->days ? request->days : CA_DAYS_DEFAULT;
}

/* The register first: a certificate that exists can always be named. */
static bool register_and_write(const char *pki, const char *cert, int days,
                               struct bundle_file *files, size_t count, struct err *err)
{
    struct err none = {0};
    if (!deny_begin(pki, err) || !issued_add(pki, cert, days, "", err))
        return false;
    if (bundle_write(files, count, err))
        return true;
    IGNORE(!issued_remove(pki, cert, &none)); /* a line too much harms nobody */
    return false;
}

bool ca_init(const char *dir, const struct ca_request *server, struct err *err)
{
    struct bundle_file files[4] = {{.mode = 0600}, {.mode = 0600}, {.mode = 0644}, {.mode = 0644}};
    if (!check_server(server, err) || !bundle_name(&files[0], dir, "ca", ".key", err) ||
        !bundle_name(&files[1], dir, "server", ".key", err) ||
        !bundle_name(&files[2], dir, "server", ".crt", err) ||
        !bundle_name(&files[3], dir, "ca", ".crt", err))
        return false;
    /* ca.crt is written last: keys without it are what a crash left, and may be replaced. */
    if (!check_absent(&files[3], 1, err) || !sys_mkdirs(dir, 0700, err))
        return false;
    AUTO(x509_pair) struct x509_pair authority = {0};
    AUTO(x509_pair) struct x509_pair own = {0};
    if (!issue_authority(&authority, err) || !issue_server(server, &authority, &own, err))
        return err_wrap(err, "make certificate authority");
    files[0].text = authority.key;
    files[1].text = own.key;
    files[2].text = own.cert;
    files[3].text = authority.cert;
    return register_and_write(dir, own.cert, days_of(server), files, 4, err) ||
           err_wrap(err, "make certificate authority");
}

static bool load_authority(const char *dir, struct x509_pair *ret, struct err *err)
{
    struct bundle_file cert;
    struct bundle_file key;
    size_t len;
    if (!bundle_name(&cert, dir, "ca", ".crt", err) || !bundle_name(&key, dir, "ca", ".key", err))
        return false;
    AUTO(x509_pair) struct x509_pair pair = {0};
    pair.cert = sys_read_file(cert.path, CERT_FILE_MAX, &len, err);
    if (!pair.cert)
        return err_wrap(err, "no certificate authority; hint: evercopyd init");
    pair.key = x509_read_key(key.path, err);
    if (!pair.key)
        return false;
    *ret = pair;
    pair = (struct x509_pair){0};
    return true;
}

/* A bundle may join others in a directory, as long as they trust the same authority. */
static bool check_same_authority(const char *path, const char *text, bool *ret_there,
                                 struct err *err)
{
    size_t len;
    if (!is_there(path, ret_there, err))
        return false;
    if (!*ret_there)
        return true;
    AUTO(mem) char *present = sys_read_file(path, CERT_FILE_MAX, &len, err);
    if (!present)
        return false;
    return str_equal(present, text) ||
           err_set(err, ERR_EXISTS, "'%s' belongs to another certificate authority", path);
}

bool ca_enroll(const char *dir, const struct ca_request *request, const char *out_dir,
               struct err *err)
{
    bool is_server = !request->role || !request->role[0];
    if (is_server ? !check_server(request, err) : !check_client(request, err))
        return false;
    struct bundle_file files[3] = {{.mode = 0644}, {.mode = 0600}, {.mode = 0644}};
    AUTO(x509_pair) struct x509_pair authority = {0};
    AUTO(x509_pair) struct x509_pair own = {0};
    if (!load_authority(dir, &authority, err) ||
        !bundle_name(&files[0], out_dir, "ca", ".crt", err) ||
        !bundle_name(&files[1], out_dir, request->name, ".key", err) ||
        !bundle_name(&files[2], out_dir, request->name, ".crt", err))
        return false;
    bool there = false;
    if (!sys_mkdirs(out_dir, 0700, err) || !check_absent(&files[1], 2, err) ||
        !check_same_authority(files[0].path, authority.cert, &there, err))
        return false;
    if (!(is_server ? issue_server : issue_client)(request, &authority, &own, err))
        return err_wrap(err, "enroll '%s'", request->name);
    files[0].text = there ? NULL : authority.cert;
    files[1].text = own.key;
    files[2].text = own.cert;
    return register_and_write(dir, own.cert, days_of(request), files, 3, err) ||
           err_wrap(err, "enroll '%s'", request->name);
}

bool ca_renew(const char *dir, const struct rpc_peer *peer, const char *csr, char **ret_cert,
              struct err *err)
{
    struct client_texts texts = {0};
    AUTO(x509_pair) struct x509_pair authority = {0};
    struct ca_request request = {
        .name = peer->cn,
        .role = peer->role,
        .databases = (const char *const *)peer->databases,
        .database_count = peer->database_count,
        .days = issued_days(dir, peer->serial),
    };
    if (!check_client(&request, err) || !load_authority(dir, &authority, err))
        return false;
    struct x509_request what = describe_client(&request, &texts);
    AUTO(mem) char *cert = NULL;
    if (!x509_certify(&what, csr, &authority, &cert, err) || !deny_begin(dir, err) ||
        !issued_renew(dir, cert, days_of(&request), peer, err))
        return err_wrap(err, "renew '%s'", peer->cn);
    *ret_cert = TAKE(cert);
    return true;
}

static bool read_cert(const char *dir, const char *name, struct bundle_file *ret_file,
                      struct x509_facts *ret, struct err *err)
{
    size_t len;
    if (!bundle_name(ret_file, dir, name, ".crt", err))
        return false;
    AUTO(mem) char *cert = sys_read_file(ret_file->path, CERT_FILE_MAX, &len, err);
    return cert && x509_read(cert, ret, err);
}

bool ca_renew_server(const char *dir, const struct ca_request *server, struct err *err)
{
    struct bundle_file cert;
    struct bundle_file key;
    const char *names[CA_SERVER_NAMES_MAX];
    struct ca_request request = *server;
    AUTO(x509_facts) struct x509_facts present = {0};
    AUTO(x509_pair) struct x509_pair authority = {0};
    AUTO(x509_pair) struct x509_pair own = {0};
    if (!bundle_name(&key, dir, "server", ".key", err) ||
        !bundle_name(&cert, dir, "server", ".crt", err) ||
        !bundle_settle(cert.path, key.path, err) || !read_cert(dir, "server", &cert, &present, err))
        return err_wrap(err, "renew the agent's certificate");
    for (size_t i = 0; i < present.name_count; i++)
        names[i] = present.names[i];
    if (!request.server_name_count) {
        request.server_names = names;
        request.server_name_count = present.name_count;
    }
    if (!request.days)
        request.days = issued_days(dir, present.peer.serial);
    return (check_server(&request, err) && load_authority(dir, &authority, err) &&
            issue_server(&request, &authority, &own, err) && deny_begin(dir, err) &&
            issued_add(dir, own.cert, days_of(&request), present.peer.serial, err) &&
            bundle_stage(cert.path, key.path, own.cert, own.key, err) &&
            bundle_swap(cert.path, key.path, err)) ||
           err_wrap(err, "renew the agent's certificate");
}

static uint64_t days_left(const struct x509_facts *facts)
{
    uint64_t now = clock_wall_us();
    uint64_t end = facts->peer.not_after_us;
    return end > now ? (end - now) / DAY_US : 0;
}

bool ca_warning(const char *dir, char ret[300], struct err *err)
{
    struct bundle_file file;
    AUTO(x509_facts) struct x509_facts authority = {0};
    AUTO(x509_facts) struct x509_facts server = {0};
    ret[0] = '\0';
    if (!read_cert(dir, "ca", &file, &authority, err) ||
        !read_cert(dir, "server", &file, &server, err))
        return false;
    if (days_left(&authority) < AUTHORITY_WARN_DAYS)
        return str_format(ret, 300,
                          "the certificate authority ends in %llu days, and every certificate with "
                          "it; next: make a new one beside it and enroll again",
                          (unsigned long long)days_left(&authority));
    if (days_left(&server) < SERVER_WARN_DAYS)
        return str_format(ret, 300,
                          "the agent's own certificate ends in %llu days; next: evercopyd "
                          "renew-server, then systemctl reload evercopyd",
                          (unsigned long long)days_left(&server));
    return true;
}
