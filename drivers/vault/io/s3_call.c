/* Requests to an object store: what its answers mean, and when to ask again. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/sigv4.h"
#include "drivers/vault/io/s3_int.h"
#include "drivers/vault/io/s3_xml.h"
#include <poll.h>
#include <string.h>

enum {
    TOTAL_MS = 300000, /* of one request; what stalls ends much sooner */
    PAUSE_FIRST_MS = 40,
    PAUSE_MAX_MS = 5000,
    RETRY_AFTER_MAX_S = 3600,
    MESSAGE_MAX = 200,
};

void s3_nonce(char ret[S3_NONCE_BYTES])
{
    uint8_t noise[16];
    clock_random(noise, sizeof noise);
    str_hex(noise, sizeof noise, ret);
}

void s3_call_field(struct s3_call *call, const char *name, const char *value)
{
    call->fields[call->field_count++] = (struct http_field){name, value};
}

/* ---- what went wrong ---- */

struct complaint {
    char code[64], message[MESSAGE_MAX];
};

static bool take_complaint(void *arg, const char *path, const char *text, struct err *err)
{
    struct complaint *c = arg;
    (void)err;
    if (str_equal(path, "Error/Code"))
        str_copy(c->code, sizeof c->code, text);
    if (str_equal(path, "Error/Message"))
        str_copy(c->message, sizeof c->message, text);
    return true;
}

static const struct meaning {
    const char *code;
    int status; /* 0: any */
    enum s3_outcome outcome;
    enum err_code err;
    const char *hint;
} meanings[] = {
    {"NoSuchBucket", 0, S3_FAILED, ERR_CONFIG, "; hint: the bucket has to be made first"},
    {"NoSuchKey", 0, S3_FAILED, ERR_NOT_FOUND, ""},
    {"NoSuchVersion", 0, S3_FAILED, ERR_NOT_FOUND, ""},
    {"NoSuchUpload", 0, S3_FAILED, ERR_NOT_FOUND, ""},
    {"RequestTimeTooSkewed", 0, S3_FAILED, ERR_DENIED, "; hint: set this host's clock"},
    {"SignatureDoesNotMatch", 0, S3_FAILED, ERR_DENIED, "; hint: is the secret key right?"},
    {"AuthorizationHeaderMalformed", 0, S3_FAILED, ERR_CONFIG, "; hint: is the region right?"},
    {"PreconditionFailed", 0, S3_FAILED, ERR_EXISTS, ""},
    {"ConditionalRequestConflict", 0, S3_DOUBT, ERR_UNAVAILABLE, ""},
    {"OperationAborted", 0, S3_DOUBT, ERR_UNAVAILABLE, ""},
    {"RequestTimeout", 0, S3_DOUBT, ERR_TIMEOUT, ""},
    {"InternalError", 0, S3_DOUBT, ERR_UNAVAILABLE, ""},
    {"SlowDown", 0, S3_AGAIN, ERR_UNAVAILABLE, ""},
    {"ServiceUnavailable", 0, S3_AGAIN, ERR_UNAVAILABLE, ""},
    {"BadDigest", 0, S3_AGAIN, ERR_UNAVAILABLE, " (damaged on its way)"},
    {"XAmzContentSHA256Mismatch", 0, S3_AGAIN, ERR_UNAVAILABLE, " (damaged on its way)"},
    {"NotImplemented", 0, S3_FAILED, ERR_UNSUPPORTED, ""},
    {"QuotaExceeded", 0, S3_FAILED, ERR_NO_SPACE, ""},
    {"XMinioStorageFull", 0, S3_FAILED, ERR_NO_SPACE, ""},
    {"EntityTooLarge", 0, S3_FAILED, ERR_LIMIT, ""},
    {"", 401, S3_FAILED, ERR_DENIED, ""},
    {"", 403, S3_FAILED, ERR_DENIED, ""},
    {"", 404, S3_FAILED, ERR_NOT_FOUND, ""},
    {"", 405, S3_FAILED, ERR_UNSUPPORTED, ""},
    {"", 408, S3_DOUBT, ERR_TIMEOUT, ""},
    {"", 409, S3_DOUBT, ERR_UNAVAILABLE, ""},
    {"", 412, S3_FAILED, ERR_EXISTS, ""},
    {"", 429, S3_AGAIN, ERR_UNAVAILABLE, ""},
    {"", 501, S3_FAILED, ERR_UNSUPPORTED, ""},
    {"", 507, S3_FAILED, ERR_NO_SPACE, ""},
};

static const struct meaning *meaning_of(int status, const char *code)
{
    static const struct meaning server = {"", 0, S3_DOUBT, ERR_UNAVAILABLE, ""};
    static const struct meaning elsewhere = {
        "", 0, S3_FAILED, ERR_CONFIG, " (a redirection); hint: are region and endpoint right?"};
    static const struct meaning other = {"", 0, S3_FAILED, ERR_IO, ""};
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].status ? meanings[i].status == status : str_equal(meanings[i].code, code))
            return &meanings[i];
    return status >= 500 ? &server : status >= 300 && status < 400 ? &elsewhere : &other;
}

enum s3_outcome s3_judge(int status, const struct http_reply *reply, struct err *err)
{
    struct complaint c = {0};
    struct err ignored = {0};
    if (reply->text.len > 0)
        IGNORE(s3_xml_read(reply->text.text, reply->text.len, take_complaint, &c, &ignored));
    if (status >= 200 && status < 300 && !c.code[0])
        return S3_DONE;
    const struct meaning *m = meaning_of(status, c.code);
    err_set(err, m->err, "status %d%s%s%s%s%s", status, c.code[0] ? " " : "", c.code,
            c.message[0] ? ": " : "", c.message, m->hint);
    return m->outcome;
}

/* ---- asking ---- */

void s3_tries_begin(const struct s3 *s3, struct s3_tries *tries)
{
    *tries = (struct s3_tries){.until_ms = clock_mono_ms() + s3->retry_ms};
}

/* Half of it by chance, so that many who failed together do not come back together. */
bool s3_tries_pause(struct s3_tries *tries)
{
    uint64_t ms = (uint64_t)PAUSE_FIRST_MS << (tries->count < 8 ? tries->count : 8);
    uint32_t chance;
    clock_random(&chance, sizeof chance);
    if (ms > PAUSE_MAX_MS)
        ms = PAUSE_MAX_MS;
    ms = ms / 2 + chance % (ms / 2);
    if (ms < tries->wait_ms)
        ms = tries->wait_ms;
    uint64_t now = clock_mono_ms();
    uint64_t until = now + ms;
    if (until >= tries->until_ms)
        return false;
    for (; now < until; now = clock_mono_ms())
        IGNORE(poll(NULL, 0, (int)(until - now))); /* the clock decides */
    tries->count++;
    tries->wait_ms = 0;
    return true;
}

static bool url_of(const struct s3 *s3, const struct s3_call *call, struct str *url,
                   struct err *err)
{
    str_append(url, s3->base);
    if (call->name) {
        str_append(url, "/");
        http_encode(url, s3->prefix, "/");
        http_encode(url, call->name, "/");
    }
    if (call->query)
        str_printf(url, "?%s", call->query);
    return str_ok(url, err);
}

static void note_wait(struct s3_tries *tries, const struct http_reply *reply)
{
    uint64_t seconds;
    const char *text = http_reply_field(reply, "retry-after");
    if (text && str_to_u64(text, RETRY_AFTER_MAX_S, &seconds))
        tries->wait_ms = (unsigned)seconds * 1000;
}

/* A 404 of a proxy or of a lost bucket must not pass for the absence of an object. */
static enum s3_outcome make_sure(struct s3 *s3, struct s3_tries *tries, struct err *err)
{
    struct s3_call call = {.method = "HEAD"};
    AUTO(http_reply) struct http_reply reply = {0};
    struct err why = {0};
    enum s3_outcome outcome = s3_once(s3, &call, tries, &reply, &why);
    if (outcome == S3_DONE || (outcome == S3_FAILED && why.code == ERR_DENIED))
        return S3_FAILED; /* with the error as it is */
    if (why.code == ERR_NOT_FOUND)
        err_set(&why, ERR_CONFIG, "there is no such bucket");
    *err = why;
    return outcome;
}

static enum s3_outcome judge(struct s3 *s3, const struct s3_call *call, struct s3_tries *tries,
                             const struct http_reply *reply, struct err *err)
{
    if (reply->status >= 200 && reply->status < 300)
        return S3_DONE;
    struct err why = {0};
    enum s3_outcome outcome = s3_judge(reply->status, reply, &why);
    bool changed = false;
    struct err ignored = {0};
    note_wait(tries, reply);
    if (why.code == ERR_NOT_FOUND && call->name && !strstr(why.text, "NoSuch"))
        outcome = make_sure(s3, tries, &why);
    if (why.code == ERR_DENIED && !tries->reloaded) {
        tries->reloaded = true;
        if (sigv4_reload(s3->signer, &changed, &ignored) && changed)
            outcome = S3_AGAIN;
    }
    *err = why;
    return outcome;
}

enum s3_outcome s3_once(struct s3 *s3, const struct s3_call *call, struct s3_tries *tries,
                        struct http_reply *ret_reply, struct err *err)
{
    AUTO(str) struct str url = {0};
    bool sent = false;
    struct err why = {0};
    http_reply_done(ret_reply);
    if (!url_of(s3, call, &url, err))
        return S3_FAILED;
    struct http_request request = {.method = call->method,
                                   .url = url.text,
                                   .fields = call->fields,
                                   .field_count = call->field_count,
                                   .body = call->body,
                                   .body_len = call->body_len,
                                   .total_ms = TOTAL_MS,
                                   .to = call->to,
                                   .room = call->room,
                                   .text_max = call->text_max};
    if (http_do(s3->http, &request, ret_reply, &sent, &why))
        return judge(s3, call, tries, ret_reply, err);
    *err = why;
    if (why.code != ERR_UNAVAILABLE && why.code != ERR_TIMEOUT)
        return S3_FAILED;
    return sent ? S3_DOUBT : S3_AGAIN;
}

bool s3_ask(struct s3 *s3, const struct s3_call *call, struct http_reply *ret_reply,
            struct err *err)
{
    struct s3_tries tries;
    s3_tries_begin(s3, &tries);
    for (;;) {
        struct err why = {0};
        enum s3_outcome outcome = s3_once(s3, call, &tries, ret_reply, &why);
        if (outcome == S3_DONE)
            return true;
        if (outcome == S3_FAILED || !s3_tries_pause(&tries)) {
            *err = why;
            return false;
        }
    }
}

bool s3_head(struct s3 *s3, const char *name, struct s3_head *ret_head, struct err *err)
{
    struct s3_call call = {.method = "HEAD", .name = name};
    AUTO(http_reply) struct http_reply reply = {0};
    struct err why = {0};
    struct s3_head head = {0};
    if (s3_ask(s3, &call, &reply, &why)) {
        const char *length = http_reply_field(&reply, "content-length");
        const char *nonce = http_reply_field(&reply, S3_NONCE);
        head.there = true;
        str_copy(head.nonce, sizeof head.nonce, nonce ? nonce : "");
        if (!length || !str_to_u64(length, INT64_MAX, &head.bytes))
            return err_set(err, ERR_IO, "it does not tell how long the object is");
    } else if (why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    *ret_head = head;
    return true;
}
