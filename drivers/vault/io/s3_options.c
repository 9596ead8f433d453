/* Where a bucket is and who asks: the url and options of the S3 backend. */
#include "agent/net/sigv4.h"
#include "drivers/vault/io/s3_int.h"
#include <string.h>

enum {
    PART_DEFAULT = 8 << 20,
    PART_MIN = 5 << 20, /* S3's least */
    PART_MAX = 256 << 20,
    CONNECTIONS = 8,
    CONNECTIONS_MAX = 64,
    RETRY_S = 60,
    TIMEOUT_S = 20,
    SECONDS_MAX = 3600,
    BUCKET_MAX = 63,
    PREFIX_MAX = 512,
};

enum option {
    ENDPOINT,
    REGION,
    CREDENTIALS,
    CA,
    PIN,
    PATHSTYLE,
    PARTSIZE,
    CONNECTION_COUNT,
    RETRY,
    TIMEOUT,
    LOCK,
    INSECURE,
    OPTIONS
};
static const char *const names[OPTIONS] = {"endpoint", "region",    "credentials", "ca",
                                           "pin",      "pathstyle", "partsize",    "connections",
                                           "retry",    "timeout",   "lock",        "insecure_http"};

static bool collect(const struct io_option *options, size_t count, const char *values[OPTIONS],
                    struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < OPTIONS && !str_equal(options[i].key, names[at]))
            at++;
        if (at == OPTIONS) {
            const char *nearest = str_nearest(options[i].key, names, OPTIONS);
            return err_set(err, ERR_CONFIG, "no option '%.60s' of an S3 store%s%s%s",
                           options[i].key, nearest ? "; hint: did you mean '" : "",
                           nearest ? nearest : "", nearest ? "'?" : "");
        }
        values[at] = options[i].value;
    }
    return true;
}

static bool number(const char *values[OPTIONS], enum option option, uint64_t least, uint64_t most,
                   uint64_t *value, struct err *err)
{
    const char *text = values[option];
    if (!text)
        return true;
    return (str_to_u64(text, most, value) && *value >= least) ||
           err_set(err, ERR_CONFIG, "%s is a number of %llu to %llu, not '%.60s'", names[option],
                   (unsigned long long)least, (unsigned long long)most, text);
}

static bool size(const char *text, size_t *ret, struct err *err)
{
    char digits[24];
    uint64_t value = 0;
    size_t len = text ? strlen(text) : 0;
    if (!text)
        return true;
    bool megabytes = len > 0 && (text[len - 1] == 'M' || text[len - 1] == 'm');
    bool fine = str_format(digits, sizeof digits, "%.*s", (int)(len - megabytes), text) &&
                str_to_u64(digits, PART_MAX, &value);
    if (megabytes)
        value <<= 20;
    *ret = (size_t)value;
    return (fine && value >= PART_MIN && value <= PART_MAX) ||
           err_set(err, ERR_CONFIG, "partsize is %dM to %dM, not '%.60s'", PART_MIN >> 20,
                   PART_MAX >> 20, text);
}

static bool flag(const char *values[OPTIONS], enum option option, bool otherwise, bool *ret,
                 struct err *err)
{
    const char *text = values[option];
    *ret = text ? str_equal(text, "true") : otherwise;
    return !text || *ret || str_equal(text, "false") ||
           err_set(err, ERR_CONFIG, "%s is true or false, not '%.60s'", names[option], text);
}

static bool is_made_of(const char *text, const char *signs, size_t least, size_t most)
{
    size_t len = strlen(text);
    return len >= least && len <= most && strspn(text, signs) == len;
}

#define SMALL "abcdefghijklmnopqrstuvwxyz0123456789.-"
#define ALL SMALL "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"

static bool take_place(const char *url, char bucket[BUCKET_MAX + 1], struct s3 *s3, struct err *err)
{
    const char *text = url + strlen("s3://");
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    const char *prefix = slash ? slash + 1 : "";
    size_t prefix_len = strlen(prefix);
    str_format(bucket, BUCKET_MAX + 1, "%.*s", (int)(len <= BUCKET_MAX ? len : 0), text);
    if (!is_made_of(bucket, SMALL, 3, BUCKET_MAX))
        return err_set(err, ERR_CONFIG, "'%.80s' does not name a bucket", url);
    while (prefix_len > 0 && prefix[prefix_len - 1] == '/')
        prefix_len--;
    s3->prefix = own_printf(err, "%.*s%s", (int)prefix_len, prefix, prefix_len ? "/" : "");
    if (!s3->prefix)
        return false;
    return (is_made_of(s3->prefix, ALL "/", 0, PREFIX_MAX) && s3->prefix[0] != '/' &&
            !strstr(s3->prefix, "//") && !strstr(s3->prefix, "./")) ||
           err_set(err, ERR_CONFIG,
                   "'%.80s' has a prefix that is none; hint: letters, digits, ._-/", url);
}

/* Keys in the clear on a network are for nobody who has not said so. */
static bool take_endpoint(const char *endpoint, bool insecure, struct err *err)
{
    if (str_starts(endpoint, "https://"))
        return true;
    if (!str_starts(endpoint, "http://"))
        return err_set(err, ERR_CONFIG, "endpoint '%.100s' does not begin with https://", endpoint);
    return insecure || http_url_is_loopback(endpoint) ||
           err_set(err, ERR_CONFIG,
                   "endpoint '%.100s' would send everything in the clear; hint: https://, or "
                   "insecure_http = true",
                   endpoint);
}

static bool take_base(const char *values[OPTIONS], const char *bucket, struct s3 *s3,
                      struct err *err)
{
    bool path_style;
    bool insecure;
    AUTO(mem)
    char *endpoint = values[ENDPOINT]
                         ? own_strdup(values[ENDPOINT], err)
                         : own_printf(err, "https://s3.%s.amazonaws.com", values[REGION]);
    if (!endpoint || !flag(values, PATHSTYLE, true, &path_style, err) ||
        !flag(values, INSECURE, false, &insecure, err) || !take_endpoint(endpoint, insecure, err))
        return false;
    size_t len = strlen(endpoint);
    if (endpoint[len - 1] == '/')
        endpoint[--len] = '\0';
    char *host = strstr(endpoint, "://") + strlen("://");
    if (!is_made_of(host, ALL ":[]", 1, 255))
        return err_set(err, ERR_CONFIG, "endpoint '%.100s' is no scheme, host and port", endpoint);
    if (path_style)
        s3->base = own_printf(err, "%s/%s", endpoint, bucket);
    else
        s3->base = own_printf(err, "%.*s%s.%s", (int)(host - endpoint), endpoint, bucket, host);
    return s3->base;
}

static bool take_lock(const char *text, struct s3 *s3, struct err *err)
{
    if (!text || str_equal(text, "none"))
        return true;
    s3->lock_mode = str_equal(text, "governance")   ? "GOVERNANCE"
                    : str_equal(text, "compliance") ? "COMPLIANCE"
                                                    : NULL;
    return s3->lock_mode ||
           err_set(err, ERR_CONFIG, "lock is none, governance or compliance, not '%.60s'", text);
}

bool s3_configure(struct s3 *s3, const char *url, const struct io_option *options, size_t count,
                  struct err *err)
{
    const char *values[OPTIONS] = {[REGION] = "us-east-1"};
    char bucket[BUCKET_MAX + 1];
    uint64_t connections = CONNECTIONS;
    uint64_t retry_s = RETRY_S;
    uint64_t timeout_s = TIMEOUT_S;
    s3->part_bytes = PART_DEFAULT;
    if (!collect(options, count, values, err) || !take_place(url, bucket, s3, err) ||
        !size(values[PARTSIZE], &s3->part_bytes, err) || !take_lock(values[LOCK], s3, err) ||
        !number(values, CONNECTION_COUNT, 1, CONNECTIONS_MAX, &connections, err) ||
        !number(values, RETRY, 0, SECONDS_MAX, &retry_s, err) ||
        !number(values, TIMEOUT, 1, SECONDS_MAX, &timeout_s, err))
        return false;
    if (!is_made_of(values[REGION], ALL, 1, 64))
        return err_set(err, ERR_CONFIG, "'%.80s' is no region", values[REGION]);
    if (!values[CREDENTIALS])
        return err_set(err, ERR_CONFIG,
                       "credentials are missing; hint: credentials = FILE, access key and secret "
                       "key, a line each");
    if (!take_base(values, bucket, s3, err))
        return false;
    s3->retry_ms = (unsigned)retry_s * 1000;
    s3->signer = sigv4_open(values[CREDENTIALS], values[REGION], "s3", err);
    struct http_options http = {.ca_file = values[CA],
                                .pin = values[PIN],
                                .signer = s3->signer,
                                .connections = (unsigned)connections,
                                .stall_s = (unsigned)timeout_s};
    return s3->signer && (s3->http = http_new(&http, err)) && (s3->label = own_strdup(url, err));
}
