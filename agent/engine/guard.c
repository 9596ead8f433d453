/* The clock guard: nothing is deleted by a clock that may be wrong. */
#include "agent/engine/guard.h"

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/base/str.h"
#include <inttypes.h>
#include <string.h>

enum { TICK_US = 60000000, SECOND_US = 1000000 };
#define NOTE_KEY "clock"
#define HINT "hint: when the clock is right, say so with --clock-is-right"

void guard_now(struct guard_mark *ret)
{
    ret->wall_us = clock_wall_us();
    ret->boot_ms = clock_boot_ms();
    clock_boot_id(ret->boot_id);
}

static bool refuse_backward(uint64_t seen_us, const struct guard_mark *now, int64_t by_s,
                            struct err *err)
{
    char then[32];
    char at[32];
    clock_format_utc(seen_us, then);
    clock_format_utc(now->wall_us, at);
    return err_set(err, ERR_PRECONDITION,
                   "the clock went backward by %" PRId64 " s: it is %s, and was %s before; " HINT,
                   by_s, at, then);
}

bool guard_judge(const struct guard_mark *anchor, uint64_t seen_us, const struct guard_mark *now,
                 struct err *err)
{
    bool same_boot = now->boot_id[0] && str_equal(anchor->boot_id, now->boot_id) &&
                     now->boot_ms >= anchor->boot_ms;
    uint64_t explained_ms = same_boot ? now->boot_ms - anchor->boot_ms : now->boot_ms;
    uint64_t from_us = same_boot ? anchor->wall_us : seen_us;
    int64_t passed_s = ((int64_t)now->wall_us - (int64_t)from_us) / SECOND_US;
    int64_t drift_s = passed_s - (int64_t)(explained_ms / 1000);
    int64_t back_s = same_boot ? -drift_s : -passed_s;
    if (back_s > GUARD_BACKWARD_S)
        return refuse_backward(seen_us, now, back_s, err);
    if (drift_s <= GUARD_FORWARD_S)
        return true;
    if (same_boot)
        return err_set(err, ERR_PRECONDITION,
                       "the clock jumped forward by %" PRId64 " min while this box ran; " HINT,
                       drift_s / 60);
    return err_set(err, ERR_PRECONDITION,
                   "this box was off for %" PRId64
                   " h, or its clock was set forward: the two look the same; " HINT,
                   drift_s / 3600);
}

static bool put(struct catalog *catalog, const struct guard_mark *anchor, uint64_t seen_us,
                struct err *err)
{
    AUTO(json) json_t *doc = json_object();
    if (!json_put_u64(doc, "wall_us", anchor->wall_us, err) ||
        !json_put_u64(doc, "boot_ms", anchor->boot_ms, err) ||
        !json_put_text(doc, "boot_id", anchor->boot_id, err) ||
        !json_put_u64(doc, "seen_us", seen_us, err))
        return false;
    AUTO(mem) char *text = json_format(doc, err);
    return text && catalog_note_put(catalog, "", NOTE_KEY, text, err);
}

/* *ret_known false: never seen. */
static bool get(struct catalog *catalog, struct guard_mark *ret, uint64_t *ret_seen_us,
                bool *ret_known, struct err *err)
{
    struct err why = {0};
    AUTO(mem) char *text = catalog_note_get(catalog, "", NOTE_KEY, &why);
    *ret_known = text != NULL;
    if (!text && why.code != ERR_NOT_FOUND) {
        *err = why;
        return false;
    }
    if (!text)
        return true;
    AUTO(json) json_t *doc = json_parse(text, strlen(text), err);
    if (!doc)
        return false;
    ret->wall_us = json_u64(doc, "wall_us");
    ret->boot_ms = json_u64(doc, "boot_ms");
    IGNORE(!str_copy(ret->boot_id, sizeof ret->boot_id, json_text(doc, "boot_id")));
    *ret_seen_us = json_u64(doc, "seen_us");
    return true;
}

bool guard_check(struct catalog *catalog, struct err *err)
{
    struct guard_mark anchor, now;
    uint64_t seen_us;
    bool known;
    guard_now(&now);
    return get(catalog, &anchor, &seen_us, &known, err) &&
           (!known || guard_judge(&anchor, seen_us, &now, err));
}

/* The anchor stays through a boot, so that many small leaps add up; a clock that is not believed
 * moves nothing, and is believed again when it comes back. */
bool guard_tick(struct catalog *catalog, struct err *err)
{
    struct guard_mark anchor, now;
    uint64_t seen_us;
    bool known;
    struct err why = {0};
    guard_now(&now);
    if (!get(catalog, &anchor, &seen_us, &known, err))
        return false;
    if (!known)
        return put(catalog, &now, now.wall_us, err);
    if (!guard_judge(&anchor, seen_us, &now, &why) ||
        (str_equal(anchor.boot_id, now.boot_id) && now.wall_us < seen_us + TICK_US))
        return true;
    bool same = now.boot_id[0] && str_equal(anchor.boot_id, now.boot_id);
    return put(catalog, same ? &anchor : &now, now.wall_us, err);
}

bool guard_confirm(struct catalog *catalog, struct err *err)
{
    struct guard_mark now;
    guard_now(&now);
    return put(catalog, &now, now.wall_us, err);
}
