/* One event, one line, to stderr. */
#include "agent/base/log.h"

#include "agent/base/clock.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static enum log_level level_max = LOG_LEVEL_INFO;
static bool to_journal;

void log_set_level(enum log_level level) { level_max = level; }
void log_init(void) { to_journal = getenv("JOURNAL_STREAM") != NULL; }

/* C0, DEL and, as UTF-8, C1: a terminal acts on U+009B as on ESC [. */
static void hide_control_signs(char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        unsigned char next = i + 1 < len ? (unsigned char)line[i + 1] : 0;
        if (c < 0x20 || c == 0x7f)
            line[i] = '?';
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
            line[i] = line[i + 1] = '?';
    }
}

static void log_line(enum log_level level, const char *fmt, va_list args)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7};
    if (level > level_max)
        return;
    char line[1400];
    int used;
    if (to_journal) {
        used = snprintf(line, sizeof line, "<%d>", priorities[level]);
    } else {
        char now[32];
        clock_format_utc(clock_wall_us(), now);
        used = snprintf(line, sizeof line, "%s %s ", now, names[level]);
    }
    int len = vsnprintf(line + used, sizeof line - (size_t)used - 1, fmt, args);
    if (len < 0)
        return;
    size_t end = (size_t)used + (size_t)len;
    if (end > sizeof line - 2)
        end = sizeof line - 2;
    hide_control_signs(line, end);
    line[end++] = '\n';
    IGNORE(write(STDERR_FILENO, line, end) < 0); /* nobody left to tell */
}

#define LOG_FUNCTION(name, level)                                                                  \
    void log_##name(const char *fmt, ...)                                                          \
    {                                                                                              \
        va_list args;                                                                              \
        va_start(args, fmt);                                                                       \
        log_line(level, fmt, args);                                                                \
        va_end(args);                                                                              \
    }
LOG_FUNCTION(error, LOG_LEVEL_ERROR)
LOG_FUNCTION(warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(info, LOG_LEVEL_INFO)
LOG_FUNCTION(debug, LOG_LEVEL_DEBUG)
