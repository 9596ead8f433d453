/* Objects written to a bucket: at once, or in parts that become one object when they are whole. */
#include "agent/base/str.h"
#include "drivers/vault/io/s3_int.h"
#include "drivers/vault/io/s3_xml.h"
#include <string.h>

#define DONE_ELEMENT "CompleteMultipartUploadResult"

enum { PARTS_MAX = 10000, ETAG_MAX = 128, ANSWER_MAX = 64 << 10 };

/* Tries once; the put, or the completion of parts. */
typedef enum s3_outcome try_fn(struct s3 *s3, void *arg, struct s3_tries *tries, struct err *err);

/* Whenever it is in doubt who wrote what is there, the nonce at the object tells. */
static bool write_surely(struct s3 *s3, const char *name, const char *nonce, enum io_put how,
                         try_fn *attempt, void *arg, struct err *err)
{
    struct s3_tries tries;
    s3_tries_begin(s3, &tries);
    for (;;) {
        struct err why = {0};
        struct s3_head head = {0};
        enum s3_outcome outcome = attempt(s3, arg, &tries, &why);
        if (outcome == S3_DONE)
            return true;
        bool gone = why.code == ERR_NOT_FOUND; /* an upload that may have been completed */
        if ((outcome == S3_DOUBT || why.code == ERR_EXISTS || gone) &&
            s3_head(s3, name, &head, &(struct err){0})) {
            if (head.there && str_equal(head.nonce, nonce))
                return true;
            if (head.there && how == IO_NEW)
                return err_set(err, ERR_EXISTS, "'%s' is there already", name);
        }
        if (outcome == S3_FAILED && why.code == ERR_EXISTS && !head.there)
            outcome = S3_AGAIN; /* whoever had it has deleted it */
        if (gone)
            err_set(&why, ERR_IO, "the upload is gone: somebody ended it");
        if (outcome == S3_FAILED || !s3_tries_pause(&tries)) {
            *err = why;
            return false;
        }
    }
}

/* Without conditional writes: looked at before and after, one at a time in this process. Another
 * process that writes the same name in between is not seen (README.md). */
static bool write_new(struct s3 *s3, const char *name, const char *nonce, try_fn *attempt,
                      void *arg, struct err *err)
{
    struct s3_head head;
    if (s3->conditional)
        return write_surely(s3, name, nonce, IO_NEW, attempt, arg, err);
    pthread_mutex_lock(&s3->new_lock);
    bool ok = s3_head(s3, name, &head, err);
    if (ok && head.there)
        ok = err_set(err, ERR_EXISTS, "'%s' is there already", name);
    ok = ok && write_surely(s3, name, nonce, IO_NEW, attempt, arg, err) &&
         s3_head(s3, name, &head, err);
    if (ok && (!head.there || !str_equal(head.nonce, nonce)))
        ok = err_set(err, ERR_EXISTS, "'%s' was written by another at the same time", name);
    pthread_mutex_unlock(&s3->new_lock);
    return ok;
}

static enum s3_outcome try_put(struct s3 *s3, void *arg, struct s3_tries *tries, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    return s3_once(s3, arg, tries, &reply, err);
}

bool s3_put(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
            struct err *err)
{
    struct s3 *s3 = state;
    char nonce[S3_NONCE_BYTES];
    struct s3_call call = {
        .method = "PUT", .name = name, .body = bytes, .body_len = len, .text_max = ANSWER_MAX};
    s3_nonce(nonce);
    s3_call_field(&call, S3_NONCE, nonce);
    if (how == IO_REPLACE)
        return write_surely(s3, name, nonce, how, try_put, &call, err);
    if (s3->conditional)
        s3_call_field(&call, "if-none-match", "*");
    return write_new(s3, name, nonce, try_put, &call, err);
}

/* ---- in parts ---- */

struct s3_writer {
    struct s3 *s3;
    char *buffer;
    size_t used;
    unsigned parts;
    struct str list;              /* the parts, as the completion tells them */
    char upload_id[S3_TOKEN_MAX]; /* "" while everything fits into the buffer */
    char nonce[S3_NONCE_BYTES], name[IO_NAME_MAX];
};

static void writer_free(struct s3_writer *w)
{
    if (!w)
        return;
    own_free(w->buffer);
    str_done(&w->list);
    own_free(w);
}
OWN_DEFINE(s3_writer, struct s3_writer, writer_free);

void *s3_create(void *state, const char *name, struct err *err)
{
    AUTO(s3_writer) struct s3_writer *w = own_alloc(sizeof *w, err);
    if (!w)
        return NULL;
    w->s3 = state;
    w->buffer = own_alloc(w->s3->part_bytes, err);
    if (!w->buffer)
        return NULL;
    str_copy(w->name, sizeof w->name, name);
    s3_nonce(w->nonce);
    return TAKE(w);
}

static bool take_upload_id(void *arg, const char *path, const char *text, struct err *err)
{
    struct s3_writer *w = arg;
    if (!str_equal(path, "InitiateMultipartUploadResult/UploadId"))
        return true;
    return str_copy(w->upload_id, sizeof w->upload_id, text) ||
           err_set(err, ERR_IO, "its name for an upload is too long");
}

static bool begin_upload(struct s3_writer *w, struct err *err)
{
    struct s3_call call = {
        .method = "POST", .name = w->name, .query = "uploads=", .text_max = ANSWER_MAX};
    AUTO(http_reply) struct http_reply reply = {0};
    s3_call_field(&call, S3_NONCE, w->nonce);
    if (!s3_ask(w->s3, &call, &reply, err) ||
        !s3_xml_read(reply.text.text, reply.text.len, take_upload_id, w, err))
        return err_wrap(err, "begin an upload");
    return w->upload_id[0] || err_set(err, ERR_IO, "it begins an upload and does not name it");
}

static bool is_etag(const char *text)
{
    return text && text[0] && strlen(text) < ETAG_MAX && !strpbrk(text, "<>&") &&
           str_is_utf8(text, strlen(text));
}

static bool send_part(struct s3_writer *w, struct err *err)
{
    AUTO(str) struct str query = {0};
    AUTO(http_reply) struct http_reply reply = {0};
    if (!w->upload_id[0] && !begin_upload(w, err))
        return false;
    if (w->parts >= PARTS_MAX)
        return err_set(err, ERR_LIMIT, "an object has at most %d parts; hint: a larger partsize",
                       PARTS_MAX);
    str_printf(&query, "partNumber=%u&uploadId=", w->parts + 1);
    http_encode(&query, w->upload_id, "");
    if (!str_ok(&query, err))
        return false;
    struct s3_call call = {.method = "PUT",
                           .name = w->name,
                           .query = query.text,
                           .body = w->buffer,
                           .body_len = w->used,
                           .text_max = ANSWER_MAX};
    if (!s3_ask(w->s3, &call, &reply, err))
        return err_wrap(err, "part %u", w->parts + 1);
    const char *etag = http_reply_field(&reply, "etag");
    if (!is_etag(etag))
        return err_set(err, ERR_IO, "it takes part %u and gives no receipt", w->parts + 1);
    w->parts++;
    w->used = 0;
    str_printf(&w->list, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", w->parts, etag);
    return !w->list.failed || err_set(err, ERR_NO_MEMORY, "a list of parts");
}

bool s3_append(void *writer, const void *bytes, size_t len, struct err *err)
{
    struct s3_writer *w = writer;
    const char *from = bytes;
    while (len > 0) {
        size_t now = w->s3->part_bytes - w->used;
        if (now == 0) {
            if (!send_part(w, err))
                return false;
            continue;
        }
        now = len < now ? len : now;
        memcpy(w->buffer + w->used, from, now);
        w->used += now;
        from += now;
        len -= now;
    }
    return true;
}

/* It may say 200 first and that it failed afterwards. */
static enum s3_outcome try_complete(struct s3 *s3, void *arg, struct s3_tries *tries,
                                    struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    enum s3_outcome outcome = s3_once(s3, arg, tries, &reply, err);
    if (outcome == S3_DONE)
        outcome = s3_judge(reply.status, &reply, err);
    if (outcome != S3_DONE || (reply.text.text && strstr(reply.text.text, DONE_ELEMENT)))
        return outcome;
    err_set(err, ERR_UNAVAILABLE, "it does not say whether the upload is complete");
    return S3_DOUBT;
}

static bool complete(struct s3_writer *w, struct err *err)
{
    AUTO(str) struct str query = {0};
    AUTO(str) struct str body = {0};
    struct s3_head head;
    str_append(&query, "uploadId=");
    http_encode(&query, w->upload_id, "");
    str_printf(&body,
               "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
               "%s</CompleteMultipartUpload>",
               w->list.text);
    if (!str_ok(&query, err) || !str_ok(&body, err))
        return false;
    struct s3_call call = {.method = "POST",
                           .name = w->name,
                           .query = query.text,
                           .body = body.text,
                           .body_len = body.len,
                           .text_max = ANSWER_MAX};
    if (w->s3->conditional) {
        s3_call_field(&call, "if-none-match", "*");
        /* Some servers honour it for single puts alone. */
        if (!s3_head(w->s3, w->name, &head, err))
            return false;
        if (head.there)
            return err_set(err, ERR_EXISTS, "'%s' is there already", w->name);
    }
    return write_new(w->s3, w->name, w->nonce, try_complete, &call, err);
}

static bool finish_small(struct s3_writer *w, struct err *err)
{
    return s3_put(w->s3, w->name, w->buffer, w->used, IO_NEW, err);
}

static bool finish_parts(struct s3_writer *w, struct err *err)
{
    return (w->used == 0 || send_part(w, err)) && complete(w, err);
}

bool s3_finish(void *writer, struct err *err)
{
    struct s3_writer *w = writer;
    bool ok = w->upload_id[0] ? finish_parts(w, err) : finish_small(w, err);
    if (ok)
        writer_free(w);
    else
        s3_abandon(w);
    return ok;
}

bool s3_abort_upload(struct s3 *s3, const char *name, const char *upload_id, bool patient,
                     struct err *err)
{
    struct s3_tries once = {.reloaded = true};
    AUTO(str) struct str query = {0};
    AUTO(http_reply) struct http_reply reply = {0};
    struct err why = {0};
    str_append(&query, "uploadId=");
    http_encode(&query, upload_id, "");
    if (!str_ok(&query, err))
        return false;
    struct s3_call call = {
        .method = "DELETE", .name = name, .query = query.text, .text_max = ANSWER_MAX};
    bool ok = patient ? s3_ask(s3, &call, &reply, &why)
                      : s3_once(s3, &call, &once, &reply, &why) == S3_DONE;
    if (ok || why.code == ERR_NOT_FOUND)
        return true;
    *err = why;
    return false;
}

void s3_abandon(void *writer)
{
    struct s3_writer *w = writer;
    struct err ignored = {0};
    if (w && w->upload_id[0])
        IGNORE(
            s3_abort_upload(w->s3, w->name, w->upload_id, false, &ignored)); /* io_sweep finds it */
    writer_free(w);
}
