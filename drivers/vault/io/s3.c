/* Objects in a bucket. Whole because S3 shows nothing else; of two writers one wins where the
 * server honours If-None-Match on writing, which is found out when the store is opened. */
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/net/crypto.h"
#include "agent/net/sigv4.h"
#include "drivers/vault/io/backends.h"
#include "drivers/vault/io/s3_int.h"
#include "drivers/vault/io/s3_xml.h"
#include <string.h>

#define PROBE ".probe-"

enum {
    PAGES_MAX = 10000,
    LIST_MAX = 1 << 20,
    ROUNDS_MAX = 1000,
    ANSWER_MAX = 64 << 10,
    ERROR_RANGE = 416,
};

static void s3_close(void *state)
{
    struct s3 *s3 = state;
    if (!s3)
        return;
    http_free(s3->http);
    sigv4_close(s3->signer);
    own_free(s3->base);
    own_free(s3->prefix);
    own_free(s3->label);
    pthread_mutex_destroy(&s3->new_lock);
    own_free(s3);
}
OWN_DEFINE(s3, struct s3, s3_close);

/* ---- reading ---- */

static bool s3_size(void *state, const char *name, uint64_t *ret_bytes, struct err *err)
{
    struct s3_head head;
    if (!s3_head(state, name, &head, err))
        return false;
    *ret_bytes = head.bytes;
    return head.there || err_set(err, ERR_NOT_FOUND, "no such object");
}

/* "bytes FIRST-LAST/TOTAL" has to be what was asked for, cut only by the object's end. */
static bool range_is(const char *text, uint64_t offset, size_t size, size_t got)
{
    char copy[96];
    uint64_t first;
    uint64_t last;
    uint64_t total;
    if (!text || !str_starts(text, "bytes ") || !str_copy(copy, sizeof copy, text + 6))
        return false;
    char *cursor = copy;
    char *first_text = str_field(&cursor, '-');
    char *last_text = cursor ? str_field(&cursor, '/') : NULL;
    if (!cursor || !str_to_u64(first_text, INT64_MAX, &first) ||
        !str_to_u64(last_text, INT64_MAX, &last) || !str_to_u64(cursor, INT64_MAX, &total))
        return false;
    return first == offset && last >= first && last - first + 1 == got && last < total &&
           (got == size || last + 1 == total);
}

/* Some servers stumble over a range behind the end instead of saying so: the size tells. */
static bool is_behind_end(struct s3 *s3, const char *name, uint64_t offset)
{
    struct s3_head head;
    struct err ignored = {0};
    return s3_head(s3, name, &head, &ignored) && head.there && offset >= head.bytes;
}

static bool ask_range(struct s3 *s3, const struct s3_call *call, uint64_t offset,
                      struct http_reply *reply, bool *ret_behind, struct err *err)
{
    struct s3_tries tries;
    s3_tries_begin(s3, &tries);
    for (;;) {
        struct err why = {0};
        enum s3_outcome outcome = s3_once(s3, call, &tries, reply, &why);
        if (outcome == S3_DONE)
            return true;
        bool doubtful = outcome != S3_FAILED && tries.count == 0;
        *ret_behind =
            reply->status == ERROR_RANGE || (doubtful && is_behind_end(s3, call->name, offset));
        if (*ret_behind)
            return true;
        if (outcome == S3_FAILED || !s3_tries_pause(&tries)) {
            *err = why;
            return false;
        }
    }
}

static ssize_t s3_read(void *state, const char *name, void *to, size_t size, uint64_t offset,
                       struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    char range[64];
    uint64_t bytes;
    bool behind = false;
    if (size == 0) /* there is no such range */
        return s3_size(state, name, &bytes, err) ? 0 : -1;
    str_format(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)offset,
               (unsigned long long)(offset + size - 1));
    struct s3_call call = {.method = "GET", .name = name, .to = to, .room = size};
    s3_call_field(&call, "range", range);
    if (!ask_range(state, &call, offset, &reply, &behind, err))
        return -1;
    if (behind)
        return 0;
    if (reply.status == 206
            ? range_is(http_reply_field(&reply, "content-range"), offset, size, reply.len)
            : offset == 0 && reply.status == 200)
        return (ssize_t)reply.len;
    err_set(err, ERR_IO, "it answers with another range than was asked for");
    return -1;
}

/* ---- lists ---- */

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Keys are asked for in this form, since XML cannot carry every sign that a stranger's may have. */
static void decode(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        int high = *p == '%' ? hex_digit(p[1]) : -1;
        int low = high >= 0 ? hex_digit(p[2]) : -1;
        if (low >= 0 && high * 16 + low != 0) {
            *to++ = (char)(high * 16 + low);
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
}

/* A page of any of the three lists: objects, versions, uploads. */
struct page {
    struct s3 *s3;
    size_t base_len; /* of the prefix asked for, in front of every key */
    bool truncated;
    size_t items;
    char token[S3_TOKEN_MAX];
    char key[S3_TOKEN_MAX + 1], id[S3_TOKEN_MAX]; /* of the item being read */
    uint64_t bytes;
    bool latest;
    bool (*item)(struct page *page, const char *rest, bool folder, struct err *err);
    void *arg;
    struct str prefix;
};

static bool hand_out(struct page *page, bool folder, struct err *err)
{
    size_t len = strlen(page->key);
    page->items++;
    if (folder && len > 0 && page->key[len - 1] == '/')
        page->key[len - 1] = '\0';
    bool ours = len >= page->base_len && strncmp(page->key, page->prefix.text, page->base_len) == 0;
    bool ok = !ours || page->item(page, page->key + page->base_len, folder, err);
    page->key[0] = page->id[0] = '\0';
    page->bytes = 0;
    page->latest = false;
    return ok;
}

static bool take_leaf(void *arg, const char *path, const char *text, struct err *err)
{
    struct page *page = arg;
    const char *leaf = strrchr(path, '/');
    if (!leaf)
        return true;
    bool in_prefix = strstr(path, "/CommonPrefixes/");
    leaf++;
    if (str_equal(leaf, "IsTruncated"))
        page->truncated = str_equal(text, "true");
    else if (str_equal(leaf, "NextContinuationToken"))
        return str_copy(page->token, sizeof page->token, text) ||
               err_set(err, ERR_IO, "its token of a list is too long");
    else if (str_equal(leaf, "Key") || (in_prefix && str_equal(leaf, "Prefix"))) {
        str_copy(page->key, sizeof page->key, text); /* longer ones are nobody's of ours */
        decode(page->key);
    } else if (str_equal(leaf, "UploadId") || str_equal(leaf, "VersionId"))
        str_copy(page->id, sizeof page->id, text);
    else if (str_equal(leaf, "IsLatest"))
        page->latest = str_equal(text, "true");
    else if (str_equal(leaf, "Size"))
        return str_to_u64(text, INT64_MAX, &page->bytes) ||
               err_set(err, ERR_IO, "an object of '%.40s' bytes", text);
    else if (str_equal(leaf, "Contents") || str_equal(leaf, "Upload") ||
             str_equal(leaf, "Version") || str_equal(leaf, "DeleteMarker"))
        return hand_out(page, false, err);
    else if (str_equal(leaf, "CommonPrefixes"))
        return hand_out(page, true, err);
    return true;
}

static bool read_page(struct page *page, const char *query, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    struct s3_call call = {.method = "GET", .query = query, .text_max = S3_LIST_MAX};
    page->truncated = false;
    page->token[0] = '\0';
    page->items = 0;
    return s3_ask(page->s3, &call, &reply, err) &&
           s3_xml_read(reply.text.text, reply.text.len, take_leaf, page, err);
}

static bool page_begin(struct page *page, struct s3 *s3, const char *folder, struct err *err)
{
    page->s3 = s3;
    str_append(&page->prefix, s3->prefix);
    str_append(&page->prefix, folder);
    if (folder[0])
        str_append(&page->prefix, "/");
    page->base_len = page->prefix.len;
    return str_ok(&page->prefix, err);
}

static void page_done(struct page *page) { str_done(&page->prefix); }
OWN_DEFINE_INPLACE(page, struct page, page_done);

/* All objects directly below page->prefix and `more`; ends, whatever the server says. */
static bool each_object(struct page *page, const char *more, struct err *err)
{
    char before[S3_TOKEN_MAX] = "";
    for (unsigned i = 0; i < PAGES_MAX; i++) {
        AUTO(str) struct str query = {0};
        if (i > 0) {
            str_append(&query, "continuation-token=");
            http_encode(&query, page->token, "");
            str_append(&query, "&");
        }
        str_append(&query, "delimiter=%2F&encoding-type=url&list-type=2&prefix=");
        http_encode(&query, page->prefix.text, "");
        http_encode(&query, more, "");
        str_copy(before, sizeof before, page->token);
        if (!str_ok(&query, err) || !read_page(page, query.text, err))
            return false;
        if (!page->truncated)
            return true;
        if (!page->token[0] || str_equal(page->token, before))
            return err_set(err, ERR_IO, "a page of a list leads nowhere");
    }
    return err_set(err, ERR_LIMIT, "a list without an end");
}

static bool add_entry(struct page *page, const char *rest, bool folder, struct err *err)
{
    struct io_list *list = page->arg;
    if (list->count >= LIST_MAX)
        return err_set(err, ERR_LIMIT, "more than %d objects in a folder", LIST_MAX);
    return strchr(rest, '/') || io_list_add(list, rest, page->bytes, folder, err);
}

static bool s3_list(void *state, const char *folder, struct io_list *ret_list, struct err *err)
{
    AUTO(page) struct page page = {.item = add_entry, .arg = ret_list};
    return page_begin(&page, state, folder, err) && each_object(&page, "", err);
}

/* ---- deleting ---- */

static bool delete_one(struct s3 *s3, const char *name, const char *version, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    AUTO(str) struct str query = {0};
    struct err why = {0};
    struct s3_call call = {.method = "DELETE", .name = name, .text_max = ANSWER_MAX};
    if (version) {
        str_append(&query, "versionId=");
        http_encode(&query, version, "");
        if (!str_ok(&query, err))
            return false;
        call.query = query.text;
    }
    if (s3_ask(s3, &call, &reply, &why) || why.code == ERR_NOT_FOUND)
        return true; /* not found: by an earlier try of this very deletion */
    *err = why;
    return false;
}

struct versions {
    char (*ids)[S3_TOKEN_MAX];
    size_t count, capacity;
    bool others; /* the page has gone on to other keys */
};

static void versions_done(struct versions *v) { own_free(v->ids); }
OWN_DEFINE_INPLACE(versions, struct versions, versions_done);

static bool add_version(struct page *page, const char *rest, bool folder, struct err *err)
{
    struct versions *v = page->arg;
    (void)folder;
    v->others |= rest[0] != '\0';
    if (rest[0] || !page->id[0])
        return true;
    if (!own_grow((void **)&v->ids, &v->capacity, v->count, sizeof *v->ids, err))
        return false;
    str_copy(v->ids[v->count++], sizeof *v->ids, page->id);
    return true;
}

static bool list_versions(struct s3 *s3, const char *name, struct versions *v, bool *ret_more,
                          struct err *err)
{
    AUTO(page) struct page page = {.item = add_version, .arg = v, .s3 = s3};
    AUTO(str) struct str query = {0};
    str_append(&page.prefix, s3->prefix);
    str_append(&page.prefix, name);
    page.base_len = page.prefix.len;
    str_append(&query, "encoding-type=url&prefix=");
    if (!str_ok(&page.prefix, err))
        return false;
    http_encode(&query, page.prefix.text, "");
    str_append(&query, "&versions=");
    if (!str_ok(&query, err) || !read_page(&page, query.text, err))
        return false;
    *ret_more = page.truncated && !v->others;
    return true;
}

/* The newest last: until then the object is there, and no older one comes to light again. */
static bool delete_versions(struct s3 *s3, const char *name, struct err *err)
{
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        AUTO(versions) struct versions v = {0};
        bool more;
        if (!list_versions(s3, name, &v, &more, err))
            return false;
        for (size_t i = v.count; i-- > (more ? 1 : 0);)
            if (!delete_one(s3, name, v.ids[i], err))
                return false;
        if (!more)
            return true;
    }
    return err_set(err, ERR_LIMIT, "more versions than an object has");
}

static bool s3_remove(void *state, const char *name, struct err *err)
{
    struct s3 *s3 = state;
    struct s3_head head;
    struct err why = {0};
    if (!s3_head(s3, name, &head, err))
        return false;
    if (!head.there)
        return err_set(err, ERR_NOT_FOUND, "no such object");
    if (!s3->versioned)
        return delete_one(s3, name, NULL, err);
    if (delete_versions(s3, name, &why))
        return true;
    bool may_not_list = why.code == ERR_UNSUPPORTED;
    if (!may_not_list) {
        *err = why;
        return false;
    }
    if (!s3->said_space_stays) {
        s3->said_space_stays = true;
        log_warning("bucket keeps versions that cannot be deleted: space stays store=%s",
                    s3->label);
    }
    return delete_one(s3, name, NULL, err);
}

/* ---- locking ---- */

struct retention {
    uint64_t until_us;
};

static bool take_retention(void *arg, const char *path, const char *text, struct err *err)
{
    struct retention *r = arg;
    char copy[40];
    (void)err;
    if (!str_equal(path, "Retention/RetainUntilDate"))
        return true;
    size_t len = strcspn(text, ".Z"); /* parts of seconds only make it longer */
    if (!str_format(copy, sizeof copy, "%.*sZ", (int)(len < 30 ? len : 30), text) ||
        !clock_parse(copy, &r->until_us))
        r->until_us = 0;
    return true;
}

static bool locked_until(struct s3 *s3, const char *name, uint64_t *ret_us, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    struct retention retention = {0};
    struct err why = {0};
    struct s3_call call = {
        .method = "GET", .name = name, .query = "retention=", .text_max = ANSWER_MAX};
    if (s3_ask(s3, &call, &reply, &why)) {
        if (!s3_xml_read(reply.text.text, reply.text.len, take_retention, &retention, err))
            return false;
    } else if (reply.status != 404 || strstr(why.text, "NoSuchKey")) {
        *err = why; /* else: there is no lock yet */
        return false;
    }
    *ret_us = retention.until_us;
    return true;
}

static bool s3_lock(void *state, const char *name, uint64_t until_us, struct err *err)
{
    struct s3 *s3 = state;
    AUTO(http_reply) struct http_reply reply = {0};
    AUTO(str) struct str body = {0};
    uint64_t now_us = 0;
    char until[32];
    char md5[CRYPTO_MD5_BASE64];
    uint64_t whole_us = (until_us + 999999) / 1000000 * 1000000;
    if (!locked_until(s3, name, &now_us, err))
        return false;
    if (now_us >= whole_us || whole_us <= clock_wall_us())
        return true; /* only extends; and what is over is none */
    clock_format_utc(whole_us, until);
    str_printf(&body,
               "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>%s</Mode>"
               "<RetainUntilDate>%s</RetainUntilDate></Retention>",
               s3->lock_mode, until);
    if (!str_ok(&body, err))
        return false;
    crypto_md5_base64(body.text, body.len, md5);
    struct s3_call call = {.method = "PUT",
                           .name = name,
                           .query = "retention=",
                           .body = body.text,
                           .body_len = body.len,
                           .text_max = ANSWER_MAX};
    s3_call_field(&call, "content-md5", md5);
    return s3_ask(s3, &call, &reply, err);
}

/* ---- sweeping ---- */

struct upload {
    char name[IO_NAME_MAX], id[S3_TOKEN_MAX];
};
struct uploads {
    struct upload *items;
    size_t count, capacity;
};
static void uploads_done(struct uploads *u) { own_free(u->items); }
OWN_DEFINE_INPLACE(uploads, struct uploads, uploads_done);

static bool add_upload(struct page *page, const char *rest, bool folder, struct err *err)
{
    struct uploads *u = page->arg;
    const char *name = rest - page->base_len + strlen(page->s3->prefix);
    (void)folder;
    if (!page->id[0] || strlen(name) >= IO_NAME_MAX)
        return true;
    if (!own_grow((void **)&u->items, &u->capacity, u->count, sizeof *u->items, err))
        return false;
    struct upload *upload = &u->items[u->count++];
    str_copy(upload->name, sizeof upload->name, name);
    str_copy(upload->id, sizeof upload->id, page->id);
    return true;
}

/* What is ended is no longer listed: the first page again, until it is empty. */
static bool sweep_uploads(struct s3 *s3, const char *folder, uint32_t *swept, struct err *err)
{
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        AUTO(uploads) struct uploads uploads = {0};
        AUTO(page) struct page page = {.item = add_upload, .arg = &uploads};
        AUTO(str) struct str query = {0};
        struct err why = {0};
        if (!page_begin(&page, s3, folder, err))
            return false;
        str_append(&query, "encoding-type=url&prefix=");
        http_encode(&query, page.prefix.text, "");
        str_append(&query, "&uploads=");
        if (!str_ok(&query, err))
            return false;
        if (!read_page(&page, query.text, &why)) {
            if (why.code == ERR_UNSUPPORTED)
                return true; /* a server that cannot tell; S3's own rules of expiry remain */
            *err = why;
            return false;
        }
        for (size_t i = 0; i < uploads.count; i++)
            if (!s3_abort_upload(s3, uploads.items[i].name, uploads.items[i].id, true, err))
                return false;
        *swept += (uint32_t)uploads.count;
        if (!page.truncated || uploads.count == 0)
            return true;
    }
    return err_set(err, ERR_LIMIT, "uploads without an end");
}

static bool add_probe(struct page *page, const char *rest, bool folder, struct err *err)
{
    struct uploads *u = page->arg;
    if (folder || strlen(rest) >= IO_NAME_MAX)
        return true;
    if (!own_grow((void **)&u->items, &u->capacity, u->count, sizeof *u->items, err))
        return false;
    str_copy(u->items[u->count].name, IO_NAME_MAX, rest);
    u->items[u->count++].id[0] = '\0';
    return true;
}

/* Where a bucket locks by itself what is new, the empty probe stays until then. */
static bool remove_probe(struct s3 *s3, const char *name, struct err *err)
{
    struct err why = {0};
    bool ok = s3->versioned ? delete_versions(s3, name, &why) : delete_one(s3, name, NULL, &why);
    if (ok || why.code == ERR_DENIED || why.code == ERR_UNSUPPORTED)
        return true;
    *err = why;
    return false;
}

static bool sweep_probes(struct s3 *s3, uint32_t *swept, struct err *err)
{
    AUTO(uploads) struct uploads probes = {0};
    AUTO(page) struct page page = {.item = add_probe, .arg = &probes};
    if (!page_begin(&page, s3, "", err) || !each_object(&page, PROBE, err))
        return false;
    for (size_t i = 0; i < probes.count; i++, ++*swept)
        if (!remove_probe(s3, probes.items[i].name, err))
            return false;
    return true;
}

static bool s3_sweep(void *state, const char *folder, uint32_t *ret_swept, struct err *err)
{
    uint32_t swept = 0;
    if (!sweep_uploads(state, folder, &swept, err) ||
        (!folder[0] && !sweep_probes(state, &swept, err)))
        return false;
    *ret_swept = swept;
    return true;
}

/* ---- opening ---- */

static const struct io_backend plain = {
    .name = "s3",
    .put = s3_put,
    .create = s3_create,
    .append = s3_append,
    .finish = s3_finish,
    .abandon = s3_abandon,
    .read = s3_read,
    .size = s3_size,
    .remove = s3_remove,
    .list = s3_list,
    .sweep = s3_sweep,
    .close = s3_close,
};
static const struct io_backend locking = {
    .name = "s3",
    .put = s3_put,
    .create = s3_create,
    .append = s3_append,
    .finish = s3_finish,
    .abandon = s3_abandon,
    .read = s3_read,
    .size = s3_size,
    .remove = s3_remove,
    .list = s3_list,
    .lock = s3_lock,
    .sweep = s3_sweep,
    .close = s3_close,
};

struct asked {
    bool versions, locks;
};

static bool take_setting(void *arg, const char *path, const char *text, struct err *err)
{
    struct asked *asked = arg;
    (void)err;
    /* Also when it was switched off again: what was versioned stays so. */
    if (str_equal(path, "VersioningConfiguration/Status"))
        asked->versions = text[0] != '\0';
    if (str_equal(path, "ObjectLockConfiguration/ObjectLockEnabled"))
        asked->locks = str_equal(text, "Enabled");
    return true;
}

/* What the bucket is set to; a server that does not know the question has no such thing. */
static bool ask_setting(struct s3 *s3, const char *query, struct asked *asked, struct err *err)
{
    AUTO(http_reply) struct http_reply reply = {0};
    struct err why = {0};
    struct s3_call call = {.method = "GET", .query = query, .text_max = ANSWER_MAX};
    if (s3_ask(s3, &call, &reply, &why)) {
        IGNORE(s3_xml_read(reply.text.text, reply.text.len, take_setting, asked, &why));
        return true; /* some answer with a list of objects instead */
    }
    if (why.code == ERR_UNSUPPORTED || why.code == ERR_NOT_FOUND || why.code == ERR_IO ||
        why.code == ERR_DENIED)
        return true;
    *err = why;
    return false;
}

/* The same new object twice: whoever honours If-None-Match refuses the second. */
static bool probe(struct s3 *s3, struct err *err)
{
    char name[64];
    char nonce[S3_NONCE_BYTES];
    AUTO(http_reply) struct http_reply reply = {0};
    struct err why = {0};
    s3_nonce(nonce);
    str_format(name, sizeof name, PROBE "%s", nonce);
    struct s3_call call = {.method = "PUT", .name = name, .text_max = ANSWER_MAX};
    s3_call_field(&call, S3_NONCE, nonce);
    if (!s3_ask(s3, &call, &reply, err))
        return err_wrap(err, "write");
    s3_call_field(&call, "if-none-match", "*");
    s3->conditional = !s3_ask(s3, &call, &reply, &why) && why.code == ERR_EXISTS;
    if (!s3->conditional && why.code != ERR_NONE && err_is_transient(why.code)) {
        *err = why;
        return false;
    }
    return remove_probe(s3, name, err);
}

static bool find_out(struct s3 *s3, struct err *err)
{
    struct asked asked = {0};
    if (!ask_setting(s3, "versioning=", &asked, err))
        return false;
    s3->versioned = asked.versions;
    if (!probe(s3, err))
        return false;
    if (!s3->conditional)
        log_warning("object store does not honour If-None-Match: two writers are told apart by "
                    "their epochs alone store=%s",
                    s3->label);
    if (!s3->lock_mode)
        return true;
    return ask_setting(s3, "object-lock=", &asked, err) &&
           (asked.locks || err_set(err, ERR_CONFIG,
                                   "the bucket has no object lock; hint: it is switched on when "
                                   "a bucket is made"));
}

struct io *io_s3_open(const char *url, const struct io_option *options, size_t count,
                      struct err *err)
{
    AUTO(s3) struct s3 *s3 = own_alloc(sizeof *s3, err);
    if (!s3)
        return NULL;
    pthread_mutex_init(&s3->new_lock, NULL);
    if (!s3_configure(s3, url, options, count, err) || !find_out(s3, err))
        return err_null(err, "store '%.100s'", url);
    uint32_t can = IO_IS_REMOTE | (s3->lock_mode ? IO_CAN_LOCK : 0);
    const char *label = s3->label;
    const struct io_backend *backend = s3->lock_mode ? &locking : &plain;
    return io_new(backend, can, TAKE(s3), label, err);
}
