/* The EC| rows of our SQL templates, read into structs. */
#include "agent/shim/rows.h"

#include "agent/base/clock.h"
#include "agent/base/str.h"
#include <stdlib.h>
#include <string.h>

enum { CELLS_MAX = 24, LIST_MAX = 1000000 };
#define SCN_OPEN_48BIT 281474976710655ull /* FFFF.FFFFFFFF: "no end yet" of older releases */

/* One row, cut up. The first bad cell sets the error; later ones do nothing. */
struct cells {
    const char *kind;
    char *cell[CELLS_MAX];
    size_t next; /* to be read */
    bool ok;
    struct err *err;
};

struct rule {
    const char *kind;
    size_t cells; /* the last one takes the rest of the row: names may hold '|' */
    bool (*take)(void *arg, struct cells *c);
};

static bool bad(struct cells *c, const char *what)
{
    if (c->ok)
        err_set(c->err, ERR_EXTERNAL, "row '%s': cell %zu is %s: '%.60s'", c->kind, c->next, what,
                c->cell[c->next - 1]);
    c->ok = false;
    return false;
}

static const char *text(struct cells *c) { return c->cell[c->next++]; }

static void copy(struct cells *c, char *to, size_t size)
{
    if (!str_copy(to, size, text(c)))
        bad(c, "too long");
}
#define COPY(c, field) copy(c, field, sizeof(field))

static uint64_t number(struct cells *c, uint64_t max)
{
    uint64_t value = 0;
    if (!str_to_u64(text(c), max, &value))
        bad(c, "no number");
    return value;
}

static uint32_t u32(struct cells *c) { return (uint32_t)number(c, UINT32_MAX); }

/* An empty cell is SQL's null. */
static uint64_t number_or(struct cells *c, uint64_t max, uint64_t when_null)
{
    if (*c->cell[c->next])
        return number(c, max);
    c->next++;
    return when_null;
}

static struct scn scn_or(struct cells *c, struct scn when_null)
{
    struct scn scn = {number_or(c, UINT64_MAX, when_null.n)};
    return scn.n == SCN_OPEN_48BIT ? SCN_NONE : scn;
}

static struct scn scn(struct cells *c)
{
    struct scn value = {number(c, UINT64_MAX)};
    return value.n == SCN_OPEN_48BIT ? SCN_NONE : value;
}

static bool is(struct cells *c, const char *word) { return str_equal_fold(text(c), word); }

static bool grow(struct cells *c, void *items, size_t *capacity, size_t count, size_t item_size)
{
    if (count >= LIST_MAX)
        return err_set(c->err, ERR_LIMIT, "more than %d rows '%s'", LIST_MAX, c->kind);
    return own_grow(items, capacity, count, item_size, c->err);
}
#define GROW(c, list, count, capacity) grow(c, (void *)&(list), &(capacity), count, sizeof *(list))

static bool split(char *row, size_t wanted, struct cells *c)
{
    char *cursor = row;
    for (size_t i = 0; i + 1 < wanted; i++) {
        c->cell[i] = str_field(&cursor, '|');
        if (!cursor)
            return err_set(c->err, ERR_EXTERNAL, "row '%s': %zu cells instead of %zu", c->kind,
                           i + 1, wanted);
    }
    c->cell[wanted - 1] = cursor;
    return true;
}

static bool dispatch(const struct rule *rules, size_t count, void *arg, char *row, struct err *err)
{
    char *cursor = row;
    const char *kind = str_field(&cursor, '|');
    static char none[1] = "";
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(rules[i].kind, kind))
            continue;
        struct cells c = {.kind = rules[i].kind, .ok = true, .err = err};
        return split(cursor ? cursor : none, rules[i].cells, &c) && rules[i].take(arg, &c) && c.ok;
    }
    return err_set(err, ERR_EXTERNAL, "row of a kind not known: '%.40s'", kind);
}
#define DISPATCH(rules, arg, row, err)                                                             \
    dispatch(rules, sizeof(rules) / sizeof *(rules), arg, row, err)

/* ---- probe ---- */

/* Source: V$VERSION of 11g to 23ai; the banner of 11g Standard Edition names no edition. */
static void read_banner(const char *banner, char *edition, size_t size)
{
    static const struct {
        const char *words, *edition;
    } editions[] = {
        {"Enterprise Edition", "EE"},
        {"Standard Edition", "SE"},
        {"Express Edition", "XE"},
        {" EE ", "EE"},
        {" Free ", "FREE"},
        {"Database 11g Release", "SE"},
        {"Database 10g Release", "SE"},
    };
    for (size_t i = 0; i < sizeof editions / sizeof *editions; i++)
        if (strstr(banner, editions[i].words)) {
            str_copy(edition, size, editions[i].edition);
            return;
        }
}

static bool is_product(const char *banner)
{
    return str_starts(banner, "Oracle ") && strstr(banner, "Database ");
}

static bool probe_instance(void *arg, struct cells *c)
{
    struct rows_probe *probe = arg;
    COPY(c, probe->instance);
    COPY(c, probe->host);
    COPY(c, probe->version);
    COPY(c, probe->status);
    probe->thread = (uint32_t)number_or(c, UINT32_MAX, 0);
    for (const char *p = probe->version; *p >= '0' && *p <= '9' && probe->major < 1000; p++)
        probe->major = probe->major * 10 + (unsigned)(*p - '0');
    return true;
}

static bool probe_banner(void *arg, struct cells *c)
{
    struct rows_probe *probe = arg;
    const char *banner = text(c);
    if (is_product(banner)) {
        str_copy(probe->banner, sizeof probe->banner, banner);
        read_banner(banner, probe->edition, sizeof probe->edition);
    }
    return true;
}

bool rows_probe(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {{"instance", 5, probe_instance},
                                        {"banner", 1, probe_banner}};
    return DISPATCH(rules, arg, row, err);
}

/* ---- facts ---- */

static bool facts_instance(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    c->next = 2;
    COPY(c, facts->release);
    return true;
}

static bool facts_banner(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    const char *banner = text(c);
    if (is_product(banner))
        read_banner(banner, facts->edition, sizeof facts->edition);
    return true;
}

static bool facts_database(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    facts->dbid = u32(c);
    COPY(c, facts->db_name);
    COPY(c, facts->db_unique_name);
    COPY(c, facts->role);
    COPY(c, facts->open_mode);
    COPY(c, facts->log_mode);
    c->next++; /* the current SCN: EC|now notes it with its time */
    facts->resetlogs_scn = scn(c);
    c->next++; /* its time: the incarnation's resetlogs id says the same */
    facts->force_logging = !is(c, "NO");
    facts->flashback = !is(c, "NO");
    return true;
}

static bool facts_cdb(void *arg, struct cells *c)
{
    ((struct facts *)arg)->cdb = is(c, "YES");
    return true;
}

/* "2016-11-08 21:53:35 +01:00". The offset is minutes east of UTC. */
static bool read_time(const char *value, uint64_t *ret_utc_us, int *ret_offset_min)
{
    char local[32] = "";
    const char *zone = strlen(value) > 20 ? value + 20 : "";
    if (strlen(zone) != 6 || !strchr("+-", *zone) || zone[3] != ':' || value[19] != ' ')
        return false;
    memcpy(local, value, 19);
    char hour_text[3] = {zone[1], zone[2], 0};
    char minute_text[3] = {zone[4], zone[5], 0};
    uint64_t hours;
    uint64_t minutes;
    uint64_t local_us;
    if (!str_to_u64(hour_text, 15, &hours) || !str_to_u64(minute_text, 59, &minutes) ||
        !clock_parse(local, &local_us))
        return false;
    int offset_min = (int)(hours * 60 + minutes);
    if (*zone == '-')
        offset_min = -offset_min;
    *ret_offset_min = offset_min;
    *ret_utc_us = local_us - (uint64_t)((int64_t)offset_min * 60 * 1000000);
    return true;
}

static bool facts_now(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    struct facts_moment moment = {.scn = scn(c)};
    str_copy(moment.phase, sizeof moment.phase, facts->phase);
    if (!read_time(text(c), &moment.utc_us, &moment.offset_min))
        return bad(c, "no time with its zone");
    if (!GROW(c, facts->moments, facts->moment_count, facts->moment_capacity))
        return false;
    facts->moments[facts->moment_count++] = moment;
    return true;
}

static struct facts_incarnation read_incarnation(struct cells *c)
{
    struct facts_incarnation incarnation = {.number = u32(c)};
    incarnation.resetlogs_scn = scn(c);
    incarnation.resetlogs_id = u32(c);
    incarnation.prior_resetlogs_scn = scn_or(c, (struct scn){0});
    incarnation.prior = (uint32_t)number_or(c, UINT32_MAX, 0);
    COPY(c, incarnation.status);
    return incarnation;
}

static bool facts_incarnation(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    if (!GROW(c, facts->incarnations, facts->incarnation_count, facts->incarnation_capacity))
        return false;
    facts->incarnations[facts->incarnation_count++] = read_incarnation(c);
    return true;
}

static bool facts_thread(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    struct facts_thread thread = {.number = u32(c)};
    thread.open = is(c, "OPEN");
    thread.enabled = !is(c, "DISABLED");
    thread.sequence = (uint32_t)number_or(c, UINT32_MAX, 0);
    thread.enable_scn = scn_or(c, (struct scn){0});
    thread.disable_scn = scn_or(c, (struct scn){0});
    thread.last_sequence = (uint32_t)number_or(c, UINT32_MAX, 0);
    thread.last_scn = scn_or(c, (struct scn){0});
    COPY(c, thread.instance);
    for (size_t i = 0; i < facts->thread_count; i++)
        if (facts->threads[i].number == thread.number) {
            facts->threads[i] = thread;
            return true;
        }
    if (!GROW(c, facts->threads, facts->thread_count, facts->thread_capacity))
        return false;
    facts->threads[facts->thread_count++] = thread;
    return true;
}

static bool facts_pdb(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    struct facts_pdb pdb = {.con_id = u32(c)};
    pdb.dbid = u32(c);
    COPY(c, pdb.open_mode);
    COPY(c, pdb.name);
    if (!GROW(c, facts->pdbs, facts->pdb_count, facts->pdb_capacity))
        return false;
    facts->pdbs[facts->pdb_count++] = pdb;
    return true;
}

static int compare_file(const void *key, const void *item)
{
    uint32_t file_no = *(const uint32_t *)key;
    const struct facts_file *file = item;
    return file_no < file->file_no ? -1 : file_no > file->file_no;
}

/* Rows come ordered by file#, so the list is sorted. */
static struct facts_file *file_numbered(const struct facts *facts, uint32_t file_no)
{
    return facts->file_count ? bsearch(&file_no, facts->files, facts->file_count,
                                       sizeof *facts->files, compare_file)
                             : NULL;
}

static void read_file(struct cells *c, struct facts_file *file)
{
    const struct scn zero = {0};
    *file = (struct facts_file){.file_no = u32(c)};
    file->con_id = u32(c);
    file->ts_no = u32(c);
    file->rfile_no = u32(c);
    file->creation_scn = scn(c);
    COPY(c, file->status);
    COPY(c, file->enabled);
    file->checkpoint_scn = scn(c);
    file->stop_scn = scn_or(c, SCN_NONE);
    file->offline_scn = scn_or(c, zero);
    file->online_scn = scn_or(c, zero);
    file->unrecoverable_scn = scn_or(c, zero);
    COPY(c, file->unrecoverable_time);
    file->plugged_in = number_or(c, 1, 0) == 1;
    file->plugin_scn = scn_or(c, zero);
    file->foreign_dbid = (uint32_t)number_or(c, UINT32_MAX, 0);
    file->blocks = number(c, UINT32_MAX);
    file->block_size = (uint32_t)number(c, 65536);
    COPY(c, file->name);
}

static bool facts_file(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    AUTO(mem) struct facts_file *file = own_alloc(sizeof *file, c->err);
    if (!file)
        return false;
    read_file(c, file);
    struct facts_file *known = file_numbered(facts, file->file_no);
    if (known) {
        *known = *file;
        return true;
    }
    if (facts->file_count >= FACTS_FILES_MAX)
        return bad(c, "one file too many");
    if (facts->file_count && facts->files[facts->file_count - 1].file_no > file->file_no)
        return bad(c, "out of order");
    if (!GROW(c, facts->files, facts->file_count, facts->file_capacity))
        return false;
    facts->files[facts->file_count++] = *file;
    return true;
}

/* A file created since the file list was asked has no place in it: the next run finds it. */
static bool facts_header(void *arg, struct cells *c)
{
    struct facts_file *file = file_numbered(arg, u32(c));
    struct scn checkpoint_scn = scn_or(c, (struct scn){0});
    bool fuzzy = is(c, "YES");
    if (!file)
        return true;
    file->header_scn = checkpoint_scn;
    file->fuzzy = fuzzy;
    return true;
}

static bool facts_tablespace(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    uint32_t con_id = u32(c);
    uint32_t ts_no = u32(c);
    bool bigfile = is(c, "YES");
    char name[sizeof facts->files->tablespace];
    COPY(c, name);
    for (size_t i = 0; i < facts->file_count; i++) {
        struct facts_file *file = &facts->files[i];
        if (file->con_id != con_id || file->ts_no != ts_no)
            continue;
        file->bigfile = bigfile;
        str_copy(file->tablespace, sizeof file->tablespace, name);
    }
    return true;
}

static bool facts_encrypted(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    uint32_t con_id = u32(c);
    uint32_t ts_no = u32(c);
    for (size_t i = 0; i < facts->file_count; i++)
        if (facts->files[i].con_id == con_id && facts->files[i].ts_no == ts_no)
            facts->files[i].encrypted = true;
    return true;
}

static bool add_name(struct cells *c, char ***names, size_t *count, size_t *capacity)
{
    if (!grow(c, (void *)names, capacity, *count, sizeof **names))
        return false;
    char *name = own_strndup(text(c), FACTS_NAME_MAX, c->err);
    if (name)
        (*names)[(*count)++] = name;
    return name != NULL;
}

static bool facts_tempfile(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    c->next = 2;
    return add_name(c, &facts->tempfiles, &facts->tempfile_count, &facts->tempfile_capacity);
}

static bool facts_logfile(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    c->next = 5;
    return add_name(c, &facts->logfiles, &facts->logfile_count, &facts->logfile_capacity);
}

static bool facts_controlfile(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    return add_name(c, &facts->controlfiles, &facts->controlfile_count,
                    &facts->controlfile_capacity);
}

static bool facts_dest(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    struct facts_dest dest = {.id = u32(c)};
    COPY(c, dest.status);
    COPY(c, dest.target);
    COPY(c, dest.binding);
    COPY(c, dest.destination);
    if (!GROW(c, facts->dests, facts->dest_count, facts->dest_capacity))
        return false;
    facts->dests[facts->dest_count++] = dest;
    return true;
}

static bool facts_copy(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    const struct scn zero = {0};
    struct facts_copy copy_row = {.file_no = u32(c)};
    copy_row.creation_scn = scn_or(c, zero);
    copy_row.checkpoint_scn = scn_or(c, zero);
    copy_row.absolute_fuzzy_scn = scn_or(c, zero);
    copy_row.recovery_fuzzy_scn = scn_or(c, zero);
    copy_row.status = *text(c);
    copy_row.level = *c->cell[c->next] ? (int)number(c, 9) : (c->next++, -1);
    COPY(c, copy_row.tag);
    c->next += 2; /* recid and stamp order the rows */
    COPY(c, copy_row.name);
    if (!GROW(c, facts->copies, facts->copy_count, facts->copy_capacity))
        return false;
    facts->copies[facts->copy_count++] = copy_row;
    return true;
}

static bool facts_parameter(void *arg, struct cells *c)
{
    struct facts *facts = arg;
    struct facts_parameter parameter = {0};
    COPY(c, parameter.name);
    COPY(c, parameter.value);
    if (str_equal(parameter.name, "compatible"))
        str_copy(facts->compatible, sizeof facts->compatible, parameter.value);
    if (!GROW(c, facts->parameters, facts->parameter_count, facts->parameter_capacity))
        return false;
    facts->parameters[facts->parameter_count++] = parameter;
    return true;
}

static bool facts_tracking(void *arg, struct cells *c)
{
    ((struct facts *)arg)->tracking = is(c, "ENABLED");
    return true;
}

bool rows_facts(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {
        {"instance", 5, facts_instance},
        {"banner", 1, facts_banner},
        {"database", 12, facts_database},
        {"cdb", 1, facts_cdb},
        {"now", 2, facts_now},
        {"incarnation", 6, facts_incarnation},
        {"thread", 9, facts_thread},
        {"pdb", 4, facts_pdb},
        {"file", 19, facts_file},
        {"header", 5, facts_header},
        {"tablespace", 4, facts_tablespace},
        {"encrypted", 2, facts_encrypted},
        {"tempfile", 3, facts_tempfile},
        {"logfile", 6, facts_logfile},
        {"controlfile", 1, facts_controlfile},
        {"dest", 5, facts_dest},
        {"copy", 11, facts_copy},
        {"parameter", 2, facts_parameter},
        {"tracking", 2, facts_tracking},
    };
    return DISPATCH(rules, arg, row, err);
}

bool rows_facts_end(struct facts *facts, struct err *err)
{
    for (size_t i = 0; i < facts->incarnation_count; i++)
        if (str_equal(facts->incarnations[i].status, "CURRENT"))
            facts->resetlogs_id = facts->incarnations[i].resetlogs_id;
    const char *missing = !facts->dbid                ? "database"
                          : !facts->resetlogs_id      ? "current incarnation"
                          : !facts->thread_count      ? "thread"
                          : !facts->file_count        ? "file"
                          : !facts->moment_count      ? "now"
                          : !facts->controlfile_count ? "controlfile"
                                                      : NULL;
    if (missing)
        return err_set(err, ERR_EXTERNAL, "the database told no row '%s'", missing);
    facts->complete = true;
    return true;
}

/* ---- the smaller ones ---- */

static bool log_row(void *arg, struct cells *c)
{
    struct rows_logs *logs = arg;
    struct rows_log log = {.thread = u32(c)};
    log.sequence = u32(c);
    log.resetlogs_id = u32(c);
    log.first_scn = scn(c);
    log.next_scn = scn_or(c, SCN_NONE);
    if (!GROW(c, logs->items, logs->count, logs->capacity))
        return false;
    logs->items[logs->count++] = log;
    return true;
}

bool rows_logs(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {{"log", 5, log_row}};
    return DISPATCH(rules, arg, row, err);
}

static bool piece_row(void *arg, struct cells *c)
{
    struct rows_pieces *pieces = arg;
    struct rows_piece piece = {.recid = number(c, UINT64_MAX)};
    COPY(c, piece.tag);
    COPY(c, piece.completed);
    COPY(c, piece.handle);
    if (!GROW(c, pieces->items, pieces->count, pieces->capacity))
        return false;
    pieces->items[pieces->count++] = piece;
    return true;
}

bool rows_pieces(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {{"piece", 4, piece_row}};
    return DISPATCH(rules, arg, row, err);
}

static bool channel_row(void *arg, struct cells *c)
{
    struct rows_channels *channels = arg;
    struct rows_channel channel = {.instance = u32(c)};
    channel.sid = u32(c);
    channel.serial = u32(c);
    COPY(c, channel.client_info);
    if (!GROW(c, channels->items, channels->count, channels->capacity))
        return false;
    channels->items[channels->count++] = channel;
    return true;
}

bool rows_channels(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {{"channel", 4, channel_row}};
    return DISPATCH(rules, arg, row, err);
}

static bool restore_name(void *arg, struct cells *c)
{
    struct rows_restore *restore = arg;
    struct rows_name name = {0};
    COPY(c, name.kind);
    name.number = u32(c);
    COPY(c, name.name);
    if (!GROW(c, restore->items, restore->count, restore->capacity))
        return false;
    restore->items[restore->count++] = name;
    return true;
}

/* "RESTORE POINT ONLY" counts as flashback being on: it keeps logs too. */
static bool restore_state(void *arg, struct cells *c)
{
    struct rows_restore *restore = arg;
    restore->flashback = !is(c, "NO");
    COPY(c, restore->open_mode);
    restore->dbid = u32(c);
    return true;
}

static bool restore_tracking(void *arg, struct cells *c)
{
    ((struct rows_restore *)arg)->tracking = !is(c, "DISABLED");
    return true;
}

static bool restore_incarnation(void *arg, struct cells *c)
{
    struct rows_restore *restore = arg;
    if (!GROW(c, restore->incarnations, restore->incarnation_count, restore->incarnation_capacity))
        return false;
    restore->incarnations[restore->incarnation_count++] = read_incarnation(c);
    return true;
}

bool rows_restore(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {
        {"name", 3, restore_name},
        {"state", 3, restore_state},
        {"trackstate", 1, restore_tracking},
        {"incarnation", 6, restore_incarnation},
    };
    return DISPATCH(rules, arg, row, err);
}

static bool opened_database(void *arg, struct cells *c)
{
    struct rows_opened *opened = arg;
    COPY(c, opened->open_mode);
    opened->checkpoint_scn = scn(c);
    return true;
}

static bool opened_header(void *arg, struct cells *c)
{
    struct rows_opened *opened = arg;
    struct rows_header header = {.file_no = u32(c)};
    header.checkpoint_scn = scn_or(c, (struct scn){0});
    header.fuzzy = is(c, "YES");
    header.recover = is(c, "YES");
    COPY(c, header.error);
    if (!GROW(c, opened->items, opened->count, opened->capacity))
        return false;
    opened->items[opened->count++] = header;
    return true;
}

bool rows_opened(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {{"opened", 2, opened_database},
                                        {"header", 5, opened_header}};
    return DISPATCH(rules, arg, row, err);
}

static bool setup_keep(void *arg, struct cells *c)
{
    ((struct rows_setup *)arg)->keep_days = number_or(c, UINT32_MAX, 0);
    return true;
}

static bool setup_snapcf(void *arg, struct cells *c)
{
    COPY(c, ((struct rows_setup *)arg)->snapcf);
    return true;
}

static bool setup_fra(void *arg, struct cells *c)
{
    COPY(c, ((struct rows_setup *)arg)->fra);
    return true;
}

static bool setup_create_dest(void *arg, struct cells *c)
{
    COPY(c, ((struct rows_setup *)arg)->create_dest);
    return true;
}

static bool setup_setting(void *arg, struct cells *c)
{
    struct rows_setup *setup = arg;
    struct rows_setting setting = {0};
    COPY(c, setting.name);
    COPY(c, setting.value);
    if (!GROW(c, setup->items, setup->count, setup->capacity))
        return false;
    setup->items[setup->count++] = setting;
    return true;
}

bool rows_setup(void *arg, char *row, struct err *err)
{
    static const struct rule rules[] = {
        {"keep", 1, setup_keep},
        {"snapcf", 1, setup_snapcf},
        {"rmanconf", 2, setup_setting},
        {"fra", 1, setup_fra},
        {"create_dest", 1, setup_create_dest},
    };
    return DISPATCH(rules, arg, row, err);
}

void rows_logs_done(struct rows_logs *logs)
{
    own_free(logs->items);
    *logs = (struct rows_logs){0};
}

void rows_pieces_done(struct rows_pieces *pieces)
{
    own_free(pieces->items);
    *pieces = (struct rows_pieces){0};
}

void rows_channels_done(struct rows_channels *channels)
{
    own_free(channels->items);
    *channels = (struct rows_channels){0};
}

void rows_restore_done(struct rows_restore *restore)
{
    own_free(restore->items);
    own_free(restore->incarnations);
    *restore = (struct rows_restore){0};
}

void rows_opened_done(struct rows_opened *opened)
{
    own_free(opened->items);
    *opened = (struct rows_opened){0};
}

void rows_setup_done(struct rows_setup *setup)
{
    own_free(setup->items);
    *setup = (struct rows_setup){0};
}
