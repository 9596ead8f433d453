/* What the service manager hears (sd_notify's protocol, without its library). Silent when nobody
 * listens. */
#pragma once
#include "agent/base/err.h"
#include <stdint.h>

/* Takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment, once, before threads begin. CONFIG
 * when the socket's name is none: a service that cannot say "ready" would be killed later. */
bool notify_init(struct err *err) MUST;
bool notify_listens(void);
/* Time between two pings, half of what the manager waits; 0: it waits for none. */
uint64_t notify_watchdog_ms(void);

/* Any thread; never block. A manager that does not read loses the message. */
void notify_ready(void);
void notify_reloading(void); /* followed by notify_ready */
void notify_stopping(void);
void notify_alive(void);
void notify_extend(uint64_t ms);      /* the start or stop goes on: wait as long again */
void notify_status(const char *text); /* one line; control signs are hidden */
