/* What the files of the S3 backend share: the bucket, requests with their retries. */
#pragma once
#include "agent/net/http.h"
#include "drivers/vault/io/io.h"
#include <pthread.h>
#include <stdatomic.h>

enum { S3_TOKEN_MAX = 1024, S3_NONCE_BYTES = 33, S3_LIST_MAX = 8 << 20 };
/* A put leaves its own sign at the object: so a doubtful one is recognised later. */
#define S3_NONCE "x-amz-meta-evercopy-put"

struct s3 {
    struct sigv4 *signer;
    struct http *http;
    char *base;   /* "https://host/bucket" or "https://bucket.host" */
    char *prefix; /* "" or with '/' at its end */
    char *label;
    const char *lock_mode; /* "GOVERNANCE", "COMPLIANCE"; NULL: none */
    size_t part_bytes;
    unsigned retry_ms;
    bool conditional; /* the server honours If-None-Match on writing */
    bool versioned;
    _Atomic bool said_space_stays;
    pthread_mutex_t new_lock; /* without conditional writes: one new object at a time */
};

struct s3_call {
    const char *method;
    const char *name;  /* of an object; NULL: the bucket itself */
    const char *query; /* sorted, encoded; NULL: none */
    struct http_field fields[4];
    size_t field_count;
    const void *body;
    size_t body_len;
    void *to; /* or the reply's text */
    size_t room;
    size_t text_max;
};

enum s3_outcome {
    S3_DONE,   /* 2xx */
    S3_FAILED, /* asking again would not help */
    S3_AGAIN,  /* it may, after a pause; S3_DOUBT: and it may have been done */
    S3_DOUBT,
};

struct s3_tries {
    uint64_t until_ms;
    unsigned count;
    unsigned wait_ms; /* as the server asked */
    bool reloaded;    /* the credentials, once */
};
void s3_tries_begin(const struct s3 *s3, struct s3_tries *tries);
/* False when the time is over. */
bool s3_tries_pause(struct s3_tries *tries);

/* One request. 404 comes as NOT_FOUND only when the bucket itself is there. */
enum s3_outcome s3_once(struct s3 *s3, const struct s3_call *call, struct s3_tries *tries,
                        struct http_reply *ret_reply, struct err *err) MUST;
/* With retries: for what may be done twice. */
bool s3_ask(struct s3 *s3, const struct s3_call *call, struct http_reply *ret_reply,
            struct err *err) MUST;
/* What an answer's XML says went wrong, also below a status of 200 (S3_DONE: nothing). */
enum s3_outcome s3_judge(int status, const struct http_reply *reply, struct err *err);

struct s3_head {
    bool there;
    uint64_t bytes;
    char nonce[S3_NONCE_BYTES];
};
bool s3_head(struct s3 *s3, const char *name, struct s3_head *ret_head, struct err *err) MUST;
void s3_nonce(char ret[S3_NONCE_BYTES]);
void s3_call_field(struct s3_call *call, const char *name, const char *value);

bool s3_put(void *state, const char *name, const void *bytes, size_t len, enum io_put how,
            struct err *err) MUST;
void *s3_create(void *state, const char *name, struct err *err) MUST;
bool s3_append(void *writer, const void *bytes, size_t len, struct err *err) MUST;
bool s3_finish(void *writer, struct err *err) MUST;
void s3_abandon(void *writer);
bool s3_abort_upload(struct s3 *s3, const char *name, const char *upload_id, bool patient,
                     struct err *err) MUST;
/* s3://BUCKET/PREFIX and its options (README.md); fills all but what is found out by asking. */
bool s3_configure(struct s3 *s3, const char *url, const struct io_option *options, size_t count,
                  struct err *err) MUST;
