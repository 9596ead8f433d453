/* Messages of the control socket (README.md): both ends. */
#pragma once
#include "agent/base/json.h"

enum { WIRE_VERSION = 1, WIRE_HEAD_MAX = 16 << 20, WIRE_DATA_MAX = 1 << 20 };

struct wire; /* one connected socket, one user at a time */
struct wire *wire_connect(const char *path, struct err *err) MUST;
struct wire *wire_over(int fd, struct err *err) MUST; /* takes over fd, also on failure */
void wire_close(struct wire *wire);
OWN_DEFINE(wire, struct wire, wire_close);
int wire_fd(const struct wire *wire);

struct message {
    json_t *head;
    uint8_t *data; /* owned */
    size_t data_len;
};
void message_done(struct message *message);
OWN_DEFINE_INPLACE(message, struct message, message_done);

/* UNAVAILABLE when the other side takes nothing for 20 s or has gone. */
bool wire_send(struct wire *wire, const json_t *head, const void *data, size_t len, struct err *err)
    MUST;
/* Waits timeout_ms for the first byte (0: for ever), then 20 s for each further one. ret_end: the
 * other side ended in order, between messages. */
bool wire_receive(struct wire *wire, uint64_t timeout_ms, struct message *ret, bool *ret_end,
                  struct err *err) MUST;
/* A request and its answer; an error answered becomes err, by its code. ret_answered (may be NULL):
 * the other side's word was heard, else what became of the request is not known and the connection
 * is of no more use. Frees nothing of head. */
bool wire_call(struct wire *wire, const json_t *head, const void *data, size_t len,
               uint64_t timeout_ms, struct message *ret, bool *ret_answered, struct err *err) MUST;

/* Bytes of a name as JSON text and back; owned. NULL with INVALID for what no name is. */
char *wire_escape(const char *bytes, struct err *err) MUST;
char *wire_unescape(const char *text, struct err *err) MUST;
/* {"key": escaped}; NULL bytes put nothing. */
bool wire_put_name(json_t *head, const char *key, const char *bytes, struct err *err) MUST;
/* Owned; NULL without an error when there is no such member. */
bool wire_get_name(const json_t *head, const char *key, char **ret, struct err *err) MUST;
/* Numbers of any 64 bits. */
bool wire_put_u64(json_t *head, const char *key, uint64_t n, struct err *err) MUST;
uint64_t wire_get_u64(const json_t *head, const char *key);
