/* The fact sheet: what only the database can say, asked in the same run as a snapshot and written
 * into the area as .evercopy/facts-<run>.json before it is taken. */
#pragma once
#include "agent/base/own.h"
#include "agent/oracle/scn.h"

enum {
    FACTS_VERSION = 1,
    FACTS_NAME_MAX = 513, /* V$DATAFILE.NAME is VARCHAR2(513) */
    FACTS_FILES_MAX = 65536,
};

struct facts_incarnation {
    uint32_t number;
    uint32_t prior;        /* incarnation number of the parent, 0 for none */
    uint32_t resetlogs_id; /* %r, header time */
    struct scn resetlogs_scn;
    struct scn prior_resetlogs_scn;
    char status[16]; /* CURRENT, PARENT, ORPHAN */
};

struct facts_thread {
    uint32_t number;
    bool open;         /* V$THREAD.STATUS = OPEN */
    bool enabled;      /* ENABLED <> DISABLED */
    uint32_t sequence; /* current online log */
    struct scn enable_scn;
    struct scn disable_scn; /* 0 when never disabled */
    uint32_t last_sequence; /* last_redo_sequence# */
    struct scn last_scn;    /* last_redo_change# */
    char instance[81];
};

struct facts_file {
    uint32_t file_no;
    uint32_t con_id; /* 0 for a non-CDB */
    uint32_t ts_no;
    uint32_t rfile_no;
    struct scn creation_scn;
    char status[16];           /* SYSTEM, ONLINE, OFFLINE, RECOVER... */
    char enabled[24];          /* READ WRITE, READ ONLY, DISABLED, UNKNOWN */
    struct scn checkpoint_scn; /* the control file's */
    struct scn header_scn;     /* the live header's (V$DATAFILE_HEADER) */
    struct scn stop_scn;       /* LAST_CHANGE#; SCN_NONE while the file may change */
    struct scn offline_scn, online_scn;
    struct scn unrecoverable_scn; /* 0 when none */
    char unrecoverable_time[32];  /* local text of the database, "" when none */
    bool plugged_in;
    struct scn plugin_scn;
    uint32_t foreign_dbid;
    bool fuzzy;
    bool encrypted;
    bool bigfile;
    uint64_t blocks;
    uint32_t block_size;
    char tablespace[129];
    char name[FACTS_NAME_MAX + 1];
};

struct facts_pdb {
    uint32_t con_id;
    uint32_t dbid;
    char open_mode[24];
    char name[129];
};

/* A row of V$DATAFILE_COPY in our area. */
struct facts_copy {
    uint32_t file_no;
    struct scn creation_scn, checkpoint_scn, absolute_fuzzy_scn, recovery_fuzzy_scn;
    char status; /* A available, X expired */
    int level;   /* 0, or -1 when the column is empty */
    char tag[64];
    char name[FACTS_NAME_MAX + 1];
};

/* SCN and time noted together, at the run's start and at each switch. */
struct facts_moment {
    char phase[16]; /* begin, pre, post */
    struct scn scn;
    uint64_t utc_us;
    int offset_min; /* the database host's offset from UTC at that time */
};

struct facts_parameter {
    char name[81];
    char value[513];
};

struct facts_dest {
    uint32_t id;
    char status[16], target[16], binding[16];
    char destination[FACTS_NAME_MAX + 1];
};

/* Lists are owned; counts beside them. facts_free releases all. */
struct facts {
    char run[64];   /* job id of the backup */
    char phase[16]; /* pre or post: which snapshot it belongs to */
    char shim_host[256];
    uint32_t dbid;
    char db_name[32], db_unique_name[64];
    char role[32], open_mode[32], log_mode[16];
    char release[32]; /* of the software, V$INSTANCE.VERSION */
    char edition[8];  /* EE, SE or "" */
    char compatible[32];
    bool cdb, force_logging, flashback, tracking;
    uint32_t resetlogs_id;
    struct scn resetlogs_scn;
    char zone_name[64]; /* of the database host, "" when not known */
    bool complete;      /* the file list is complete: asked in one session without error */

    struct facts_incarnation *incarnations;
    struct facts_thread *threads;
    struct facts_file *files;
    struct facts_pdb *pdbs;
    struct facts_copy *copies;
    struct facts_moment *moments;
    struct facts_parameter *parameters;
    struct facts_dest *dests;
    size_t incarnation_count, thread_count, file_count, pdb_count, copy_count, moment_count,
        parameter_count, dest_count;
    size_t incarnation_capacity, thread_capacity, file_capacity, pdb_capacity, copy_capacity,
        moment_capacity, parameter_capacity, dest_capacity;
    char **tempfiles, **logfiles, **controlfiles; /* names, for the fences of a restore */
    size_t tempfile_count, logfile_count, controlfile_count;
    size_t tempfile_capacity, logfile_capacity, controlfile_capacity;

    /* `restore database preview`: what Oracle says of start and fuzziness; 0 when not asked. */
    struct scn preview_start_scn;
    struct scn preview_fuzzy_scn;
    /* Datafiles whose merge was begun in this run and not seen to end; owned. */
    uint32_t *suspect_files;
    size_t suspect_count, suspect_capacity;
    char controlfile_piece[FACTS_NAME_MAX + 1]; /* relative to the area, "" before it is made */
    char controlfile_raw[FACTS_NAME_MAX + 1];
    char spfile_piece[FACTS_NAME_MAX + 1];
};

struct facts *facts_new(struct err *err) MUST;
void facts_free(struct facts *facts);
OWN_DEFINE(facts, struct facts, facts_free);

/* JSON, for the file in the area and for the catalog. The text is owned by the caller. */
char *facts_to_json(const struct facts *facts, struct err *err) MUST;
/* Hostile until checked: sizes, ranges, counts, names. NULL with INVALID, CORRUPT or LIMIT. */
struct facts *facts_from_json(const char *text, size_t len, struct err *err) MUST;

/* NULL when the sheet does not name the file. */
const struct facts_file *facts_file_find(const struct facts *facts, uint32_t file_no);
const char *facts_parameter_find(const struct facts *facts, const char *name); /* "" when absent */
/* The file list and what else the law needs is there (oracle-semantics 1, 2, 20). */
bool facts_are_complete(const struct facts *facts, struct err *err) MUST;
