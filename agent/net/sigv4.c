/* AWS signature version 4: canonical request, key derived by day, region and service. */
#include "agent/net/sigv4.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include "agent/base/sys.h"
#include "agent/net/crypto.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ACCESS_MAX = 256, SECRET_MAX = 256, FILE_MAX = 8192, DAY_LEN = 8 };

struct keys {
    char access[ACCESS_MAX], secret[SECRET_MAX], token[SIGV4_VALUE_MAX];
};

struct sigv4 {
    char *path, *region, *service;
    pthread_mutex_t lock; /* of the keys */
    struct keys keys;
};

static void keys_done(struct keys *keys) { explicit_bzero(keys, sizeof *keys); }
OWN_DEFINE_INPLACE(keys, struct keys, keys_done);

/* Anything else could break out of its header. */
static bool is_printable(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= ' ' || *p >= 127)
            return false;
    return true;
}

static bool take_line(char **cursor, char *to, size_t size)
{
    char *line = *cursor ? str_trim(str_field(cursor, '\n')) : NULL;
    return str_copy(to, size, line ? line : "") && is_printable(to);
}

static bool parse_keys(char *text, struct keys *keys)
{
    char *cursor = text;
    return take_line(&cursor, keys->access, sizeof keys->access) &&
           take_line(&cursor, keys->secret, sizeof keys->secret) &&
           take_line(&cursor, keys->token, sizeof keys->token) && keys->access[0] &&
           keys->secret[0];
}

static bool read_keys(const char *path, struct keys *ret_keys, struct err *err)
{
    char text[FILE_MAX + 1] = "";
    struct stat st;
    AUTO(keys) struct keys keys = {0};
    AUTO(fd) int fd = sys_open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW, 0, err);
    if (fd < 0 || !sys_fstat(fd, &st, path, err))
        return false;
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) || (st.st_uid != 0 && st.st_uid != geteuid()))
        return err_set(err, ERR_CONFIG,
                       "'%s' must be a plain file of root or of us that nobody else can read; "
                       "hint: chmod 600",
                       path);
    ssize_t n = sys_pread(fd, text, FILE_MAX, 0, path, err);
    bool fine = n >= 0 && parse_keys(text, &keys);
    explicit_bzero(text, sizeof text);
    if (fine)
        *ret_keys = keys;
    else if (n >= 0)
        err_set(err, ERR_CONFIG,
                "'%s' does not hold an access key and a secret key, a line each, and perhaps a "
                "session token",
                path);
    return fine;
}

void sigv4_close(struct sigv4 *signer)
{
    if (!signer)
        return;
    keys_done(&signer->keys);
    pthread_mutex_destroy(&signer->lock);
    own_free(signer->path);
    own_free(signer->region);
    own_free(signer->service);
    own_free(signer);
}

struct sigv4 *sigv4_open(const char *credentials, const char *region, const char *service,
                         struct err *err)
{
    AUTO(sigv4) struct sigv4 *signer = own_alloc(sizeof *signer, err);
    if (!signer)
        return NULL;
    pthread_mutex_init(&signer->lock, NULL);
    signer->path = own_strdup(credentials, err);
    signer->region = signer->path ? own_strdup(region, err) : NULL;
    signer->service = signer->region ? own_strdup(service, err) : NULL;
    if (!signer->service || !read_keys(credentials, &signer->keys, err))
        return err_null(err, "credentials");
    return TAKE(signer);
}

bool sigv4_reload(struct sigv4 *signer, bool *ret_changed, struct err *err)
{
    AUTO(keys) struct keys keys = {0};
    if (!read_keys(signer->path, &keys, err))
        return err_wrap(err, "credentials");
    pthread_mutex_lock(&signer->lock);
    *ret_changed = memcmp(&keys, &signer->keys, sizeof keys) != 0;
    signer->keys = keys;
    pthread_mutex_unlock(&signer->lock);
    return true;
}

/* ---- signing ---- */

static int compare_fields(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_field *)a)->name, ((const struct sigv4_field *)b)->name);
}

static void add_field(struct sigv4_field *fields, size_t *count, const char *name,
                      const char *value)
{
    fields[(*count)++] = (struct sigv4_field){name, value};
}

/* "name;name;" of all that is signed. */
static void append_names(struct str *text, const struct sigv4_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++)
        str_printf(text, "%s%s", i ? ";" : "", fields[i].name);
}

static void canonical_text(struct str *text, const struct sigv4_request *request,
                           const struct sigv4_field *fields, size_t count, const char *hash)
{
    str_printf(text, "%s\n%s\n%s\n", request->method, request->path, request->query);
    for (size_t i = 0; i < count; i++)
        str_printf(text, "%s:%s\n", fields[i].name, fields[i].value);
    str_append(text, "\n");
    append_names(text, fields, count);
    str_printf(text, "\n%s", hash);
}

static void signature_of(const struct keys *keys, const struct sigv4 *signer, const char *date,
                         const char *text, char ret[CRYPTO_SHA256_HEX])
{
    uint8_t key[CRYPTO_SHA256_BYTES];
    char first[SECRET_MAX + 4];
    str_format(first, sizeof first, "AWS4%s", keys->secret);
    crypto_hmac_sha256(first, strlen(first), date, DAY_LEN, key);
    crypto_hmac_sha256(key, sizeof key, signer->region, strlen(signer->region), key);
    crypto_hmac_sha256(key, sizeof key, signer->service, strlen(signer->service), key);
    crypto_hmac_sha256(key, sizeof key, "aws4_request", strlen("aws4_request"), key);
    crypto_hmac_sha256(key, sizeof key, text, strlen(text), key);
    str_hex(key, sizeof key, ret);
    explicit_bzero(first, sizeof first);
    explicit_bzero(key, sizeof key);
}

static bool authorize(const struct keys *keys, const struct sigv4 *signer,
                      const struct sigv4_request *request, const struct sigv4_field *fields,
                      size_t count, struct sigv4_signed *out, struct err *err)
{
    AUTO(str) struct str canonical = {0};
    AUTO(str) struct str to_sign = {0};
    AUTO(str) struct str header = {0};
    char hash[CRYPTO_SHA256_HEX];
    char signature[CRYPTO_SHA256_HEX];
    char scope[256];
    if (!str_format(scope, sizeof scope, "%.8s/%s/%s/aws4_request", out->date, signer->region,
                    signer->service))
        return err_set(err, ERR_CONFIG, "the region's name is too long");
    canonical_text(&canonical, request, fields, count, out->hash);
    if (!str_ok(&canonical, err))
        return false;
    crypto_sha256_hex(canonical.text, canonical.len, hash);
    str_printf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", out->date, scope, hash);
    if (!str_ok(&to_sign, err))
        return false;
    signature_of(keys, signer, out->date, to_sign.text, signature);
    str_printf(&header, "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=", keys->access, scope);
    append_names(&header, fields, count);
    str_printf(&header, ", Signature=%s", signature);
    return str_ok(&header, err) &&
           (str_copy(out->authorization, sizeof out->authorization, header.text) ||
            err_set(err, ERR_LIMIT, "a request with too many fields to sign"));
}

bool sigv4_sign(struct sigv4 *signer, const struct sigv4_request *request,
                struct sigv4_signed *ret_signed, struct err *err)
{
    struct sigv4_field fields[SIGV4_SIGNED_MAX];
    size_t count = 0;
    char date[32];
    AUTO(keys) struct keys keys = {0};
    struct sigv4_signed *out = ret_signed;
    if (request->field_count + SIGV4_FIELDS > SIGV4_SIGNED_MAX)
        return err_set(err, ERR_LIMIT, "a request with too many fields to sign");
    pthread_mutex_lock(&signer->lock);
    keys = signer->keys;
    pthread_mutex_unlock(&signer->lock);
    clock_format_compact(request->wall_us, date);
    str_copy(out->date, sizeof out->date, date);
    str_copy(out->token, sizeof out->token, keys.token);
    if (request->body_unsigned)
        str_copy(out->hash, sizeof out->hash, "UNSIGNED-PAYLOAD");
    else
        crypto_sha256_hex(request->body_len ? request->body : "", request->body_len, out->hash);
    out->count = 0;
    add_field(out->fields, &out->count, "x-amz-date", out->date);
    add_field(out->fields, &out->count, "x-amz-content-sha256", out->hash);
    if (out->token[0])
        add_field(out->fields, &out->count, "x-amz-security-token", out->token);
    for (size_t i = 0; i < request->field_count; i++)
        fields[count++] = request->fields[i];
    for (size_t i = 0; i < out->count; i++)
        fields[count++] = out->fields[i];
    add_field(fields, &count, "host", request->host);
    qsort(fields, count, sizeof *fields, compare_fields);
    if (!authorize(&keys, signer, request, fields, count, out, err))
        return false;
    add_field(out->fields, &out->count, "authorization", out->authorization);
    return true;
}

void sigv4_signed_done(struct sigv4_signed *what) { explicit_bzero(what, sizeof *what); }
