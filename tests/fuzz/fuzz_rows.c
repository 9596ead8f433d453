/* Fuzz target: EC| rows, a line each, through every reader. */
#include "agent/base/str.h"
#include "agent/shim/rows.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void give(bool (*take)(void *, char *, struct err *), void *arg, const char *line)
{
    struct err err = {0};
    AUTO(mem) char *row = own_strdup(line, &err);
    IGNORE(row && !take(arg, row, &err)); /* refusing is fine */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    AUTO(facts) struct facts *facts = facts_new(&err);
    AUTO(rows_logs) struct rows_logs logs = {0};
    AUTO(rows_pieces) struct rows_pieces pieces = {0};
    AUTO(rows_channels) struct rows_channels channels = {0};
    AUTO(rows_restore) struct rows_restore restore = {0};
    AUTO(rows_opened) struct rows_opened opened = {0};
    AUTO(rows_setup) struct rows_setup setup = {0};
    struct rows_probe probe = {0};
    AUTO(mem) char *text = own_strndup((const char *)data, size, &err);
    char *cursor = text;
    for (char *line; facts && cursor && (line = str_field(&cursor, '\n'));) {
        give(rows_facts, facts, line);
        give(rows_probe, &probe, line);
        give(rows_logs, &logs, line);
        give(rows_pieces, &pieces, line);
        give(rows_channels, &channels, line);
        give(rows_restore, &restore, line);
        give(rows_opened, &opened, line);
        give(rows_setup, &setup, line);
    }
    IGNORE(facts && !rows_facts_end(facts, &err)); /* refusing is fine */
    return 0;
}
