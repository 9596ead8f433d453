/* Lets the nth call fail, for every n, until a run is untouched: each round is done or reported,
 * leaves the image before or after, and no descriptor. */
#pragma once
#include "agent/base/own.h"

/* FAULT_SHORT: the nth read or write moves half; that is to make no difference. FAULT_CUT: the call
 * behind it finds the disk full. */
enum fault_kind { FAULT_IO, FAULT_FULL, FAULT_MEMORY, FAULT_SHORT, FAULT_CUT, FAULT_KINDS };

struct fault_case {
    const char *name;
    /* Undisturbed, before each round, in a directory of the round's own. May be NULL. */
    bool (*setup)(void *arg, const char *dir, struct err *err);
    /* Disturbed. */
    bool (*run)(void *arg, const char *dir, struct err *err);
    /* Undisturbed: done tells what run said. False with the reason fails the round. */
    bool (*check)(void *arg, const char *dir, bool done, struct err *err);
    void *arg;
    long least; /* calls of the system a run makes at least, so that the loop is known to loop */
};
struct fault_report {
    long rounds, calls; /* of an untouched run */
    long survived;      /* rounds that were done although a call failed */
};
/* Every nth of step is tried. False with "<case>, <kind> <n>: <reason>". */
bool fault_loop_run(const struct fault_case *fault_case, enum fault_kind kind, long step,
                    struct fault_report *ret, struct err *err) MUST;
