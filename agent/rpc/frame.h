/* gRPC on the wire, as pure functions: message frames, timeouts, percent and base64 codes. */
#pragma once
#include "agent/base/str.h"

enum { FRAME_PREFIX = 5 };
enum frame_event { FRAME_MORE, FRAME_MESSAGE, FRAME_FAILED };

/* Collects one message after the other; start with {0}. Memory grows with what has arrived, not
 * with what a prefix promises. */
struct frame_reader {
    uint8_t prefix[FRAME_PREFIX];
    size_t prefix_len;
    uint8_t *bytes; /* the message, after FRAME_MESSAGE and until the next call */
    size_t len, wanted, capacity;
    bool complete;
};
/* Takes bytes up to the end of one message and moves *bytes and *len behind them. FAILED: LIMIT for
 * a message above max, UNSUPPORTED for a compressed one, INVALID for a prefix that is none. */
enum frame_event frame_read(struct frame_reader *reader, const uint8_t **bytes, size_t *len,
                            size_t max, struct err *err) MUST;
bool frame_is_between(const struct frame_reader *reader); /* not inside a message */
void frame_reader_done(struct frame_reader *reader);
OWN_DEFINE_INPLACE(frame_reader, struct frame_reader, frame_reader_done);

void frame_write_prefix(uint8_t to[FRAME_PREFIX], size_t message_len);

/* "300m" and its kin; false when it is not one. Rounds up to whole milliseconds. */
bool frame_parse_timeout(const char *text, uint64_t *ret_ms) MUST;
/* At most eight digits, as the protocol wants; ret holds 16. */
void frame_format_timeout(uint64_t ms, char ret[16]);
void frame_percent_encode(struct str *to, const char *text);
/* Never fails: what is no code stands for itself. Cut to size, always terminated. */
void frame_percent_decode(char *to, size_t size, const char *text);
void frame_base64_encode(struct str *to, const uint8_t *bytes, size_t len);
/* Padding is optional. ret holds 3 * strlen(text) / 4 + 3. */
bool frame_base64_decode(const char *text, uint8_t *ret, size_t *ret_len) MUST;
