/* Figures of the audit: lines per second, one at a time and 64 to an fsync, and verified. */
#include "agent/auth/audit.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64, RUN_MS = 3000 };

static int fail(const struct err *err)
{
    fprintf(stderr, "bench_audit: %s\n", err->text);
    return 1;
}

/* Lines per second in batches of that size. */
static bool measure(struct audit *audit, size_t batch, double *ret_rate, struct err *err)
{
    struct rpc_peer peer = {.cn = "dbhost1", .role = "dbhost", .address = "10.0.0.1:40000"};
    struct audit_record record = {.kind = "intent",
                                  .who = &peer,
                                  .method = "evercopy.v1.Backups/ReportPhase",
                                  .database = "ORCL",
                                  .key = "0123456789abcdef"};
    AUTO(mem) char *body = audit_body(&record, err);
    const char *bodies[BATCH];
    uint64_t first;
    uint64_t lines = 0;
    uint64_t begun = clock_mono_ms();
    uint64_t spent = 0;
    if (!body)
        return false;
    for (size_t i = 0; i < batch; i++)
        bodies[i] = body;
    for (; spent < RUN_MS; spent = clock_mono_ms() - begun, lines += batch)
        if (!audit_append(audit, bodies, batch, &first, err))
            return false;
    *ret_rate = (double)lines * 1000 / (double)spent;
    return true;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct audit_report report;
    double one;
    double many;
    AUTO(audit)
    struct audit *audit = argc == 2 ? audit_open(argv[1], AUDIT_ROTATE_BYTES, &err) : NULL;
    if (!audit || !measure(audit, 1, &one, &err) || !measure(audit, BATCH, &many, &err))
        return fail(&err);
    uint64_t begun = clock_mono_ms();
    if (!audit_verify(argv[1], NULL, &report, &err) || !report.sound)
        return fail(&err);
    double verified = (double)report.records * 1000 / (double)(clock_mono_ms() - begun + 1);
    printf("audit_lines_alone %.0f\naudit_lines_grouped %.0f\naudit_verify %.0f\n", one, many,
           verified);
    return 0;
}
