/* Reading ahead: a ring of pieces, one worker; pieces are handed out in order. */
#include "drivers/vault/ingest/reader.h"

#include "agent/base/pool.h"
#include <pthread.h>

enum { PIECES = 4 };

struct piece {
    struct work work; /* first: the lane knows us by it */
    struct reader *reader;
    uint8_t *bytes;
    uint64_t offset;
    size_t wanted;
    ssize_t got;
    bool under_way, asked;
};

struct reader {
    struct lane *lane;
    struct area_handle *handle;
    pthread_mutex_t lock;
    pthread_cond_t read;
    struct piece pieces[PIECES];
    uint64_t size, next; /* bytes asked for so far */
    size_t at;           /* the piece to be handed out next */
    bool handed;         /* the one before it is with the caller */
};

static void piece_run(struct work *work)
{
    struct piece *piece = (struct piece *)work;
    struct reader *r = piece->reader;
    struct err err = {0};
    ssize_t got = area_file_read(r->handle, piece->bytes, piece->wanted, piece->offset, &err);
    IGNORE(pthread_mutex_lock(&r->lock));
    piece->got = got;
    piece->work.err = err;
    piece->under_way = false;
    IGNORE(pthread_cond_signal(&r->read));
    IGNORE(pthread_mutex_unlock(&r->lock));
}

struct reader *reader_new(struct err *err)
{
    AUTO(reader) struct reader *r = own_alloc(sizeof *r, err);
    if (!r)
        return NULL;
    IGNORE(pthread_mutex_init(&r->lock, NULL));
    IGNORE(pthread_cond_init(&r->read, NULL));
    for (size_t i = 0; i < PIECES; i++) {
        r->pieces[i].reader = r;
        r->pieces[i].bytes = own_alloc(READER_PIECE, err);
        if (!r->pieces[i].bytes)
            return NULL;
    }
    r->lane = lane_new("ingest-read", 1, err);
    return r->lane ? TAKE(r) : NULL;
}

void reader_free(struct reader *r)
{
    if (!r)
        return;
    lane_free(r->lane);
    for (size_t i = 0; i < PIECES; i++)
        own_free(r->pieces[i].bytes);
    IGNORE(pthread_mutex_destroy(&r->lock));
    IGNORE(pthread_cond_destroy(&r->read));
    own_free(r);
}

/* Sends a free piece for what comes next, if anything does. */
static void ask(struct reader *r, struct piece *piece)
{
    uint64_t left = r->size - r->next;
    piece->asked = left > 0;
    if (left == 0)
        return;
    piece->offset = r->next;
    piece->wanted = left < READER_PIECE ? (size_t)left : READER_PIECE;
    piece->under_way = true;
    piece->work = (struct work){.run = piece_run};
    r->next += piece->wanted;
    lane_submit(r->lane, &piece->work);
}

void reader_begin(struct reader *r, struct area_handle *handle, uint64_t size)
{
    r->handle = handle;
    r->size = size;
    r->next = 0;
    r->at = 0;
    r->handed = false;
    for (size_t i = 0; i < PIECES; i++)
        ask(r, &r->pieces[i]);
}

static void wait_for(struct reader *r, const struct piece *piece)
{
    IGNORE(pthread_mutex_lock(&r->lock));
    while (piece->under_way)
        IGNORE(pthread_cond_wait(&r->read, &r->lock));
    IGNORE(pthread_mutex_unlock(&r->lock));
}

bool reader_next(struct reader *r, const uint8_t **ret_bytes, size_t *ret_len, struct err *err)
{
    if (r->handed)
        ask(r, &r->pieces[(r->at + PIECES - 1) % PIECES]);
    r->handed = false;
    struct piece *piece = &r->pieces[r->at];
    *ret_len = 0;
    if (!piece->asked)
        return true;
    wait_for(r, piece);
    if (piece->got < 0) {
        *err = piece->work.err;
        return false;
    }
    *ret_bytes = piece->bytes;
    *ret_len = (size_t)piece->got;
    r->at = (r->at + 1) % PIECES;
    r->handed = true;
    return true;
}

void reader_end(struct reader *r)
{
    r->next = r->size;
    for (size_t i = 0; i < PIECES; i++)
        wait_for(r, &r->pieces[i]);
}
