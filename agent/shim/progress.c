/* One line at the foot of a terminal for what takes longer than a second. */
#include "agent/shim/progress.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { FIRST_MS = 1000, EVERY_MS = 100, BAR = 20, WIDTH_MIN = 20, WIDTH_MAX = 200 };

static struct {
    bool on;
    uint64_t begun_ms, drawn_ms;
    size_t len; /* of the line that stands there */
} line;

void progress_begin(bool wanted)
{
    line.on = wanted && isatty(STDOUT_FILENO);
    line.begun_ms = clock_mono_ms();
    line.drawn_ms = 0;
    line.len = 0;
}

static size_t terminal_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || !size.ws_col)
        return 80;
    return size.ws_col < WIDTH_MAX ? size.ws_col : WIDTH_MAX;
}

static void draw(const char *text, size_t width)
{
    size_t len = strlen(text);
    if (len >= width)
        len = width - 1; /* the last column would wrap */
    while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    /* Blanks over what stood there: no terminal needs to know an escape sequence. */
    printf("\r%.*s%*s\r", (int)len, text, line.len > len ? (int)(line.len - len) : 0, "");
    printf("%.*s", (int)len, text);
    line.len = len;
    IGNORE(fflush(stdout));
}

void progress_show(const char *what, uint64_t done, uint64_t total)
{
    char bar[BAR + 4] = "";
    char text[320];
    uint64_t now_ms = clock_mono_ms();
    size_t width = line.on ? terminal_width() : 0;
    if (!line.on || now_ms - line.begun_ms < FIRST_MS || now_ms - line.drawn_ms < EVERY_MS ||
        width < WIDTH_MIN)
        return;
    uint64_t filled = total ? (done < total ? done : total) * BAR / total : 0;
    if (total && width > 2 * BAR + 10) {
        memset(bar, '.', BAR + 2);
        memset(bar + 1, '#', filled);
        bar[0] = '[';
        bar[BAR + 1] = ']';
        bar[BAR + 2] = ' ';
    }
    uint64_t s = (now_ms - line.begun_ms) / 1000;
    IGNORE(!str_format(text, sizeof text, "%s%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 " %s", bar,
                       s / 3600, s / 60 % 60, s % 60, what));
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    draw(text, width);
    line.drawn_ms = now_ms;
}

void progress_clear(void)
{
    if (!line.on || !line.len)
        return;
    printf("\r%*s\r", (int)line.len, "");
    IGNORE(fflush(stdout));
    line.len = 0;
    line.drawn_ms = 0;
}
