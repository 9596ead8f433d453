/* HTTP by libcurl: handles lent from a pool so that connections live on, answers bounded. */
#include "agent/net/http.h"

#include "agent/base/clock.h"
#include "agent/net/sigv4.h"
#include <curl/curl.h>
#include <pthread.h>
#include <string.h>

enum {
    CONNECTIONS = 4,
    CONNECTIONS_MAX = 64,
    CONNECT_MS = 5000,
    STALL_S = 20,
    STALL_BYTES = 1024,
    FIELDS_BYTES_MAX = 32 << 10,
    HOST_MAX_BYTES = 300,
    ERROR_TEXT_MAX = 64 << 10, /* of an answer that is no success */
};

struct http {
    char *ca_file, *pin;
    struct sigv4 *signer;
    unsigned connections, connect_ms, stall_s;
    pthread_mutex_t lock;
    pthread_cond_t returned;
    CURL *idle[CONNECTIONS_MAX];
    unsigned idle_count, lent;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_state;

static void start_curl(void) { curl_state = curl_global_init(CURL_GLOBAL_ALL); }

struct http *http_new(const struct http_options *options, struct err *err)
{
    pthread_once(&curl_once, start_curl);
    if (curl_state != CURLE_OK) {
        err_set(err, ERR_INTERNAL, "libcurl: %s", curl_easy_strerror(curl_state));
        return NULL;
    }
    AUTO(http) struct http *http = own_alloc(sizeof *http, err);
    if (!http)
        return NULL;
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->returned, NULL);
    http->signer = options->signer;
    http->connections = options->connections ? options->connections : CONNECTIONS;
    if (http->connections > CONNECTIONS_MAX)
        http->connections = CONNECTIONS_MAX;
    http->connect_ms = options->connect_ms ? options->connect_ms : CONNECT_MS;
    http->stall_s = options->stall_s ? options->stall_s : STALL_S;
    if ((options->ca_file && !(http->ca_file = own_strdup(options->ca_file, err))) ||
        (options->pin && !(http->pin = own_strdup(options->pin, err))))
        return NULL;
    return TAKE(http);
}

void http_free(struct http *http)
{
    if (!http)
        return;
    for (unsigned i = 0; i < http->idle_count; i++)
        curl_easy_cleanup(http->idle[i]);
    pthread_cond_destroy(&http->returned);
    pthread_mutex_destroy(&http->lock);
    own_free(http->ca_file);
    own_free(http->pin);
    own_free(http);
}

/* ---- handles on loan ---- */

static CURL *borrow(struct http *http, struct err *err)
{
    CURL *curl = NULL;
    pthread_mutex_lock(&http->lock);
    while (http->lent >= http->connections)
        pthread_cond_wait(&http->returned, &http->lock); /* each has its deadline */
    http->lent++;
    if (http->idle_count > 0)
        curl = http->idle[--http->idle_count];
    pthread_mutex_unlock(&http->lock);
    if (!curl && !(curl = curl_easy_init())) {
        pthread_mutex_lock(&http->lock);
        http->lent--;
        pthread_cond_signal(&http->returned);
        pthread_mutex_unlock(&http->lock);
        err_set(err, ERR_NO_MEMORY, "libcurl gives no handle");
    }
    return curl;
}

static void give_back(struct http *http, CURL *curl)
{
    curl_easy_reset(curl); /* keeps its connection */
    pthread_mutex_lock(&http->lock);
    http->lent--;
    http->idle[http->idle_count++] = curl;
    pthread_cond_signal(&http->returned);
    pthread_mutex_unlock(&http->lock);
}

/* ---- urls ---- */

void http_encode(struct str *to, const char *text, const char *keep)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text) || strchr(keep, *text))
            str_append_n(to, text, 1);
        else
            str_printf(to, "%%%02X", (unsigned)(unsigned char)*text);
    }
}

struct url_parts {
    char host[HOST_MAX_BYTES]; /* with its port */
    char *path;                /* owned; a NUL stands where the query began */
    const char *query;
};

static void url_parts_done(struct url_parts *parts) { own_free(parts->path); }
OWN_DEFINE_INPLACE(url_parts, struct url_parts, url_parts_done);

static bool cut_url(const char *url, struct url_parts *parts, struct err *err)
{
    const char *host = strstr(url, "://");
    if (!host || (!str_starts(url, "http://") && !str_starts(url, "https://")))
        return err_set(err, ERR_INVALID, "'%.100s' is no url of http", url);
    host += strlen("://");
    size_t len = strcspn(host, "/?");
    if (len == 0 || len >= sizeof parts->host || memchr(host, '@', len))
        return err_set(err, ERR_INVALID, "'%.100s' names no host that could be", url);
    memcpy(parts->host, host, len);
    parts->host[len] = '\0';
    parts->path = own_printf(err, "%s%s", host[len] == '/' ? "" : "/", host + len);
    if (!parts->path)
        return false;
    char *mark = strchr(parts->path, '?');
    parts->query = mark ? mark + 1 : "";
    if (mark)
        *mark = '\0';
    return true;
}

bool http_url_is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    if (!host)
        return false;
    host += strlen("://");
    char name[HOST_MAX_BYTES];
    size_t len = strcspn(host, *host == '[' ? "/?" : ":/?");
    if (len >= sizeof name)
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    if (str_starts(name, "127."))
        return strspn(name, "0123456789.") == len;
    return str_equal_fold(name, "localhost") || str_equal(name, "[::1]") ||
           str_starts(name, "[::1]:");
}

/* ---- one exchange ---- */

struct exchange {
    CURL *curl;
    const struct http_request *request;
    struct http_reply *reply;
    size_t given;   /* of the request's body */
    struct err err; /* what a callback found */
    char curl_text[CURL_ERROR_SIZE];
};

static bool is_success(const struct exchange *x)
{
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 || status == 206;
}

static bool take_text(struct exchange *x, const char *bytes, size_t len, size_t max)
{
    if (x->reply->text.len + len > max)
        return err_set(&x->err, ERR_LIMIT, "the answer is longer than %zu bytes", max);
    str_append_n(&x->reply->text, bytes, len);
    return !x->reply->text.failed || err_set(&x->err, ERR_NO_MEMORY, "an answer");
}

static size_t take_body(char *bytes, size_t one, size_t len, void *arg)
{
    struct exchange *x = arg;
    const struct http_request *request = x->request;
    bool ok;
    (void)one; /* always 1 */
    if (!is_success(x)) {
        ok = take_text(x, bytes, len, ERROR_TEXT_MAX);
    } else if (request->take) {
        ok = request->take(request->arg, bytes, len, &x->err);
    } else if (request->to) {
        ok = len <= request->room - x->reply->len ||
             err_set(&x->err, ERR_LIMIT, "the answer is longer than asked for");
        if (ok)
            memcpy((char *)request->to + x->reply->len, bytes, len);
    } else {
        ok = take_text(x, bytes, len, request->text_max);
    }
    x->reply->len += ok ? len : 0;
    return ok ? len : 0;
}

/* Kept as "name\0value\0"; a new status line (after 100-continue) begins anew. */
static size_t take_field(char *bytes, size_t one, size_t len, void *arg)
{
    struct exchange *x = arg;
    struct str *fields = &x->reply->fields;
    const char *colon = memchr(bytes, ':', len);
    (void)one;
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        str_clear(fields);
        return len;
    }
    if (!colon || memchr(bytes, '\0', len))
        return len;
    if (fields->len + len > FIELDS_BYTES_MAX) {
        err_set(&x->err, ERR_LIMIT, "the answer's header is longer than %d bytes",
                FIELDS_BYTES_MAX);
        return 0;
    }
    for (const char *p = bytes; p < colon; p++) {
        unsigned char c = (unsigned char)*p;
        c |= c >= 'A' && c <= 'Z' ? 0x20 : 0; /* to lower case */
        str_append_n(fields, &c, 1);
    }
    const char *value = colon + 1;
    const char *end = bytes + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    str_append_n(fields, "", 1);
    str_append_n(fields, value, (size_t)(end - value));
    str_append_n(fields, "", 1);
    return len;
}

const char *http_reply_field(const struct http_reply *reply, const char *name)
{
    const char *found = NULL;
    const char *at = reply->fields.text;
    const char *end = at + reply->fields.len;
    while (at && at < end) {
        const char *value = at + strlen(at) + 1;
        if (str_equal(at, name))
            found = value;
        at = value + strlen(value) + 1;
    }
    return found;
}

void http_reply_done(struct http_reply *reply)
{
    str_done(&reply->text);
    str_done(&reply->fields);
    *reply = (struct http_reply){0};
}

/* ---- asking ---- */

static void slist_free(struct curl_slist *list) { curl_slist_free_all(list); }
OWN_DEFINE(slist, struct curl_slist, slist_free);

static bool add_header(struct curl_slist **list, const char *name, const char *value,
                       struct err *err)
{
    if (strpbrk(name, ": \r\n") || strpbrk(value, "\r\n"))
        return err_set(err, ERR_INVALID, "a header with signs that headers do not have");
    AUTO(mem) char *line = own_printf(err, value[0] ? "%s: %s" : "%s;%s", name, value);
    struct curl_slist *longer = line ? curl_slist_append(*list, line) : NULL;
    if (line)
        explicit_bzero(line, strlen(line)); /* may be a token */
    if (!longer)
        return err_set(err, ERR_NO_MEMORY, "a header");
    *list = longer;
    return true;
}

/* Without these curl would add what is not signed, or wait for leave to send. */
static bool add_own_headers(struct curl_slist **list, const char *host, struct err *err)
{
    static const char *const none[] = {"Expect:", "Content-Type:", "User-Agent: evercopy"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct curl_slist *longer = curl_slist_append(*list, none[i]);
        if (!longer)
            return err_set(err, ERR_NO_MEMORY, "a header");
        *list = longer;
    }
    return add_header(list, "host", host, err);
}

static bool sign(struct http *http, const struct http_request *request,
                 const struct url_parts *parts, struct curl_slist **list, struct err *err)
{
    AUTO(sigv4_signed) struct sigv4_signed out = {0};
    struct sigv4_field fields[SIGV4_SIGNED_MAX];
    if (request->field_count > SIGV4_SIGNED_MAX)
        return err_set(err, ERR_LIMIT, "a request with too many fields");
    for (size_t i = 0; i < request->field_count; i++)
        fields[i] = (struct sigv4_field){request->fields[i].name, request->fields[i].value};
    struct sigv4_request what = {.method = request->method,
                                 .host = parts->host,
                                 .path = parts->path,
                                 .query = parts->query,
                                 .fields = fields,
                                 .field_count = request->field_count,
                                 .body = request->body,
                                 .body_len = request->body_len,
                                 .body_unsigned = str_starts(request->url, "https://"),
                                 .wall_us = clock_wall_us()};
    if (!sigv4_sign(http->signer, &what, &out, err))
        return false;
    for (size_t i = 0; i < out.count; i++)
        if (!add_header(list, out.fields[i].name, out.fields[i].value, err))
            return false;
    return true;
}

static size_t give_body(char *to, size_t one, size_t size, void *arg)
{
    struct exchange *x = arg;
    size_t left = x->request->body_len - x->given;
    size_t now = size < left ? size : left;
    (void)one; /* always 1 */
    if (now)
        memcpy(to, (const char *)x->request->body + x->given, now);
    x->given += now;
    return now;
}

/* curl would send a body once more when a connection it used again breaks: whoever asked decides,
 * as it may have been done. */
static int never_again(void *arg, curl_off_t offset, int origin)
{
    (void)arg;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static void set_method(CURL *curl, struct exchange *x)
{
    const struct http_request *request = x->request;
    bool carries = request->body_len > 0 || str_equal(request->method, "PUT") ||
                   str_equal(request->method, "POST");
    if (carries) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_len);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(curl, CURLOPT_READDATA, x);
        curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, never_again);
    }
    if (str_equal(request->method, "HEAD"))
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else if (!str_equal(request->method, carries ? "PUT" : "GET"))
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_options(struct http *http, struct exchange *x, struct curl_slist *headers)
{
    CURL *curl = x->curl;
    curl_easy_setopt(curl, CURLOPT_URL, x->request->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)x->request->total_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)http->stall_s);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (http->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, http->ca_file);
    if (http->pin)
        curl_easy_setopt(curl, CURLOPT_PINNEDPUBLICKEY, http->pin);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, x->curl_text);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_field);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, x);
    set_method(curl, x);
}

static enum err_code code_of(CURLcode rc)
{
    static const struct {
        CURLcode rc;
        enum err_code code;
    } known[] = {
        {CURLE_COULDNT_RESOLVE_HOST, ERR_UNAVAILABLE},
        {CURLE_COULDNT_CONNECT, ERR_UNAVAILABLE},
        {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT},
        {CURLE_SEND_ERROR, ERR_UNAVAILABLE},
        {CURLE_RECV_ERROR, ERR_UNAVAILABLE},
        {CURLE_SEND_FAIL_REWIND, ERR_UNAVAILABLE},
        {CURLE_GOT_NOTHING, ERR_UNAVAILABLE},
        {CURLE_PARTIAL_FILE, ERR_UNAVAILABLE},
        {CURLE_SSL_CONNECT_ERROR, ERR_UNAVAILABLE},
        {CURLE_PEER_FAILED_VERIFICATION, ERR_UNAUTHENTICATED},
        {CURLE_SSL_PINNEDPUBKEYNOTMATCH, ERR_UNAUTHENTICATED},
        {CURLE_SSL_ISSUER_ERROR, ERR_UNAUTHENTICATED},
        {CURLE_SSL_CACERT_BADFILE, ERR_CONFIG},
        {CURLE_URL_MALFORMAT, ERR_INVALID},
        {CURLE_OUT_OF_MEMORY, ERR_NO_MEMORY},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].rc == rc)
            return known[i].code;
    return ERR_IO;
}

/* Whether bytes of the request left; before that nothing can have been done. */
static bool was_sent(CURL *curl, CURLcode rc)
{
    long bytes = 0;
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &bytes);
    return rc == CURLE_OK || rc == CURLE_SEND_FAIL_REWIND || bytes > 0;
}

static bool perform(struct http *http, struct exchange *x, struct curl_slist *headers,
                    bool *ret_sent, struct err *err)
{
    long status = 0;
    set_options(http, x, headers);
    CURLcode rc = curl_easy_perform(x->curl);
    *ret_sent = was_sent(x->curl, rc);
    if (x->err.code != ERR_NONE) {
        *err = x->err;
        return false;
    }
    if (rc != CURLE_OK)
        return err_set(err, code_of(rc), "%s",
                       x->curl_text[0] ? x->curl_text : curl_easy_strerror(rc));
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    x->reply->status = (int)status;
    return (status >= 100 && status <= 599) ||
           err_set(err, ERR_IO, "the answer's status is %ld", status);
}

bool http_do(struct http *http, const struct http_request *request, struct http_reply *ret_reply,
             bool *ret_sent, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    AUTO(slist) struct curl_slist *headers = NULL;
    AUTO(url_parts) struct url_parts parts = {0};
    *ret_sent = false;
    if (!cut_url(request->url, &parts, err) || !add_own_headers(&headers, parts.host, err))
        return false;
    for (size_t i = 0; i < request->field_count; i++)
        if (!add_header(&headers, request->fields[i].name, request->fields[i].value, err))
            return false;
    if (http->signer && !sign(http, request, &parts, &headers, err))
        return false;
    struct exchange x = {.request = request, .reply = &reply, .curl = borrow(http, err)};
    if (!x.curl)
        return false;
    bool ok = perform(http, &x, headers, ret_sent, err);
    give_back(http, x.curl);
    if (!ok)
        return err_wrap(err, "'%s'", parts.host);
    *ret_reply = reply;
    reply = (struct http_reply){0};
    return true;
}
