/* One event, one line: message, then key=value, to stderr with journal priorities. */
#pragma once
#include "agent/base/err.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped; INFO at start. */
void log_set_level(enum log_level level);
/* Journal prefixes "<3>" when systemd listens; times otherwise. */
void log_init(void);
/* The format carries the key=value pairs: log_info("snapshot taken db=%s job=%s", ...). Control
 * signs in the result are printed as '?', so that outside text cannot forge lines. */
void log_error(const char *fmt, ...) PRINTF(1, 2);   /* an operator must act */
void log_warning(const char *fmt, ...) PRINTF(1, 2); /* we coped */
void log_info(const char *fmt, ...) PRINTF(1, 2);    /* milestones */
void log_debug(const char *fmt, ...) PRINTF(1, 2);
