/* TCP sockets: listening, accepting, and connecting with a deadline. All non-blocking. */
#pragma once
#include "agent/base/own.h"
#include <stdint.h>

enum { SOCK_ADDRESS_MAX = 64 };

/* Listens on host (a numeric address or a name) and port; 0 takes any free one. -1 with err. */
int sock_listen(const char *host, uint16_t port, uint16_t *ret_port, struct err *err) MUST;
/* The next waiting connection and its "ip:port"; -1 when there is none, errno says why. */
int sock_accept(int listener, char ret_address[SOCK_ADDRESS_MAX]) MUST;
/* Blocks until connected or until clock_mono_ms() reaches deadline_ms, name lookup included. The
 * error is the bare reason ("connection refused"), for the caller to say whom it concerns. */
int sock_connect(const char *host, uint16_t port, uint64_t deadline_ms, struct err *err) MUST;
/* Waits for LOOP_READ | LOOP_WRITE style events; false at the deadline (err untouched). */
bool sock_wait(int fd, bool readable, bool writable, uint64_t deadline_ms) MUST;
/* Ends our side and swallows what has arrived, so that a last alert is not lost to a reset. */
void sock_close_gently(int fd);
