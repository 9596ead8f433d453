/* identify and validate --file: plain windows on the formats room; they need no agent. */
#include "agent/shim/shim.h"
#include "agent/shim/words.h"

#include "agent/base/sys.h"
#include "agent/oracle/datafile.h"
#include "agent/oracle/describe.h"
#include "agent/oracle/identify.h"
#include "agent/oracle/redo.h"
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_BYTES = 4 << 20 };

struct looking {
    struct manifest *manifest; /* owns the entry */
    struct manifest_entry *entry;
    int fd;
    uint64_t size;
};

static void looking_done(struct looking *l)
{
    manifest_free(l->manifest);
    own_auto_fd(&l->fd);
}
OWN_DEFINE_INPLACE(looking, struct looking, looking_done);

static bool look(struct looking *l, const char *path, uint8_t *buffer, struct err *err)
{
    struct stat st;
    l->manifest = manifest_new(err);
    l->fd = l->manifest ? sys_open(path, O_RDONLY | O_NONBLOCK, 0, err) : -1;
    if (l->fd < 0 || !sys_fstat(l->fd, &st, path, err))
        return false;
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "'%s' is no plain file", path);
    l->size = (uint64_t)st.st_size;
    l->entry = manifest_add(l->manifest, path, err);
    if (!l->entry)
        return false;
    ssize_t n = sys_pread(l->fd, buffer, IDENTIFY_HEAD_BYTES, 0, path, err);
    if (n < 0)
        return false;
    oracle_identify(buffer, (size_t)n, l->size, path, l->entry);
    return true;
}

static bool print_entry(const struct manifest_entry *entry, json_t *list, struct err *err)
{
    if (list)
        return json_add(list, oracle_describe_json(entry, err), err);
    AUTO(str) struct str text = {0};
    oracle_describe(entry, &text);
    return str_ok(&text, err) && fputs(text.text, stdout) >= 0;
}

/* The others are still told. */
static int tell_failure(const char *path, const struct err *why, json_t *list)
{
    char line[VERDICT_LINE_MAX + 1];
    struct err err = {0};
    verdict_line(verdict_from_err(why), NULL, "identify", why->text, NULL, line);
    fprintf(stderr, "%s\n", line);
    json_t *entry = list ? json_object() : NULL;
    if (list)
        IGNORE(!json_add(list, entry, &err) ||
               !words_put_bytes(entry, "path", path, strlen(path), &err) ||
               !words_put_bytes(entry, "error", why->text, strlen(why->text), &err));
    return err_exit_code(why->code);
}

int verb_identify(const struct shim_options *options, const char *const *files, size_t count)
{
    struct err err = {0};
    int code = 0;
    AUTO(mem) uint8_t *buffer = own_alloc(CHUNK_BYTES, &err);
    AUTO(json) json_t *list = options->json ? json_array() : NULL;
    for (size_t i = 0; buffer && i < count; i++) {
        AUTO(looking) struct looking l = {.fd = -1};
        struct err why = {0};
        if (!look(&l, files[i], buffer, &why) || !print_entry(l.entry, list, &why)) {
            code = tell_failure(files[i], &why, list);
        }
    }
    if (!buffer || (list && !shim_print_json(TAKE(list), &err)))
        return shim_report(&(struct shim){.options = options}, "", "identify", &err);
    return code;
}

/* ---- validate ---- */

static bool check_log(struct looking *l, uint8_t *buffer, struct err *err)
{
    AUTO(mem) struct redo_check *check = own_alloc(sizeof *check, err);
    if (!check)
        return false;
    redo_check_init(check, l->size);
    for (uint64_t offset = 0; offset < l->size; offset += CHUNK_BYTES) {
        ssize_t n = sys_pread(l->fd, buffer, CHUNK_BYTES, offset, l->entry->path, err);
        if (n < 0)
            return false;
        redo_check_feed(check, buffer, (size_t)n);
    }
    return redo_check_finish(check, l->entry, err);
}

static bool scan_file(struct looking *l, uint8_t *buffer, struct block_summary *summary,
                      struct err *err)
{
    for (uint64_t offset = 0; offset < l->size; offset += CHUNK_BYTES) {
        ssize_t n = sys_pread(l->fd, buffer, CHUNK_BYTES, offset, l->entry->path, err);
        if (n < 0)
            return false;
        struct block_place place = datafile_place(l->entry, offset / l->entry->block_size);
        block_verify_run(buffer, (uint64_t)n / l->entry->block_size, &place, summary, NULL, NULL);
    }
    datafile_scan_note(l->entry, summary);
    return true;
}

static bool print_scan(const struct manifest_entry *entry, const struct block_summary *summary,
                       bool json, struct err *err)
{
    if (json) {
        AUTO(json) json_t *doc = oracle_describe_json(entry, err);
        return doc && json_put(doc, "scan", oracle_describe_scan_json(summary, err), err) &&
               shim_print_json(TAKE(doc), err);
    }
    AUTO(str) struct str text = {0};
    oracle_describe(entry, &text);
    oracle_describe_scan(summary, &text);
    return str_ok(&text, err) && fputs(text.text, stdout) >= 0;
}

static bool validate(struct looking *l, uint8_t *buffer, bool json, struct err *err)
{
    assert(l->entry); /* look() found it */
    if (l->entry->kind == FILE_DATAFILE && l->entry->block_size) {
        AUTO(mem) struct block_summary *summary = own_alloc(sizeof *summary, err);
        return summary && scan_file(l, buffer, summary, err) &&
               print_scan(l->entry, summary, json, err);
    }
    bool log = l->entry->kind == FILE_ARCHIVED_LOG || l->entry->kind == FILE_ONLINE_LOG;
    if (log && !check_log(l, buffer, err))
        return false;
    if (json)
        return shim_print_json(oracle_describe_json(l->entry, err), err);
    return print_entry(l->entry, NULL, err);
}

/* Exit code: 0 good, 161 damaged or not whole, 162 nothing is known of this kind of file. */
int verb_validate_file(const struct shim_options *options, const char *file)
{
    struct err err = {0};
    AUTO(looking) struct looking l = {.fd = -1};
    AUTO(mem) uint8_t *buffer = own_alloc(CHUNK_BYTES, &err);
    if (!buffer || !look(&l, file, buffer, &err) || !validate(&l, buffer, options->json, &err))
        return shim_report(&(struct shim){.options = options}, "", "validate", &err);
    bool known = l.entry->state != STATE_OTHER && l.entry->kind != FILE_UNKNOWN;
    if (known && l.entry->state == STATE_GOOD)
        return 0;
    char line[VERDICT_LINE_MAX + 1];
    verdict_line(known ? VERDICT_FAILED : VERDICT_UNKNOWN, NULL, "validate",
                 !known            ? "nothing is known of this kind of file"
                 : l.entry->why[0] ? l.entry->why
                                   : file_state_text(l.entry->state),
                 NULL, line);
    fprintf(stderr, "%s\n", line);
    return known ? 161 : 162;
}
