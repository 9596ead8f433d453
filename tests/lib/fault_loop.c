/* Lets the nth call fail, for every n, until a run is untouched. */
#include "tests/lib/fault_loop.h"

#include "agent/base/sys.h"
#include "tests/lib/descriptors.h"
#include "tests/lib/engine_drive.h"
#include <errno.h>

enum { ROUNDS_MAX = 20000 };

static void arm(enum fault_kind kind, long nth)
{
    if (kind == FAULT_MEMORY)
        own_fault(nth);
    else if (kind == FAULT_SHORT || kind == FAULT_CUT)
        sys_short(nth, kind == FAULT_CUT ? ENOSPC : 0);
    else
        sys_fault(nth, kind == FAULT_IO ? EIO : ENOSPC);
}

static long disarm(enum fault_kind kind)
{
    if (kind == FAULT_SHORT || kind == FAULT_CUT)
        return sys_short(0, 0);
    return kind == FAULT_MEMORY ? own_fault(0) : sys_fault(0, 0);
}

/* *ret_calls: calls until the fault, or all when it was not reached. */
static bool one_round(const struct fault_case *c, enum fault_kind kind, long nth, long *ret_calls,
                      bool *ret_done, struct err *err)
{
    AUTO(drive_dir) char *dir = drive_dir();
    struct err why = {0};
    if (c->setup && !c->setup(c->arg, dir, err))
        return err_wrap(err, "setup");
    size_t descriptors = descriptors_count();
    arm(kind, nth);
    *ret_done = c->run(c->arg, dir, &why);
    *ret_calls = disarm(kind);
    bool hit = *ret_calls >= nth;
    if (descriptors_count() != descriptors)
        return err_set(err, ERR_INTERNAL, "%zu descriptors before, %zu after (%.100s)", descriptors,
                       descriptors_count(), why.text);
    if (!*ret_done && why.code == ERR_NONE)
        return err_set(err, ERR_INTERNAL, "failed without a reason");
    if (*ret_done && why.code != ERR_NONE)
        return err_set(err, ERR_INTERNAL, "done, with an error: %.200s", why.text);
    if (!*ret_done && !hit)
        return err_set(err, ERR_INTERNAL, "undisturbed, and failed: %.200s", why.text);
    if (!*ret_done && kind == FAULT_SHORT)
        return err_set(err, ERR_INTERNAL, "not gone on with: %.200s", why.text);
    return c->check(c->arg, dir, *ret_done, err) ||
           err_wrap(err, "%s, said '%.100s'", *ret_done ? "done" : "not done", why.text);
}

bool fault_loop_run(const struct fault_case *c, enum fault_kind kind, long step,
                    struct fault_report *ret, struct err *err)
{
    static const char *const names[] = {"i/o error at call", "full disk at call",
                                        "no memory at call", "half a read or write, the",
                                        "full disk behind half a read or write, the"};
    *ret = (struct fault_report){0};
    for (long nth = 1; nth < ROUNDS_MAX; nth += step) {
        bool done;
        if (!one_round(c, kind, nth, &ret->calls, &done, err))
            return err_wrap(err, "%s, %s %ld", c->name, names[kind], nth);
        ret->rounds++;
        if (ret->calls < nth)
            return kind >= FAULT_MEMORY || ret->calls >= c->least ||
                   err_set(err, ERR_INTERNAL, "%s makes only %ld calls", c->name, ret->calls);
        ret->survived += done;
    }
    return err_set(err, ERR_INTERNAL, "%s: %d rounds and no end", c->name, ROUNDS_MAX);
}
