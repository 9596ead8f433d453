/* How databases stand, in words: pure functions of the agent's answer, for status, check, report.
 */
#pragma once
#include "agent/shim/shim.h"
#include "evercopy/v1/databases.pb-c.h"
#include "evercopy/v1/jobs.pb-c.h"

/* The whole text of `evercopy status`: the most exposed database in one sentence, then all of them,
 * worst first. */
void status_render(const Evercopy__V1__GetStatusReply *reply, struct str *out);
json_t *status_json(const Evercopy__V1__GetStatusReply *reply, struct err *err) MUST;
int status_exit(const Evercopy__V1__GetStatusReply *reply); /* 0, 161, 162 */

/* ---- check ---- */
enum check_state { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN };

struct check_limits {
    uint64_t warning_s, critical_s; /* 0: none */
};
/* One database judged; every text is safe to print. */
struct check {
    enum check_state state;
    char name[64];
    struct str text; /* one sentence */
    const Evercopy__V1__DatabaseStatus *status;
    struct check_limits limits;
    uint64_t agent_time_us;
};
void check_done(struct check *check);
/* clock_offset_s: this host's clock minus the agent's. */
void check_judge(const Evercopy__V1__DatabaseStatus *status, const struct check_limits *limits,
                 uint64_t agent_time_us, int64_t clock_offset_s, struct check *ret_check);
/* The plug-in's output: one line, perfdata behind '|'; with several databases long text follows. */
void check_render(const struct check *checks, size_t count, int64_t clock_offset_s,
                  struct str *out);
/* Of all: critical over unknown over warning; unknown when there is none at all. */
enum check_state check_worst(const struct check *checks, size_t count);
/* For a check that could not be made. */
void check_render_failure(const char *db, const struct err *err, struct str *out);

/* ---- report ---- */
struct report_row {
    const Evercopy__V1__DatabaseStatus *status;
    uint32_t ok, warning, failed, unknown, running; /* runs since `since_us` */
};
void report_render(const struct report_row *rows, size_t count, uint64_t since_us, struct str *out);
json_t *report_json(const struct report_row *rows, size_t count, uint64_t since_us, struct err *err)
    MUST;
