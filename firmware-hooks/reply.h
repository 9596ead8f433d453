/* What a hook says: lines of any kind, of which a few key=value ones mean something. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum { REPLY_MESSAGE_MAX = 200, REPLY_AGAIN_MIN_MS = 100, REPLY_AGAIN_MAX_MS = 60000 };

struct reply {
    char message[REPLY_MESSAGE_MAX + 1]; /* valid UTF-8 without control signs; the last one said */
    uint64_t again_ms;                   /* 0: not said */
};
/* Takes one line, hostile or not; true when it meant something. */
bool reply_line(struct reply *reply, const char *line, size_t len);
