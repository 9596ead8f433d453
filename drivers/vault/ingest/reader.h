/* Reading ahead: pieces of one file, in order, read by a thread of their own. */
#pragma once
#include "drivers/area/area.h"

enum { READER_PIECE = 1 << 20 };

struct reader;
struct reader *reader_new(struct err *err) MUST;
void reader_free(struct reader *reader); /* NULL is fine; after reader_end */
OWN_DEFINE(reader, struct reader, reader_free);
/* The first `size` bytes of the file; handle is borrowed until reader_end. */
void reader_begin(struct reader *reader, struct area_handle *handle, uint64_t size);
/* The next piece, until the next call; ret_len 0 at the end. Shorter than READER_PIECE only at the
 * end of what was asked, or where the file ends now. */
bool reader_next(struct reader *reader, const uint8_t **ret_bytes, size_t *ret_len, struct err *err)
    MUST;
/* Waits for what is under way. */
void reader_end(struct reader *reader);
