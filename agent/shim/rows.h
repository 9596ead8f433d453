/* The EC| rows of our SQL templates, read into structs. A malformed row is an error naming its
 * kind. */
#pragma once
#include "agent/oracle/facts.h"

/* Each is a row callback for sqlplus_run; arg is the struct named. Rows of kinds that the struct
 * has no place for are errors: template and parser change together. */

/* arg: struct facts. Takes probe.sql, facts.sql and switch.sql; EC|now becomes a moment whose phase
 * is facts->phase. A thread or file seen again replaces what was known of it. */
bool rows_facts(void *arg, char *row, struct err *err) MUST;
/* After the last row of facts.sql: joins headers, tablespaces, incarnation and parameters;
 * `complete` becomes true, or an error says what is missing. */
bool rows_facts_end(struct facts *facts, struct err *err) MUST;

struct rows_probe { /* probe.sql */
    char instance[32], host[256], version[32], status[32], banner[256];
    char edition[8]; /* EE, SE, XE or "" */
    uint32_t thread;
    unsigned major; /* 19 of 19.0.0.0.0 */
};
bool rows_probe(void *arg, char *row, struct err *err) MUST;

struct rows_log {
    uint32_t thread, sequence, resetlogs_id;
    struct scn first_scn, next_scn;
};
struct rows_piece {
    uint64_t recid;
    char tag[64], completed[32], handle[FACTS_NAME_MAX + 1];
};
struct rows_channel {
    uint32_t instance, sid, serial;
    char client_info[129];
};
struct rows_name { /* restore-names.sql: a path the control file carries */
    char kind[16]; /* datafile, tempfile, logfile, controlfile, tracking */
    uint32_t number;
    char name[FACTS_NAME_MAX + 1];
};
struct rows_header {
    uint32_t file_no;
    struct scn checkpoint_scn;
    bool fuzzy, recover;
    char error[128];
};
struct rows_setting {
    char name[81], value[1025];
};

/* Lists are owned; rows_*_done releases. Start with {0}. */
struct rows_logs {
    struct rows_log *items;
    size_t count, capacity;
}; /* logs.sql */
struct rows_pieces {
    struct rows_piece *items;
    size_t count, capacity;
}; /* pieces.sql */
struct rows_channels {
    struct rows_channel *items;
    size_t count, capacity;
};                    /* channels.sql */
struct rows_restore { /* restore-names.sql */
    struct rows_name *items;
    size_t count, capacity;
    bool flashback, tracking;
    char open_mode[32];
    uint32_t dbid;
    struct facts_incarnation *incarnations;
    size_t incarnation_count, incarnation_capacity;
};
struct rows_opened { /* restore-open.sql */
    struct rows_header *items;
    size_t count, capacity;
    char open_mode[32];
    struct scn checkpoint_scn;
};
struct rows_setup {             /* setup.sql */
    struct rows_setting *items; /* CONFIGURE lines that differ from the defaults */
    size_t count, capacity;
    uint64_t keep_days;
    char snapcf[513], fra[513], create_dest[513];
};
bool rows_logs(void *arg, char *row, struct err *err) MUST;
bool rows_pieces(void *arg, char *row, struct err *err) MUST;
bool rows_channels(void *arg, char *row, struct err *err) MUST;
bool rows_restore(void *arg, char *row, struct err *err) MUST;
bool rows_opened(void *arg, char *row, struct err *err) MUST;
bool rows_setup(void *arg, char *row, struct err *err) MUST;
void rows_logs_done(struct rows_logs *logs);
void rows_pieces_done(struct rows_pieces *pieces);
void rows_channels_done(struct rows_channels *channels);
void rows_restore_done(struct rows_restore *restore);
void rows_opened_done(struct rows_opened *opened);
void rows_setup_done(struct rows_setup *setup);
OWN_DEFINE_INPLACE(rows_logs, struct rows_logs, rows_logs_done);
OWN_DEFINE_INPLACE(rows_pieces, struct rows_pieces, rows_pieces_done);
OWN_DEFINE_INPLACE(rows_channels, struct rows_channels, rows_channels_done);
OWN_DEFINE_INPLACE(rows_restore, struct rows_restore, rows_restore_done);
OWN_DEFINE_INPLACE(rows_opened, struct rows_opened, rows_opened_done);
OWN_DEFINE_INPLACE(rows_setup, struct rows_setup, rows_setup_done);
