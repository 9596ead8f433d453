/* How a verb ends: the exit code for the scheduler and the one line that fits its column. */
#include "agent/shim/verdict.h"

#include "agent/base/str.h"
#include <string.h>

/* Word, exit code, exit code when strict, exit code of a Nagios check. */
static const struct {
    const char *word;
    int exit, strict, nagios;
} verdicts[] = {
    [VERDICT_OK] = {"OK", 0, 0, 0},
    [VERDICT_WARNING] = {"WARNING", 0, 161, 1},
    [VERDICT_RUNNING] = {"WARNING", 0, 160, 1},
    [VERDICT_REFUSED] = {"REFUSED", 160, 160, 2},
    [VERDICT_FAILED] = {"FAILED", 161, 161, 2},
    [VERDICT_UNKNOWN] = {"UNKNOWN", 162, 162, 3},
    [VERDICT_UNREACHABLE] = {"UNREACHABLE", 163, 163, 3},
    [VERDICT_STOPPED] = {"STOPPED", 164, 164, 3},
};

enum verdict_kind verdict_from_err(const struct err *err)
{
    if (err->code == ERR_NONE)
        return VERDICT_OK;
    int code = err_exit_code(err->code);
    for (int kind = VERDICT_REFUSED; kind <= VERDICT_STOPPED; kind++)
        if (verdicts[kind].exit == code)
            return (enum verdict_kind)kind;
    return VERDICT_FAILED;
}

const char *verdict_word(enum verdict_kind kind) { return verdicts[kind].word; }

int verdict_exit(enum verdict_kind kind, bool strict)
{
    return strict ? verdicts[kind].strict : verdicts[kind].exit;
}

int verdict_nagios_exit(enum verdict_kind kind) { return verdicts[kind].nagios; }

/* Appends as much as fits into limit bytes, no half sign at the end; "..." tells of a cut. */
static size_t put(char *to, size_t used, size_t limit, const char *text)
{
    size_t len = strlen(text);
    size_t room = used < limit ? limit - used : 0;
    bool cut = len > room;
    if (cut) {
        len = room > 3 ? room - 3 : 0;
        while (len && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char sign = (unsigned char)text[i];
        to[used + i] = text[i];
        if (sign < ' ' || sign == 0x7f)
            to[used + i] = ' ';
    }
    used += len;
    if (cut && room > 3) {
        memcpy(to + used, "...", 3);
        used += 3;
    }
    to[used] = '\0';
    return used;
}

void verdict_line(enum verdict_kind kind, const char *db, const char *phase, const char *cause,
                  const char *run, char ret[VERDICT_LINE_MAX + 1])
{
    enum { RUN_MAX = 48, NAME_MAX_BYTES = 40 };
    char tail[RUN_MAX + 1] = "";
    if (run && *run) {
        char id[RUN_MAX];
        size_t len = put(id, 0, RUN_MAX - 8, run);
        id[len] = '\0';
        str_format(tail, sizeof tail, " [run %s]", id);
    }
    size_t limit = VERDICT_LINE_MAX - strlen(tail);
    size_t used = put(ret, 0, limit, verdict_word(kind));
    const char *const names[] = {db, phase};
    for (size_t i = 0; i < 2; i++) {
        if (!names[i] || !*names[i])
            continue;
        used = put(ret, used, limit, " ");
        used =
            put(ret, used, used + NAME_MAX_BYTES < limit ? used + NAME_MAX_BYTES : limit, names[i]);
    }
    if (cause && *cause) {
        used = put(ret, used, limit, ": ");
        used = put(ret, used, limit, cause);
    }
    put(ret, used, VERDICT_LINE_MAX, tail);
}
