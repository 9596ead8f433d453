/* What the shim says: times in a stated zone, members of its JSON, texts that are safe anywhere. */
#include "agent/shim/words.h"

#include "agent/base/clock.h"
#include "agent/base/sys.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ZONEINFO "/usr/share/zoneinfo"

static enum { ZONE_UNSET, ZONE_UTC, ZONE_HOST, ZONE_DB } zone;
static bool db_known;
static int db_offset_min;

/* The C library takes an unknown name for UTC without a word, so the file must be there. */
static bool set_named(const char *name, struct err *err)
{
    char path[256];
    struct stat st;
    struct err gone = {0};
    static const char signs[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
    bool good = name[0] && name[0] != '/' && strspn(name, signs) == strlen(name) &&
                str_format(path, sizeof path, ZONEINFO "/%s", name) && sys_stat(path, &st, &gone) &&
                S_ISREG(st.st_mode);
    if (!good)
        return err_set(err, ERR_INVALID,
                       "--zone '%.40s' is neither utc, local, db nor a zone of this host such as "
                       "Europe/Vienna",
                       name);
    if (setenv("TZ", name, 1) != 0)
        return err_set(err, ERR_NO_MEMORY, "no memory for a zone");
    tzset();
    zone = ZONE_HOST;
    return true;
}

bool words_zone_set(const char *name, struct err *err)
{
    db_known = false;
    zone = !name                           ? ZONE_UNSET
           : str_equal_fold(name, "utc")   ? ZONE_UTC
           : str_equal_fold(name, "local") ? ZONE_HOST
           : str_equal_fold(name, "db")    ? ZONE_DB
                                           : ZONE_UNSET;
    return !name || zone != ZONE_UNSET || set_named(name, err);
}

bool words_zone_wants_db(void) { return zone == ZONE_DB && !db_known; }

void words_zone_db(int offset_min)
{
    db_offset_min = offset_min;
    db_known = true;
}

/* Of that moment, not of today: the clocks may have been changed since. */
static int host_offset(uint64_t us)
{
    time_t seconds = (time_t)(us / 1000000u);
    struct tm local;
    return localtime_r(&seconds, &local) ? (int)(local.tm_gmtoff / 60) : 0;
}

void words_time(uint64_t us, int offset_min, char ret[48])
{
    char local[32];
    if (!us) {
        IGNORE(!str_copy(ret, 48, "-"));
        return;
    }
    if (zone == ZONE_UTC)
        offset_min = 0;
    else if (zone == ZONE_HOST)
        offset_min = host_offset(us);
    else if (zone == ZONE_DB && db_known)
        offset_min = db_offset_min;
    int distance = offset_min < 0 ? -offset_min : offset_min;
    clock_format_offset(us, offset_min, local);
    IGNORE(!str_format(ret, 48, "%s %c%02d:%02d", local, offset_min < 0 ? '-' : '+', distance / 60,
                       distance % 60));
}

void words_age(uint64_t seconds, char ret[32])
{
    if (seconds < 120)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " s", seconds));
    else if (seconds < 7200)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " min", seconds / 60));
    else if (seconds < UINT64_C(48) * 3600)
        IGNORE(!str_format(ret, 32, "%" PRIu64 " h", seconds / 3600));
    else
        IGNORE(!str_format(ret, 32, "%" PRIu64 " days", seconds / 86400));
}

uint64_t words_parse_age(const char *text, uint64_t unit_s)
{
    char digits[16];
    uint64_t value;
    size_t len = strlen(text);
    if (len && strchr("smhd", text[len - 1])) {
        char unit = text[--len];
        unit_s = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 86400;
    }
    if (!str_format(digits, sizeof digits, "%.*s", (int)len, text) ||
        !str_to_u64(digits, UINT64_C(100) * 366 * 86400 / unit_s, &value))
        return 0;
    return value * unit_s;
}

/* ---- JSON ---- */

bool words_put_time(json_t *to, const char *key, uint64_t us, struct err *err)
{
    char text[48];
    char second[32];
    char key_us[80];
    if (!str_format(key_us, sizeof key_us, "%s_us", key))
        return err_set(err, ERR_INTERNAL, "JSON member '%s' is too long", key);
    if (!us || us > INT64_MAX)
        return json_put(to, key, json_null(), err) && json_put(to, key_us, json_null(), err);
    clock_format_utc(us, second);
    size_t len = strlen(second);
    IGNORE(!str_format(text, sizeof text, "%.*s.%06uZ", (int)(len ? len - 1 : 0), second,
                       (unsigned)(us % 1000000u)));
    return json_put_text(to, key, text, err) && json_put_u64(to, key_us, us, err);
}

bool words_put_known(json_t *to, const char *key, uint64_t value, struct err *err)
{
    return value > INT64_MAX ? json_put(to, key, json_null(), err)
                             : json_put_u64(to, key, value, err);
}

bool words_put_verdict(json_t *to, const char *key, int wire, struct err *err)
{
    static const char *const names[] = {"unknown", "ok", "warning", "failed", "unknown"};
    return json_put_text(to, key, wire >= 0 && wire < 5 ? names[wire] : "unknown", err);
}

bool words_put_bytes(json_t *to, const char *key, const void *bytes, size_t len, struct err *err)
{
    AUTO(str) struct str text = {0};
    const unsigned char *at = bytes;
    bool whole = str_is_utf8(bytes, len);
    for (size_t i = 0; i < len; i++) {
        if (at[i] < 0x20 || at[i] == 0x7f || (at[i] & 0x80 && !whole))
            str_printf(&text, "\\x%02x", at[i]);
        else if (at[i] == '\\')
            str_append(&text, "\\\\");
        else
            str_append_n(&text, at + i, 1);
    }
    return str_ok(&text, err) && json_put_text(to, key, text.text, err);
}

json_t *words_list(const char *key, size_t count, void *const *items,
                   bool (*one)(const void *item, json_t *to, struct err *err), struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    json_t *list = json_array();
    if (!json_put(doc, key, list, err))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        json_t *to = json_object();
        if (!json_add(list, to, err) || !one(items[i], to, err))
            return NULL;
    }
    return TAKE(doc);
}

void words_print_run(const char *db, const char *run, enum verdict_kind kind, const char *phase,
                     const char *cause, const char *next, int exit_code)
{
    struct err err = {0};
    AUTO(json) json_t *doc = json_object();
    bool ok = json_put_text(doc, "database", db, &err) && json_put_text(doc, "run", run, &err) &&
              json_put_text(doc, "verdict", verdict_word(kind), &err) &&
              json_put_text(doc, "phase", phase ? phase : "", &err) &&
              words_put_bytes(doc, "cause", cause, strlen(cause), &err) &&
              words_put_bytes(doc, "next", next, strlen(next), &err) &&
              json_put_u64(doc, "exit_code", (uint64_t)exit_code, &err);
    AUTO(mem) char *text = ok ? json_format_pretty(doc, &err) : NULL;
    IGNORE(!text || fputs(text, stdout) < 0 || fflush(stdout) != 0); /* stderr has said it */
}

/* ---- text ---- */

void words_append_line(struct str *out, const char *text)
{
    bool whole = str_is_utf8(text, strlen(text));
    for (const char *p = text; *p; p++) {
        unsigned char sign = (unsigned char)*p;
        const char *shown = sign < 0x20 || sign == 0x7f ? " " : sign & 0x80 && !whole ? "?" : p;
        str_append_n(out, shown, 1);
    }
}
