/* What RMAN's output says, line by line: errors and their cause, pieces, copies, unfinished merges.
 */
#include "agent/shim/rmanlog.h"

#include "agent/base/str.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_SIZE = 4096,
    CHANNELS_MAX = 512,
    LIST_MAX = 500000,
    SECTIONS_MAX = 1024, /* RMAN makes at most 256 of a file */
};

struct open_merge {
    size_t merge;     /* index */
    unsigned section; /* 0: the whole file */
};

struct channel {
    char name[64];
    enum rmanlog_kind kind; /* of the piece it is writing */
    uint32_t input_file;    /* last "input datafile" */
    struct open_merge *open;
    size_t open_count, open_capacity;
};

/* A datafile copy that was merged, wholly or in part. */
struct merge {
    uint32_t file_no;
    char *name;
    bool broken;  /* begun and not ended, not healed since */
    size_t opens; /* open on channels now */
    unsigned sections;
    uint8_t done[SECTIONS_MAX / 8];
};

/* What the line "... file name=X" or "... handle=X" that comes next belongs to. */
enum awaiting { AWAIT_NOTHING, AWAIT_DELETED, AWAIT_EXPIRED };

struct rmanlog {
    struct rmanlog_facts facts;
    enum rmanlog_phase phase;
    enum awaiting awaiting;
    struct channel *channels;
    size_t channel_count, channel_capacity, current;
    struct merge *merges;
    size_t merge_count, merge_capacity;
    char output[1024], output_tag[64]; /* "output file name", until the channel says complete */
    char file_name[1024];              /* last "File Name:" */
    bool in_stack;
    unsigned stack_no, cause_stack;
    int cause_rank; /* of facts.cause, -1: none */
    struct err failure;
};

struct rmanlog *rmanlog_new(struct err *err)
{
    struct rmanlog *log = own_alloc(sizeof *log, err);
    if (!log)
        return NULL;
    log->facts.meaning = log->facts.action = "";
    log->cause_rank = -1;
    return log;
}

static void list_clear(struct rmanlog_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        own_free((char *)list->items[i].name);
        own_free((char *)list->items[i].tag);
    }
    list->count = 0;
}

static void list_done(struct rmanlog_list *list)
{
    list_clear(list);
    own_free(list->items);
}

void rmanlog_free(struct rmanlog *log)
{
    if (!log)
        return;
    struct rmanlog_list *lists[] = {
        &log->facts.pieces,  &log->facts.copies,      &log->facts.no_parent, &log->facts.no_copy,
        &log->facts.skipped, &log->facts.merged,      &log->facts.suspects,  &log->facts.expired,
        &log->facts.deleted, &log->facts.uncataloged,
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_done(lists[i]);
    for (size_t i = 0; i < log->channel_count; i++)
        own_free(log->channels[i].open);
    for (size_t i = 0; i < log->merge_count; i++)
        own_free(log->merges[i].name);
    own_free(log->channels);
    own_free(log->merges);
    own_free(log);
}

bool rmanlog_ok(const struct rmanlog *log, struct err *err)
{
    if (log->failure.code)
        *err = log->failure;
    return !log->failure.code;
}

static void list_add(struct rmanlog *log, struct rmanlog_list *list, struct rmanlog_item item)
{
    struct err *err = &log->failure;
    if (list->count >= LIST_MAX) {
        err_set(err, ERR_LIMIT, "RMAN's log names more than %d objects", LIST_MAX);
        return;
    }
    char *name = own_strdup(item.name ? item.name : "", err);
    char *tag = own_strdup(item.tag ? item.tag : "", err);
    if (!name || !tag ||
        !own_grow((void **)&list->items, &list->capacity, list->count, sizeof *list->items, err)) {
        own_free(name);
        own_free(tag);
        return;
    }
    item.name = name;
    item.tag = tag;
    list->items[list->count++] = item;
}

/* ---- errors ---- */

/* "ORA-27072" at the start of a line, with its length; 0 when there is none. */
static size_t code_length(const char *line)
{
    static const char *const prefixes[] = {"ORA-", "RMAN-", "LRM-", "SP2-", "PLS-", "TNS-"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);
        if (!str_starts(line, prefixes[i]))
            continue;
        size_t digits = strspn(line + len, "0123456789");
        char after = line[len + digits];
        return digits >= 4 && digits <= 5 && (!after || strchr(": ", after)) ? len + digits : 0;
    }
    return 0;
}

static bool is_one_of(const char *code, const char *const *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_equal(code, codes[i]))
            return true;
    return false;
}

/* How much a code says about the cause: 0 frame or place, 1 wrapper, 2 RMAN's own, 3 the server's.
 */
static int code_rank(const char *code)
{
    static const char *const frames[] = {
        "RMAN-00571", "RMAN-00569", "RMAN-00567", "RMAN-00554", "RMAN-00558",
        "RMAN-00601", "RMAN-01007", "ORA-06512",  "ORA-01110",  "ORA-06544",
    };
    static const char *const wrappers[] = {
        "RMAN-03002", "RMAN-03009", "RMAN-03015", "RMAN-03012", "RMAN-03013", "RMAN-03014",
        "RMAN-10035", "RMAN-10031", "RMAN-12001", "RMAN-06003", "RMAN-06136", "RMAN-04005",
        "RMAN-04006", "RMAN-04015", "RMAN-11003", "RMAN-08132", "ORA-00604",  "ORA-19870",
        "ORA-01547",  "ORA-17503",  "ORA-01078",  "ORA-00283",  "ORA-10877",  "ORA-00279",
    };
    if (is_one_of(code, frames, sizeof frames / sizeof *frames))
        return 0;
    if (is_one_of(code, wrappers, sizeof wrappers / sizeof *wrappers))
        return 1;
    return str_starts(code, "RMAN-") ? 2 : 3;
}

static enum rmanlog_severity code_severity(const char *code, const char *text)
{
    static const char *const harmless[] = {"RMAN-05017", "RMAN-06179"};
    /* 06210 to 06214 print the list that belongs to warning 06207. */
    static const char *const warnings[] = {
        "RMAN-08137", "RMAN-08120", "RMAN-08138", "RMAN-06210", "RMAN-06211", "RMAN-06212",
        "RMAN-06213", "RMAN-06214", "ORA-32004",  "ORA-32006",  "ORA-28002",  "ORA-28011",
    };
    bool uncataloged = str_starts(code, "RMAN-075") && strstr(text, "Reason:");
    if (uncataloged || is_one_of(code, harmless, sizeof harmless / sizeof *harmless))
        return RMANLOG_INFO;
    bool said = str_starts(code, "RMAN-") && (strstr(text, "WARNING:") || strstr(text, "warning:"));
    if (said || is_one_of(code, warnings, sizeof warnings / sizeof *warnings))
        return RMANLOG_WARNING;
    return RMANLOG_ERROR;
}

static void copy_printable(char *to, size_t size, const char *from)
{
    str_copy(to, size, from);
    for (char *p = to; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
}

/* The first stack decides, unless it holds nothing but wrappers; in it the most telling code, of
 * equals the lowest: causes are printed last. */
static void take_error(struct rmanlog *log, const char *code, const char *line)
{
    struct rmanlog_facts *facts = &log->facts;
    facts->error_count++;
    if (!log->in_stack)
        log->stack_no++;
    log->in_stack = true;
    int rank = code_rank(code);
    if ((str_equal(code, "RMAN-03002") || str_equal(code, "RMAN-03009")) && !*facts->context)
        copy_printable(facts->context, sizeof facts->context, line);
    bool same = log->stack_no == log->cause_stack;
    bool better = same ? rank >= log->cause_rank : log->cause_rank < 2 && rank > log->cause_rank;
    if (!better)
        return;
    log->cause_rank = rank;
    log->cause_stack = log->stack_no;
    str_copy(facts->code, sizeof facts->code, code);
    copy_printable(facts->cause, sizeof facts->cause, line);
    facts->meaning = facts->action = "";
    IGNORE(!rmanlog_explain(code, &facts->meaning, &facts->action)); /* unknown codes have none */
}

/* "Linux-x86_64 Error: 28: No space left on device" tells more than the code above it. */
static void take_system_error(struct rmanlog *log, const char *line)
{
    struct rmanlog_facts *facts = &log->facts;
    size_t len = strlen(facts->cause);
    if (log->stack_no != log->cause_stack || strstr(facts->cause, " Error: ") ||
        len + 16 > sizeof facts->cause)
        return;
    char text[200];
    copy_printable(text, sizeof text, line);
    str_format(facts->cause + len, sizeof facts->cause - len, " (%s)", text);
}

/* ---- channels and merges ---- */

static struct channel *channel_named(struct rmanlog *log, const char *name, size_t len)
{
    for (size_t i = 0; i < log->channel_count; i++)
        if (strlen(log->channels[i].name) == len && !memcmp(log->channels[i].name, name, len)) {
            log->current = i;
            return &log->channels[i];
        }
    if (!len || len >= sizeof log->channels->name || log->channel_count >= CHANNELS_MAX ||
        !own_grow((void **)&log->channels, &log->channel_capacity, log->channel_count,
                  sizeof *log->channels, &log->failure))
        return NULL;
    struct channel *channel = &log->channels[log->channel_count];
    *channel = (struct channel){0};
    memcpy(channel->name, name, len);
    log->current = log->channel_count++;
    return channel;
}

/* The channel that the last "channel X:" line named; lines without a name belong to it. */
static struct channel *current_channel(struct rmanlog *log)
{
    return log->channel_count ? &log->channels[log->current] : channel_named(log, "?", 1);
}

static bool sections_missing(const struct merge *merge)
{
    for (unsigned i = 0; i < merge->sections && i < SECTIONS_MAX; i++)
        if (!(merge->done[i / 8] & (1u << (i % 8))))
            return true;
    return false;
}

/* A channel goes on to something else, or the session ends: what it had open stays unfinished. */
static void abandon_open(struct rmanlog *log, struct channel *channel)
{
    for (size_t i = 0; i < channel->open_count; i++) {
        struct merge *merge = &log->merges[channel->open[i].merge];
        merge->broken = true;
        merge->opens -= merge->opens > 0;
    }
    channel->open_count = 0;
}

static void abandon_all(struct rmanlog *log)
{
    for (size_t i = 0; i < log->channel_count; i++)
        abandon_open(log, &log->channels[i]);
}

static struct merge *merge_of_file(struct rmanlog *log, uint32_t file_no, const char *name)
{
    for (size_t i = 0; i < log->merge_count; i++)
        if (log->merges[i].file_no == file_no && str_equal(log->merges[i].name, name))
            return &log->merges[i];
    if (log->merge_count >= LIST_MAX / 8) {
        err_set(&log->failure, ERR_LIMIT, "RMAN's log merges too many files");
        return NULL;
    }
    char *copy = own_strdup(name, &log->failure);
    if (!copy || !own_grow((void **)&log->merges, &log->merge_capacity, log->merge_count,
                           sizeof *log->merges, &log->failure)) {
        own_free(copy);
        return NULL;
    }
    struct merge *merge = &log->merges[log->merge_count++];
    *merge = (struct merge){.file_no = file_no, .name = copy};
    return merge;
}

static void open_merge(struct rmanlog *log, struct channel *channel, uint32_t file_no,
                       const char *name)
{
    struct merge *merge = merge_of_file(log, file_no, name);
    if (!merge)
        return;
    if (!own_grow((void **)&channel->open, &channel->open_capacity, channel->open_count,
                  sizeof *channel->open, &log->failure)) {
        merge->broken = true;
        return;
    }
    merge->opens++;
    channel->open[channel->open_count++] =
        (struct open_merge){.merge = (size_t)(merge - log->merges)};
}

/* "restoring section 2 of 3": of the files this channel has open. */
static void note_section(struct rmanlog *log, struct channel *channel, unsigned section,
                         unsigned sections)
{
    for (size_t i = 0; i < channel->open_count; i++) {
        struct merge *merge = &log->merges[channel->open[i].merge];
        unsigned bit = section - 1;
        bool again = section <= SECTIONS_MAX && (merge->done[bit / 8] & (1u << (bit % 8)));
        if (merge->sections != sections || again) {
            /* Another backup set of the file, or another number of sections: all of it counts. */
            merge->broken = merge->broken || sections_missing(merge);
            memset(merge->done, 0, sizeof merge->done);
        }
        merge->sections = sections;
        channel->open[i].section = section;
    }
}

/* A whole file, or the last missing section of one, heals what was broken before. */
static void close_one(struct rmanlog *log, const struct open_merge *open)
{
    struct merge *merge = &log->merges[open->merge];
    merge->opens -= merge->opens > 0;
    if (open->section && open->section <= SECTIONS_MAX) {
        unsigned bit = open->section - 1;
        merge->done[bit / 8] |= (uint8_t)(1u << (bit % 8));
    }
    if (!open->section)
        merge->sections = 0;
    if (!merge->opens && !sections_missing(merge))
        merge->broken = false;
    list_add(log, &log->facts.merged,
             (struct rmanlog_item){.file_no = merge->file_no, .name = merge->name});
}

static void close_merges(struct rmanlog *log, struct channel *channel)
{
    for (size_t i = 0; i < channel->open_count; i++)
        close_one(log, &channel->open[i]);
    channel->open_count = 0;
}

/* A RECOVER COPY begins: sections done by an earlier one count no more. */
static void begin_round(struct rmanlog *log)
{
    abandon_all(log);
    for (size_t i = 0; i < log->merge_count; i++) {
        struct merge *merge = &log->merges[i];
        merge->broken = merge->broken || sections_missing(merge);
        merge->sections = 0;
        memset(merge->done, 0, sizeof merge->done);
    }
}

void rmanlog_session(struct rmanlog *log)
{
    begin_round(log);
    for (size_t i = 0; i < log->channel_count; i++)
        own_free(log->channels[i].open);
    log->channel_count = log->current = 0;
    log->phase = RMANLOG_OTHER;
    log->awaiting = AWAIT_NOTHING;
    log->in_stack = false;
    log->stack_no = log->cause_stack = 0;
    log->cause_rank = -1;
    *log->output = *log->file_name = '\0';
    struct rmanlog_facts *facts = &log->facts;
    facts->error_count = 0;
    *facts->code = *facts->cause = *facts->context = '\0';
    facts->meaning = facts->action = "";
}

const struct rmanlog_facts *rmanlog_facts(struct rmanlog *log)
{
    list_clear(&log->facts.suspects);
    for (size_t i = 0; i < log->merge_count; i++) {
        const struct merge *merge = &log->merges[i];
        if (merge->broken || merge->opens || sections_missing(merge))
            list_add(log, &log->facts.suspects,
                     (struct rmanlog_item){.file_no = merge->file_no, .name = merge->name});
    }
    return &log->facts;
}

/* ---- lines ---- */

/* The number at the start of text, blanks and '#' before it allowed; false when there is none. */
static bool leading_number(const char *text, uint64_t max, uint64_t *ret_number)
{
    char digits[24];
    text += strspn(text, " ");
    size_t len = strspn(text, "0123456789");
    if (!len || len >= sizeof digits)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    return str_to_u64(digits, max, ret_number);
}

static uint32_t file_number(const char *text)
{
    uint64_t number = 0;
    return leading_number(text, UINT32_MAX, &number) ? (uint32_t)number : 0;
}

/* Copies what stands behind `key` up to the last `stop` (or the end). Names may hold blanks. */
static bool value_after(const char *line, const char *key, const char *stop, char *ret, size_t size)
{
    const char *start = strstr(line, key);
    *ret = '\0';
    if (!start)
        return false;
    start += strlen(key);
    const char *end = NULL;
    for (const char *p = start; stop && (p = strstr(p, stop)); p++)
        end = p;
    size_t len = end ? (size_t)(end - start) : strlen(start);
    if (len >= size)
        len = size - 1;
    memcpy(ret, start, len);
    ret[len] = '\0';
    return len > 0;
}

/* Tags hold no blanks, so they end at the first one. */
static void tag_of(const char *line, char ret[64])
{
    value_after(line, " tag=", NULL, ret, 64);
    ret[strcspn(ret, " ")] = '\0';
}

static void take_elapsed(struct rmanlog *log, const char *line)
{
    unsigned hours;
    unsigned minutes;
    unsigned seconds;
    const char *at = strstr(line, "elapsed time: ");
    if (!at || strlen(at) > 14 + 16)
        return;
    /* NOLINTNEXTLINE(cert-err34-c): at most 16 signs, so nothing overflows but nonsense */
    if (sscanf(at + 14, "%4u:%2u:%2u", &hours, &minutes, &seconds) != 3)
        return;
    uint64_t elapsed_s = (uint64_t)hours * 3600 + (uint64_t)minutes * 60 + seconds;
    uint64_t *longest = log->phase == RMANLOG_MERGE ? &log->facts.merge_s : &log->facts.backup_s;
    if (elapsed_s > *longest)
        *longest = elapsed_s;
}

static void take_piece(struct rmanlog *log, const char *line, struct channel *channel)
{
    char handle[1024];
    char tag[64];
    const char *stop = strstr(line, " tag=") ? " tag=" : " comment=";
    if (!value_after(line, "piece handle=", stop, handle, sizeof handle))
        return;
    tag_of(line, tag);
    enum rmanlog_kind kind = log->phase == RMANLOG_AUTOBACKUP ? RMANLOG_PIECE_AUTOBACKUP
                             : channel && channel->kind       ? channel->kind
                                                              : RMANLOG_PIECE_OTHER;
    list_add(log, &log->facts.pieces,
             (struct rmanlog_item){.kind = kind, .name = handle, .tag = tag});
}

static void take_copy(struct rmanlog *log, const struct channel *channel)
{
    if (*log->output)
        list_add(log, &log->facts.copies,
                 (struct rmanlog_item){
                     .file_no = channel->input_file, .name = log->output, .tag = log->output_tag});
    *log->output = '\0';
}

static void take_restoring_section(struct rmanlog *log, struct channel *channel, const char *rest)
{
    uint64_t section;
    uint64_t sections;
    const char *of = strstr(rest, " of ");
    if (of && leading_number(rest, UINT32_MAX, &section) && section &&
        leading_number(of + 4, UINT32_MAX, &sections))
        note_section(log, channel, (unsigned)section, (unsigned)sections);
}

/* What a "channel X: ..." line says behind the colon. */
static void take_channel_line(struct rmanlog *log, struct channel *channel, const char *rest)
{
    if (str_starts(rest, "starting ") || str_starts(rest, "restoring control file")) {
        if (!str_starts(rest, "starting piece"))
            abandon_open(log, channel);
        if (str_starts(rest, "starting incremental level 1 "))
            channel->kind = RMANLOG_PIECE_LEVEL1;
        else if (!str_starts(rest, "starting piece"))
            channel->kind = RMANLOG_PIECE_OTHER;
    } else if (str_starts(rest, "specifying datafile copies to recover")) {
        log->phase = RMANLOG_MERGE;
    } else if (str_starts(rest, "restoring section ")) {
        take_restoring_section(log, channel, rest + strlen("restoring section "));
    } else if (str_starts(rest, "restore complete")) {
        take_elapsed(log, rest);
        close_merges(log, channel);
    } else if (str_starts(rest, "datafile copy complete")) {
        take_elapsed(log, rest);
        take_copy(log, channel);
    } else if (str_starts(rest, "backup set complete")) {
        take_elapsed(log, rest);
    }
}

static bool split_channel(struct rmanlog *log, const char *line)
{
    if (!str_starts(line, "channel "))
        return false;
    const char *name = line + strlen("channel ");
    const char *colon = strstr(name, ": ");
    if (!colon)
        return false;
    struct channel *channel = channel_named(log, name, (size_t)(colon - name));
    if (channel)
        take_channel_line(log, channel, colon + 2);
    return true;
}

struct rule {
    const char *prefix;
    void (*take)(struct rmanlog *log, const char *line, const char *rest);
};

static void take_merge_file(struct rmanlog *log, const char *line, const char *rest)
{
    char name[1024];
    log->phase = RMANLOG_MERGE;
    value_after(line, " name=", NULL, name, sizeof name);
    struct channel *channel = current_channel(log);
    if (channel)
        open_merge(log, channel, file_number(rest), name);
}

static void take_input_file(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    struct channel *channel = current_channel(log);
    if (channel)
        channel->input_file = file_number(rest);
}

static void take_including(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    struct channel *channel = current_channel(log);
    if (channel && strstr(rest, "control file in backup set"))
        channel->kind = RMANLOG_PIECE_CONTROLFILE;
    else if (channel && strstr(rest, "SPFILE in backup set") &&
             channel->kind != RMANLOG_PIECE_CONTROLFILE)
        channel->kind = RMANLOG_PIECE_SPFILE;
}

static void take_piece_line(struct rmanlog *log, const char *line, const char *rest)
{
    (void)rest;
    take_piece(log, line, current_channel(log));
}

static void take_output(struct rmanlog *log, const char *line, const char *rest)
{
    (void)rest;
    const char *stop = strstr(line, " tag=") ? " tag=" : " RECID=";
    value_after(line, "output file name=", stop, log->output, sizeof log->output);
    tag_of(line, log->output_tag);
}

static void take_no_parent(struct rmanlog *log, const char *line, const char *rest)
{
    if (strstr(line, " found"))
        list_add(log, &log->facts.no_parent, (struct rmanlog_item){.file_no = file_number(rest)});
}

static void take_no_copy(struct rmanlog *log, const char *line, const char *rest)
{
    log->phase = RMANLOG_MERGE;
    if (strstr(line, " found to recover"))
        list_add(log, &log->facts.no_copy, (struct rmanlog_item){.file_no = file_number(rest)});
}

/* "skipping datafile 00004 because...", "skipping read-only file 5". */
static void take_skipping(struct rmanlog *log, const char *line, const char *rest)
{
    const char *at = strstr(rest, "file ");
    uint64_t number;
    if (at && leading_number(at + 5, UINT32_MAX, &number))
        list_add(log, &log->facts.skipped,
                 (struct rmanlog_item){.file_no = (uint32_t)number, .name = line});
}

static void take_not_processed(struct rmanlog *log, const char *line, const char *rest)
{
    uint64_t number;
    if (strstr(line, " not processed because ") && leading_number(rest, UINT32_MAX, &number))
        list_add(log, &log->facts.skipped,
                 (struct rmanlog_item){.file_no = (uint32_t)number, .name = line});
}

static void take_crosschecked(struct rmanlog *log, const char *line, const char *rest)
{
    (void)rest;
    log->phase = RMANLOG_CROSSCHECK;
    log->awaiting = strstr(line, "'EXPIRED'") ? AWAIT_EXPIRED : AWAIT_NOTHING;
}

static void take_deleted(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    (void)rest;
    log->phase = RMANLOG_DELETE;
    log->awaiting = AWAIT_DELETED;
}

/* The object that "deleted ..." or "crosschecked ..." spoke of. */
static void take_object(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    char name[1024];
    struct rmanlog_list *list =
        log->awaiting == AWAIT_DELETED ? &log->facts.deleted : &log->facts.expired;
    if (log->awaiting != AWAIT_NOTHING && value_after(rest, "", " RECID=", name, sizeof name))
        list_add(log, list, (struct rmanlog_item){.name = name});
    log->awaiting = AWAIT_NOTHING;
}

static void take_file_name(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    str_copy(log->file_name, sizeof log->file_name, rest);
}

static void take_preview_start(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    IGNORE(!leading_number(rest, UINT64_MAX, &log->facts.preview_start.n));
}

static void take_preview_fuzzy(struct rmanlog *log, const char *line, const char *rest)
{
    if (strstr(line, "to clear datafile fuzziness"))
        IGNORE(!leading_number(rest, UINT64_MAX, &log->facts.preview_fuzzy.n));
}

static void take_starting(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    static const struct {
        const char *word;
        enum rmanlog_phase phase;
    } phases[] = {
        {"backup at", RMANLOG_BACKUP},
        {"recover at", RMANLOG_RECOVER},
        {"restore at", RMANLOG_RESTORE},
        {"Control File and SPFILE Autobackup", RMANLOG_AUTOBACKUP},
        {"Control File Autobackup", RMANLOG_AUTOBACKUP},
    };
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++)
        if (str_starts(rest, phases[i].word))
            log->phase = phases[i].phase;
    if (log->phase == RMANLOG_RECOVER)
        begin_round(log);
}

static void take_finished(struct rmanlog *log, const char *line, const char *rest)
{
    (void)line;
    (void)rest;
    log->phase = RMANLOG_OTHER;
}

/* Source: RMAN 12.1 logs, and the documented messages of later releases. */
static const struct rule rules[] = {
    {"recovering datafile copy file number=", take_merge_file},
    {"input datafile file number=", take_input_file},
    {"including current ", take_including},
    {"including standby ", take_including},
    {"piece handle=", take_piece_line},
    {"output file name=", take_output},
    {"no parent backup or copy of datafile ", take_no_parent},
    {"no copy of datafile ", take_no_copy},
    {"skipping ", take_skipping},
    {"datafile ", take_not_processed},
    {"crosschecked ", take_crosschecked},
    {"deleted ", take_deleted},
    {"datafile copy file name=", take_object},
    {"backup piece handle=", take_object},
    {"archived log file name=", take_object},
    {"control file copy file name=", take_object},
    {"File Name: ", take_file_name},
    {"Media recovery start SCN is ", take_preview_start},
    {"Recovery must be done beyond SCN ", take_preview_fuzzy},
    {"Starting ", take_starting},
    {"Finished ", take_finished},
};

static void take_plain(struct rmanlog *log, const char *line)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (str_starts(line, rules[i].prefix))
            rules[i].take(log, line, line + strlen(rules[i].prefix));
}

/* RMAN-05017 may come with its code or without; RMAN-07517 names the file above it. */
static void take_harmless(struct rmanlog *log, const char *code, const char *text)
{
    if (str_starts(code, "RMAN-075"))
        list_add(log, &log->facts.uncataloged, (struct rmanlog_item){.name = log->file_name});
    take_plain(log, text);
}

static enum rmanlog_severity take_coded(struct rmanlog *log, const char *line, const char *code)
{
    enum rmanlog_severity severity = code_severity(code, line);
    const char *text = line + strlen(code);
    text += strspn(text, ": ");
    if (severity == RMANLOG_ERROR)
        take_error(log, code, line);
    else if (severity == RMANLOG_WARNING)
        log->facts.warning_count++;
    else
        take_harmless(log, code, text);
    return severity;
}

/* Skips "RMAN> "; true when what follows is our own script, echoed ("12> " in a block). */
static bool is_echo(const char **line)
{
    bool prompted = false;
    for (; str_starts(*line, "RMAN> "); prompted = true)
        *line += strlen("RMAN> ");
    size_t digits = strspn(*line, "0123456789");
    bool numbered = digits && digits < 6 && str_starts(*line + digits, "> ");
    return numbered || (prompted && !code_length(*line));
}

static enum rmanlog_severity take_line(struct rmanlog *log, const char *line, char code[16])
{
    if (is_echo(&line)) {
        log->in_stack = false;
        return RMANLOG_INFO;
    }
    line += strspn(line, " \t");
    size_t code_len = code_length(line);
    if (code_len && code_len < 16) {
        memcpy(code, line, code_len);
        code[code_len] = '\0';
        return take_coded(log, line, code);
    }
    if (log->in_stack && str_starts(line, "Additional information"))
        return RMANLOG_ERROR;
    if (log->in_stack && strstr(line, " Error: ")) {
        take_system_error(log, line);
        return RMANLOG_ERROR;
    }
    log->in_stack = log->in_stack && !*line;
    if (!split_channel(log, line))
        take_plain(log, line);
    return strstr(line, "WARNING:") == line ? RMANLOG_WARNING : RMANLOG_INFO;
}

void rmanlog_feed(struct rmanlog *log, const char *line, size_t len, struct rmanlog_line *ret_line)
{
    char text[LINE_SIZE];
    if (len >= sizeof text)
        len = sizeof text - 1;
    memcpy(text, line, len);
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    text[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if (!text[i])
            text[i] = '?';
    log->facts.line_count++;
    struct rmanlog_line meaning = {0};
    meaning.severity = take_line(log, text, meaning.code);
    meaning.phase = log->phase;
    if (ret_line)
        *ret_line = meaning;
}
